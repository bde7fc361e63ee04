"""The proof of a hang, through the real runner over a right miniature: proven without waiting, and never in error."""

from __future__ import annotations

import asyncio
import importlib
import time
from typing import Any

import pytest

from matrix.harness import hang
from matrix.harness.outcome import Exploration
from matrix.harness.runner import Runner
from matrix.harness.scenario import OrmSetup, Scenario
from matrix.harness.witness import LockWaits, cycle
from tests.unit.miniatures.database import Answer, Database, MiniatureWitness, ServerSession
from tests.unit.miniatures.driver import Backing, Miniature, Queueing
from tests.unit.miniatures.faults import LetsHoldersWait
from tests.unit.miniatures.wire import MiniatureWire

pytestmark = pytest.mark.asyncio


def scenario(program: Any, orm: OrmSetup | None = None) -> Scenario:
    return Scenario("CON-0", "made up", "Made up.", "must", (), orm, False, (3, 10), program, "", "", ())


async def run(
    program: Any, orm: OrmSetup | None = None, bound: int = 2, driver: type[Miniature] = Queueing
) -> Exploration:
    exploration = await Runner(Backing(driver()), bound).explore(scenario(program, orm))
    assert exploration.error == ""
    return exploration


async def test_waiting_for_what_nobody_does_is_proven_at_once():
    async def program(world):
        async def waits(session):
            await asyncio.Event().wait()

        await world.together(waits=waits)

    started = time.monotonic()
    found = (await run(program)).deciding
    assert time.monotonic() - started < 0.5
    assert (found.verdict, found.proof) == ("hangs", "idle")
    assert found.reason.startswith("waits (in ") and ") can never go on" in found.reason
    assert "no timer is pending" in found.reason


async def test_the_proof_names_who_waits_where():
    async def program(world):
        async def waits(session):
            await asyncio.Event().wait()

        async def ends(session):
            await session.step("end")

        await world.together(waits=waits, ends=ends)

    hang = (await run(program)).deciding.evidence["hang"]
    assert [entry["task"] for entry in hang["waiting"]] == ["waits"]
    assert "waits" in hang["waiting"][0]["where"]


async def test_a_timer_is_no_hang():
    async def program(world):
        async def sleeps(session):
            await asyncio.sleep(300)
            await session.step("go on")

        await world.together(sleeps=sleeps)

    started = time.monotonic()
    assert (await run(program)).deciding.verdict == "safe"
    assert time.monotonic() - started < 5


async def test_a_timer_that_polls_for_ever_is_a_hang():
    async def program(world):
        async def polls(session):
            while True:  # noqa: ASYNC110 - a driver that polls
                await asyncio.sleep(0.1)

        await world.together(polls=polls)

    found = (await run(program)).deciding
    assert (found.verdict, found.proof) == ("hangs", "idle")
    assert "changed nothing" in found.reason


async def test_a_timer_that_polls_until_something_happens_is_none():
    async def program(world):
        happened = []

        async def polls(session):
            while not happened:  # noqa: ASYNC110 - a driver that polls
                await asyncio.sleep(0.1)

        async def does(session):
            await asyncio.sleep(60)
            await session.step("let it happen")
            happened.append(1)

        await world.together(polls=polls, does=does)

    assert (await run(program)).deciding.verdict == "safe"


async def test_two_locks_taken_in_two_orders_hang_in_some_orders_only():
    async def program(world):
        first, second = asyncio.Lock(), asyncio.Lock()

        def taking(one, other):
            async def body(session):
                async with one:
                    await session.step("take the other")
                    async with other:
                        pass

            return body

        await world.together(a=taking(first, second), b=taking(second, first))

    exploration = await run(program, bound=20)
    assert exploration.deciding.verdict == "hangs"


async def test_a_transaction_that_waits_for_its_own_child_s_connection_hangs():
    async def program(world):
        async def child(session):
            await (await world.orm.pool("one")).acquire()

        async def parent(session):
            async with session.orm("one").transaction():
                await session.wait(session.spawn("child", child))

        await world.together(parent=parent)

    setup = OrmSetup(size=1, aliases=("one",))
    assert (await run(program, setup, driver=LetsHoldersWait)).deciding.verdict == "hangs"


async def test_a_program_that_runs_in_circles_is_an_error_not_a_verdict(monkeypatch):
    monkeypatch.setattr("matrix.harness.conductor.MAX_STEPS", 50)

    async def program(world):
        async def circles(session):
            while True:
                await session.step("once more")

        await world.together(circles=circles)

    exploration = await Runner(Backing(Queueing()), 1).explore(scenario(program))
    assert "no end after 50 steps" in exploration.error


async def test_an_error_of_the_program_itself_is_an_error_not_a_verdict():
    async def program(world):
        raise KeyError("a slip of the pen")

    exploration = await Runner(Backing(Queueing()), 1).explore(scenario(program))
    assert "the program itself failed: KeyError" in exploration.error


async def test_two_sessions_of_one_name_are_an_error():
    async def program(world):
        async def body(session):
            """Nothing."""

        world.start("twin", body)
        world.start("twin", body)

    exploration = await Runner(Backing(Queueing()), 1).explore(scenario(program))
    assert "two sessions are called 'twin'" in exploration.error


async def test_a_program_whose_order_is_not_owned_is_an_error():
    chance = iter(range(100))

    async def program(world):
        async def moody(session):
            for _ in range(1 + next(chance)):
                await session.step("one more than last time")

        await world.together(moody=moody)

    exploration = await Runner(Backing(Queueing()), 1).explore(scenario(program))
    assert "does not own the order" in exploration.error


async def test_another_choice_at_the_same_steps_is_an_error():
    """The schedule, the verdict and the properties are the same again; only what else was possible is not."""
    late = iter([False] + [True] * 10)

    async def program(world):
        gone = asyncio.Event()
        waits = next(late)

        async def first(session):
            await session.step("go")
            gone.set()

        async def second(session):
            if waits:
                await gone.wait()
            await session.step("come after")

        await world.together(first=first, second=second)

    exploration = await Runner(Backing(Queueing()), 1).explore(scenario(program))
    assert [outcome.schedule for outcome in exploration.outcomes] == ["A.B"]
    assert "does not own the order" in exploration.error
    assert "possible at step 1 was A, B, then A" in exploration.error
    assert "second_run" in exploration.evidence


async def test_a_verdict_that_changes_when_its_schedule_is_run_again_is_an_error():
    chance = iter([True] + [False] * 10)

    async def program(world):
        async def moody(session):
            await session.step("toss")
            if next(chance):
                await asyncio.Event().wait()

        await world.together(moody=moody)

    exploration = await Runner(Backing(Queueing()), 1).explore(scenario(program))
    assert "does not own the order" in exploration.error
    assert "second_run" in exploration.evidence


async def test_an_error_of_a_session_s_own_code_is_an_error_not_a_verdict():
    async def program(world):
        async def body(session):
            await session.cancel("nobody of that name")

        await world.together(body=body)

    exploration = await Runner(Backing(Queueing()), 1).explore(scenario(program))
    assert exploration.error != "" or exploration.deciding.verdict not in ("safe", "refuses")


async def test_what_the_tear_down_cancels_was_not_cancelled_in_the_program():
    async def program(world):
        connection = await world.connect()

        async def waits(session):
            await session.on(connection).read()
            await asyncio.Event().wait()

        async def asks(session):
            await session.operate("read", "ask for ever", asyncio.Event().wait, scope="alone")

        await world.together(waits=waits, asks=asks)

    assert [violation.property for violation in (await run(program)).deciding.violations] == ["liveness"]


# -- locks in the server -----------------------------------------------------------------------------------------------


class LockingWire(MiniatureWire):
    """The server owes an answer to who waits for a row, as a real one does."""

    def busy(self) -> bool:
        return self.locked


class Patient(ServerSession):
    """Looks for no cycle by itself: somebody must tell it to."""

    def _wait(self, statement: str, holder: ServerSession) -> None:
        self.waits_for = holder
        self.database.waiting.append((self, statement))

    def detect(self) -> None:
        self.database.waiting = [each for each in self.database.waiting if each[0] is not self]
        self.waits_for = None
        self._close()
        self.open = self.failed = True
        self.answered(Answer("ERROR", error="deadlock detected"))


class LateWire(LockingWire):
    server_type = Patient


class Locking(Queueing):
    wire_type = LockingWire


class Late(Queueing):
    wire_type = LateWire


class LateServer(MiniatureWitness):
    """Of a server that finds a deadlock some time after it was asked who waits."""

    def __init__(self, database: Database, after: float) -> None:
        super().__init__(database)
        self.after = after
        self.asked = 0

    def lock_waits(self) -> LockWaits:
        waits = super().lock_waits()
        self.asked += bool(cycle(waits))
        if cycle(waits) and self.asked > self.after:
            victim = self.database.waiting[-1][0]
            assert isinstance(victim, Patient)
            victim.detect()
        return waits


async def deadlocking(world):
    rows = world.counter(), world.counter()

    def worker(first, second):
        async def body(session):
            db = session.orm()
            async with db.transaction():
                await db.count_up(first)
                await db.count_up(second)

        return body

    async def idle(session):
        async with session.orm().transaction():
            await session.step("do nothing")

    await world.together(up=worker(*rows), down=worker(*reversed(rows)), idle=idle)


async def test_a_wait_for_a_row_whose_owner_waits_in_the_program_hangs():
    async def program(world):
        row = world.counter()

        async def child(session):
            db = session.orm("two")
            async with db.transaction(own=True):
                await db.count_up(row)

        async def parent(session):
            db = session.orm("one")
            async with db.transaction():
                await session.orm("one").count_up(row)
                await session.wait(session.spawn("child", child))

        await world.together(parent=parent)

    found = (await run(program, OrmSetup(aliases=("one", "two")), driver=Locking)).deciding
    assert (found.verdict, found.proof) == ("hangs", "lock")
    assert "the server says that the request waits for a lock" in found.reason


async def test_a_circle_of_waits_in_the_server_is_no_hang_however_late_it_is_found():
    driver = Late()
    backing = Backing(driver)
    backing.witness = server = LateServer(driver.database, after=2)
    exploration = await Runner(backing, 20).explore(scenario(deadlocking, OrmSetup(size=3)))
    assert exploration.error == ""
    assert set(exploration.counts) == {"safe", "refuses"}
    assert server.asked > 2
    refused = [outcome for outcome in exploration.outcomes if outcome.verdict == "refuses"]
    assert all(outcome.refused["error"]["message"].endswith("deadlock detected") for outcome in refused)


async def test_a_server_that_leaves_a_circle_alone_is_an_error_not_a_verdict(monkeypatch):
    monkeypatch.setattr("matrix.harness.quiet.DEADLINE", 0.05)
    driver = Late()
    backing = Backing(driver)
    backing.witness = LateServer(driver.database, after=float("inf"))
    exploration = await Runner(backing, 20).explore(scenario(deadlocking, OrmSetup(size=3)))
    assert "the server left a deadlock alone" in exploration.error


@pytest.mark.parametrize("answers", [True, False])
async def test_a_deadline_is_a_hang_only_where_the_server_answers_its_witness(monkeypatch, answers):
    monkeypatch.setattr("matrix.harness.quiet.DEADLINE", 0.05)
    monkeypatch.setattr(Backing, "answers", lambda self, seconds: answers)

    async def program(world):
        await world.connect()
        monkeypatch.setattr(MiniatureWire, "busy", lambda wire: not world.recording.closing)

        async def waits(session):
            await world.loop.create_future()

        await world.together(waits=waits)

    exploration = await Runner(Backing(Queueing()), 1).explore(scenario(program))
    assert ("did not answer its witness" in exploration.error) != answers
    assert not answers or exploration.deciding.proof == "deadline"


async def test_a_circle_that_the_server_does_not_see_is_left_to_those_who_can_go_on(monkeypatch):
    """InnoDB follows one holder of the several that a request waits for: here the idle transaction."""
    monkeypatch.setattr("matrix.harness.quiet.UNSEEN_AFTER", 0.01)
    monkeypatch.setattr("matrix.harness.quiet.DEADLINE", 5)

    class FollowsOne(LateServer):
        def lock_waits(self) -> LockWaits:
            idle = {id(each) for each in self.database.sessions if each.open and not each.waits_for}
            if not idle:
                return super().lock_waits()
            return {session: holders | idle for session, holders in MiniatureWitness.lock_waits(self).items()}

    driver = Late()
    backing = Backing(driver)
    backing.witness = server = FollowsOne(driver.database, after=0)
    exploration = await Runner(backing, 20).explore(scenario(deadlocking, OrmSetup(size=3)))
    assert exploration.error == ""
    assert set(exploration.counts) == {"safe", "refuses"}
    assert server.asked


@pytest.mark.parametrize("says", [True, False])
async def test_when_every_transaction_waits_it_is_a_circle_whatever_the_server_says_of_the_holders(says, monkeypatch):
    monkeypatch.setattr("matrix.harness.quiet.DEADLINE", 0.05)

    class TightLipped(LateServer):
        def lock_waits(self) -> LockWaits:
            waits = super().lock_waits()
            return waits if says else dict.fromkeys(waits, frozenset())

    async def program(world):
        rows = world.counter(), world.counter()

        def worker(first, second):
            async def body(session):
                db = session.orm()
                async with db.transaction():
                    await db.count_up(first)
                    await db.count_up(second)

            return body

        await world.together(up=worker(*rows), down=worker(*reversed(rows)))

    driver = Late()
    backing = Backing(driver)
    backing.witness = TightLipped(driver.database, after=float("inf"))
    exploration = await Runner(backing, 20).explore(scenario(program, OrmSetup()))
    assert "the server left a deadlock alone" in exploration.error


async def test_two_who_wait_for_a_third_hang_with_it_whatever_the_server_says_of_the_holders():
    class TightLipped(MiniatureWitness):
        def lock_waits(self) -> LockWaits:
            return dict.fromkeys(super().lock_waits(), frozenset())

    async def program(world):
        row, held = world.counter(), asyncio.Event()

        async def holder(session):
            db = session.orm()
            async with db.transaction():
                await db.count_up(row)
                held.set()
                await asyncio.Event().wait()

        async def waiter(session):
            await held.wait()
            db = session.orm()
            async with db.transaction():
                await db.count_up(row)

        await world.together(holder=holder, one=waiter, other=waiter)

    driver = Locking()
    backing = Backing(driver)
    backing.witness = TightLipped(driver.database)
    found = (await Runner(backing, 4).explore(scenario(program, OrmSetup(size=3)))).deciding
    assert (found.verdict, found.proof) == ("hangs", "lock")


async def test_a_program_that_never_waits_is_an_error_that_says_so(monkeypatch):
    monkeypatch.setattr("matrix.harness.loop.RESTLESS", 0.05)

    async def program(world):
        connection = await world.connect()

        async def reads(session):
            await session.on(connection).read()

        async def polls(session):
            while not reader.task.done():  # noqa: ASYNC110 - that it polls is the point
                await asyncio.sleep(0)

        reader = world.start("reads", reads)
        await world.together(polls=polls)

    exploration = await Runner(Backing(Queueing()), 1).explore(scenario(program))
    assert "the program did not wait: a task goes round and round" in exploration.error


async def test_a_users_file_is_shown_as_it_was_imported(tmp_path, monkeypatch):
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "orders.py").write_text("async def waits(event):\n    await event.wait()\n")
    monkeypatch.syspath_prepend(tmp_path)
    task = asyncio.create_task(importlib.import_module("shop.orders").waits(asyncio.Event()))
    await asyncio.sleep(0)
    try:
        assert hang.where(task)[0] == "shop/orders.py:2 waits"
    finally:
        task.cancel()


class BreaksWrites(LetsHoldersWait):
    """No write of it gets through."""

    async def write(self, connection: Any, token: str) -> None:
        raise RuntimeError("internal")


def waits_for_the_other(asks: bool) -> Any:
    """Two tasks: one tells the other when it has written, which it never comes to; ``asks``: a third one waits for the
    driver's pool meanwhile."""

    async def program(world):
        connection = await world.connect()
        pool = await world.create_pool(1) if asks else None
        written = asyncio.Event()

        async def writes(session):
            await session.on(connection).write()
            written.set()

        async def waits(session):
            await written.wait()

        async def holds(session):
            await session.acquire(pool)
            await session.acquire(pool)

        await world.together(writes=writes, waits=waits, **({"holds": holds} if asks else {}))

    return program


@pytest.mark.parametrize(("asks", "verdict"), [(False, "breaks"), (True, "hangs")])
async def test_who_waits_for_a_task_that_failed_hangs_only_where_somebody_waits_for_the_driver(asks, verdict):
    found = (await run(waits_for_the_other(asks), driver=BreaksWrites)).deciding
    assert (found.verdict, found.proof) == (verdict, "idle")

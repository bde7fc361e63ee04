"""The sweep: one run for each moment at which the victim waits, and what each of them does to it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from matrix.harness.runner import Runner
from matrix.harness.scenario import Scenario
from matrix.harness.schedule import Execution, ScheduleMismatch
from matrix.harness.strategies import replay
from tests.unit.miniatures.driver import Backing, Queueing

pytestmark = pytest.mark.asyncio


def scenario(program: Any, during: tuple[str, ...] = ()) -> Scenario:
    return Scenario(
        "CAN-0", "made up", "Made up.", "must", (), None, False, (3, 10), program, "", "", (), "victim", during
    )


def wake(sleeper: asyncio.Future[None]) -> None:
    if not sleeper.done():
        sleeper.set_result(None)


async def explore(program: Any, during: tuple[str, ...] = ()) -> Any:
    exploration = await Runner(Backing(Queueing()), 4).explore(scenario(program, during))
    assert exploration.error == ""
    return exploration


def of_single(body: Any) -> Any:
    async def run(world: Any) -> None:
        await world.together(victim=body)

    return run


async def test_a_session_that_never_waits_has_no_moment():
    async def victim(session):
        await session.step("the harness's own wait is none")

    assert [o.schedule for o in (await explore(of_single(victim))).outcomes] == ["A"]


async def test_each_wait_is_two_moments():
    async def victim(session):
        for _ in range(2):
            woken = asyncio.get_running_loop().create_future()
            asyncio.get_running_loop().call_later(1, wake, woken)
            await woken

    exploration = await explore(of_single(victim))
    assert {o.schedule for o in exploration.outcomes} == {"", "A@1", "A@1+", "A@2", "A@2+"}
    assert exploration.orders["swept"] == 4


async def test_while_it_waits_comes_before_the_event_and_as_it_ends_after_it():
    seen = {}

    async def victim(session):
        woken = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_later(1, wake, woken)
        try:
            await woken
        except asyncio.CancelledError:
            cancel_point = session.world.execution.cancel.token
            seen[cancel_point] = woken.cancelled()  # cancelled while it waited, or done, and its news lost
            raise

    await explore(of_single(victim))
    assert seen == {"A@1": True, "A@1+": False}


async def test_a_bare_yield_is_a_moment_too():
    async def victim(session):
        await asyncio.sleep(0)

    exploration = await explore(of_single(victim))
    assert [o.schedule for o in exploration.outcomes] == ["", "A@1", "A@1+"]


async def test_only_waits_in_the_named_operations_count():
    async def body(world):
        connection = await world.connect()

        async def victim(session):
            port = session.on(connection)
            async with port.transaction():
                await port.write()

        await world.together(victim=victim)

    everywhere, in_commit = await explore(body), await explore(body, ("commit",))
    assert 0 < in_commit.orders["swept"] < everywhere.orders["swept"]
    for outcome in in_commit.outcomes:
        lines = outcome.evidence["history"]
        assert {line["what"] for line in lines if line["event"] == "cancelled"} <= {"commit", ""}


async def test_what_a_victim_returns_and_raises_goes_through():
    async def victim(session):
        await asyncio.sleep(0)
        try:
            await asyncio.wait_for(asyncio.get_running_loop().create_future(), 1)
        except asyncio.TimeoutError:
            raise session.deliberate() from None

    outcomes = (await explore(of_single(victim))).outcomes
    ends = {line["text"] for line in outcomes[0].evidence["history"] if line["event"] == "end"}
    assert ends == {"ends with matrix.harness.session.Deliberate: victim fails on purpose"}


async def test_the_proof_of_a_hang_sees_through_the_watch():
    async def victim(session):
        async def deep():
            await asyncio.get_running_loop().create_future()

        await deep()

    deciding = (await explore(of_single(victim))).deciding
    assert deciding.verdict == "hangs"
    assert deciding.evidence["hang"]["waiting"][0]["where"].endswith(" deep")


async def test_a_moment_of_somebody_else_is_refused():
    async def victim(session):
        await asyncio.sleep(0)

    with pytest.raises(ScheduleMismatch, match="cancels B; the scenario's victim is A"):
        await Runner(Backing(Queueing()), 1).once(scenario(of_single(victim)), Execution(replay("B@1")))


async def test_a_moment_that_never_comes_leaves_the_order_without_it():
    async def victim(session):
        await asyncio.sleep(0)

    outcome = await Runner(Backing(Queueing()), 1).once(scenario(of_single(victim)), Execution(replay("A@7")))
    assert outcome.schedule == ""


async def wait() -> None:
    woken = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_later(1, wake, woken)
    await woken


async def once(program: Any, schedule: str) -> tuple[Any, Execution]:
    execution = Execution(replay(schedule))
    return await Runner(Backing(Queueing()), 1).once(scenario(of_single(program)), execution), execution


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize(("moment", "left"), [("A@1", 3), ("A@1+", 3), ("A@2", 2), ("A@2+", 2), ("A@3", 1), ("A@4", 0)])
async def test_within_its_scope_a_session_is_cancelled_once_or_at_each_later_wait(moment, left, again):
    """As a driver that cleans up and waits once more. What waits for the harness, or behind the scope, is spared."""
    told = []

    async def victim(session):
        with session.outlives_cancellation(again=again):
            for number in range(3):
                try:
                    await wait()
                except asyncio.CancelledError:
                    told.append(number)
                await session.step("go on")
        await wait()

    outcome, execution = await once(victim, moment)
    assert told == [*range(3 - left, 3)][: None if again else 1]
    assert execution.waits == (4 - left if again and left else 3)
    actions = [each["action"] for each in outcome.evidence["steps"]]
    assert [each for each in actions if each != "A"] == [moment] * (left > 0)


async def test_who_goes_on_for_ever_is_left_alone_at_last(monkeypatch):
    monkeypatch.setattr("matrix.harness.sweep.AGAIN", 5)
    told = []

    async def victim(session):
        with session.outlives_cancellation(again=True):
            while True:
                try:
                    await wait()
                    return
                except asyncio.CancelledError:
                    told.append(1)

    await once(victim, "A@1")
    assert len(told) == 1 + 5


async def test_a_wait_that_only_the_end_of_the_run_ends_is_no_moment():
    async def victim(session):
        await asyncio.get_running_loop().create_future()

    outcome, execution = await once(victim, "A@1+")
    assert (outcome.verdict, outcome.schedule, execution.cancel) == ("hangs", "", None)

"""Situations: an order counts only if it comes to what the scenario's title says."""

from __future__ import annotations

from dataclasses import replace

import pytest

from matrix.harness.history import Iteration, PrintedLine
from matrix.harness.outcome import Exploration, Outcome
from matrix.harness.result_lines import line_of
from matrix.harness.runner import Runner
from matrix.harness.scenario import catalogue
from matrix.harness.sentences import words
from matrix.harness.situations import (
    AMID_ITERATION,
    ASKED_BESIDE_BLOCK,
    BLOCKS_AT_ONCE,
    BOTH_READ,
    BOTH_WANT_MORE,
    CANCELLED_AGAIN,
    CHANGED_MEANWHILE,
    DEADLOCK,
    ENDED_BESIDE,
    FAILED_BESIDE,
    FOUND_LOCKED,
    LOOKED_BEFORE_COMMIT,
    NOT_REPLACED,
    REQUEST_NOT_SENT,
    SILENT_BEFORE_LOGIN,
    SILENT_IN_USE,
    TIMED_OUT,
    USED_BY_NEXT_OWNER,
    Situation,
    at_once,
    cancelled,
    closed_over,
    lost_in_transaction,
    overlap,
    waits_at,
)
from tests.unit.harness.story import Story
from tests.unit.miniatures.driver import Backing, Queueing


def happens(story: Story, session: str, event: str, **fact: object) -> None:
    line = PrintedLine(story._tick(), 0.0, session, event, None, "", {**words("so"), **fact}, None, None, None)
    story.history.lines.append(line)


def fetches(story: Story, session: str, number: int) -> None:
    for nonce in range(number):
        story.reads(session, f"n-{nonce}", asks={"kind": "fetch"})


def overlapping(story):
    first = story.ask("a", "read")
    story.error(story.ask("b", "read"))
    story.ok(first)


def one_after_the_other(story):
    story.reads("a", "n-1")
    story.reads("b", "n-2")


def on_two_connections(story):
    first = story.ask("a", "read", scope="c1")
    story.ok(story.ask("b", "read", scope="c2"))
    story.ok(first)


def write_beside_read(story):
    first = story.ask("a", "write")
    story.ok(story.ask("b", "read"))
    story.ok(first)


def between_fetches(story):
    story.history.iterations.append(Iteration("a", "c1", 1))
    fetches(story, "a", 1)
    story.reads("b", "n-9")
    fetches(story, "a", 2)


def beside_the_first_execute(story):
    story.history.iterations.append(Iteration("a", "c1", 1))
    first = story.ask("a", "read", asks={"kind": "fetch"})
    other = story.ask("b", "read")
    story.ok(first)
    story.error(other)
    fetches(story, "a", 2)


def behind_the_last_fetch(story):
    story.history.iterations.append(Iteration("a", "c1", 1))
    fetches(story, "a", 3)
    story.reads("b", "n-9")


def cancelled_in_read(story):
    asked = story.ask("a", "read")
    happens(story, "a", "cancelled")
    story.cancelled(asked)


def cancelled_between(story):
    story.reads("a", "n-1")
    happens(story, "a", "cancelled")


def cancelled_in_crowd(story):
    other = story.ask("b", "read")
    cancelled_in_read(story)
    story.ok(other)


def out_of_time(story):
    story.cancelled(story.ask("a", "read"))
    story.session("a", timed_out=True)


def in_time(story):
    story.reads("a", "n-1")
    story.session("a")


def acquires(story, session):
    return story.ok(story.ask(session, "acquire", scope=f"alone {session}"))


def closed_over_waiter(story):
    acquires(story, "a")
    story.ask("b", "acquire", scope="alone b")
    story.ok(story.ask("c", "close", scope="alone c"))


def acquired_after_close(story):
    acquires(story, "a")
    story.ok(story.ask("c", "close", scope="alone c"))
    story.error(story.ask("b", "acquire", scope="alone b"))


def holder_cancelled(story):
    acquires(story, "a")
    story.ask("b", "acquire", scope="alone b")
    happens(story, "a", "cancelled")
    story.ok(story.ask("a", "release"))


def holder_cancelled_alone(story):
    acquires(story, "a")
    happens(story, "a", "cancelled")
    story.ok(story.ask("a", "release"))
    story.ok(story.ask("b", "acquire", scope="alone b"))


def waited(story):
    acquires(story, "a")
    waiting = story.ask("b", "acquire", scope="alone b")
    story.ok(story.ask("a", "release"))
    story.ok(waiting)


def nobody_waited(story):
    acquires(story, "a")
    story.ok(story.ask("a", "release"))
    acquires(story, "b")


def both_hold(story):
    acquires(story, "a")
    acquires(story, "b")
    story.ask("a", "acquire", scope="alone a2")
    story.ask("b", "acquire", scope="alone b2")


def one_holds(story):
    acquires(story, "a")
    acquires(story, "a")
    story.ok(story.ask("a", "release"))
    acquires(story, "b")


def used_late(story):
    acquires(story, "b")
    story.ok(story.ask("a", "write", misuse=True))


def used_on_an_idle_one(story):
    story.ok(story.ask("a", "write", misuse=True))
    acquires(story, "b")


def closed_over_read(story):
    asked = story.ask("a", "read")
    story.ok(story.ask("b", "close"))
    story.error(asked)


def closed_before(story):
    story.ok(story.ask("b", "close"))
    story.error(story.ask("a", "read"))


def begun(story, session, parent=None):
    block = story.block(session, parent)
    story.ok(story.ask(session, "begin", block=block, scope="c1"))
    return block


def nested_at_once(story):
    parent = begun(story, "p")
    one, other = begun(story, "a", parent), begun(story, "b", parent)
    for session, block in (("a", one), ("b", other), ("p", parent)):
        story.ok(story.ask(session, "commit", block=block))


def nested_in_turn(story):
    parent = begun(story, "p")
    for session in "ab":
        block = begun(story, session, parent)
        story.ok(story.ask(session, "commit", block=block))
    story.ok(story.ask("p", "commit", block=parent))


def parent_asks_beside(story):
    parent = begun(story, "p")
    child = begun(story, "a", parent)
    story.reads("p", "n-1", block=parent)
    story.ok(story.ask("a", "commit", block=child))


def parent_asks_behind(story):
    parent = begun(story, "p")
    child = begun(story, "a", parent)
    story.ok(story.ask("a", "commit", block=child))
    story.reads("p", "n-1", block=parent)


def locked(story, session, row):
    return story.ok(story.ask(session, "put", row, scope=session))


def deadlocked(story):
    locked(story, "a", "r1")
    locked(story, "b", "r2")
    waits = story.ask("a", "put", "r2", scope="a")
    story.error(story.ask("b", "put", "r1", scope="b"))
    story.ok(waits)


def locked_in_turn(story):
    for session in "ab":
        locked(story, session, "r1")
        locked(story, session, "r2")


def seized(story, end_first):
    one = begun(story, "a")
    story.ok(story.ask("a", "seize", "r", block=one, scope="a"))
    if end_first:
        story.ok(story.ask("a", "commit", block=one))
    story.ask("b", "seize", "r", scope="b")


def both_have_read(story):
    story.reads("a", "n-1")
    story.reads("b", "n-2")
    story.writes("a", "w-1")


def one_has_written(story):
    story.reads("a", "n-1")
    story.writes("a", "w-1")
    story.reads("b", "n-2")


def looked(story, after):
    one = begun(story, "a")
    story.writes("a", "w-1", block=one)
    if after:
        story.ok(story.ask("a", "commit", block=one))
        story.ask("b", "look", "w-1")
    else:
        story.ask("b", "look", "w-1")
        story.ok(story.ask("a", "commit", block=one))


def changed(story, which):
    """Another's change of a row is answered between a look at it and a change; or fails there, is answered then not,
    before or behind both, is of another row, or it is another one who looked."""
    one, row = begun(story, "a"), "c-2" if which == "elsewhere" else "c-1"
    if which == "before":
        story.ok(story.ask("b", "put", row))
    if which == "stranger":
        story.ok(story.ask("c", "view", "c-1"))
    else:
        story.ok(story.ask("a", "view", "c-1", block=one))
    other = story.ask("b", "put", row) if which not in ("before", "behind") else None
    if other is not None and which != "late":
        (story.error if which == "failed" else story.ok)(other)
    story.ok(story.ask("a", "put", "c-1", block=one))
    if which == "behind":
        story.ok(story.ask("b", "put", row))


def failed_beside(story):
    story.ask("a", "write")
    happens(story, "b", "end", error={"type": "X"})


def failed_alone(story):
    story.writes("a", "w-1")
    happens(story, "b", "end", error={"type": "X"})


def ended(story, which):
    """A block is rolled back when a child's write in it, or where else, is at this point."""
    block = story.block("a")
    story.ok(story.ask("a", "begin", block=block))
    inside = story.block("b", block) if which == "nested" else block
    if which == "nested":
        story.ok(story.ask("b", "begin", block=inside))
    if which != "late":
        write = story.ask("a" if which == "own" else "b", "write", block=None if which == "elsewhere" else inside)
    if which == "told":
        story.ok(write)
    story.ok(story.ask("a", "rollback", block=block))
    if which == "late":
        story.ok(story.ask("b", "write", asks={**words("write"), "late": True}))


def loses(story, number=1):
    story.history.losses.append((story._tick(), number))


def lost_when_open(story):
    block = begun(story, "a")
    loses(story)
    story.error(story.ask("a", "commit", block=block))


def lost_in_commit(story):
    commit = story.ask("a", "commit", block=begun(story, "a"))
    loses(story)
    story.error(commit)


def lost_in_begin(story):
    begin = story.ask("a", "begin", block=story.block("a"))
    loses(story)
    story.error(begin)
    story.reads("a", "n-1")


def lost_behind_the_commit(story):
    story.ok(story.ask("a", "commit", block=begun(story, "a")))
    loses(story)


def none_was_open(story):
    block = begun(story, "a")
    loses(story, 0)
    story.ok(story.ask("a", "commit", block=block))


def pinged_behind_the_loss(story):
    block = begun(story, "a")
    loses(story)
    story.error(story.ask("a", "ping", block=block))
    story.error(story.ask("a", "commit", block=block))


def pinged_for_ever(story):
    block = begun(story, "a")
    loses(story)
    story.ask("a", "ping", block=block)


def pinged_before_the_loss(story):
    block = begun(story, "a")
    story.ok(story.ask("a", "ping", block=block))
    loses(story)
    story.error(story.ask("a", "commit", block=block))


def lost_under_a_waiter(story):
    acquires(story, "a")
    story.ask("b", "acquire", scope="alone b")
    loses(story)


def lost_while_idle(story):
    loses(story)
    acquires(story, "a")
    story.ask("b", "acquire", scope="alone b")


def reaches(story, reachable, opened):
    happens(story, "the network", "note", kind="reachable", reachable=reachable, opened=opened)


def given_back(story, waiters="bc", away=True):
    acquires(story, "a")
    for waiter in waiters:
        story.ask(waiter, "acquire", scope=f"alone {waiter}")
    loses(story)
    reaches(story, False, 1)
    if not away:
        reaches(story, True, 1)
    story.ok(story.ask("a", "release"))
    if away:
        reaches(story, True, 2)


def another_one_is_tried(story, tried=1):
    acquires(story, "a")
    for waiter in "bc":
        story.ask(waiter, "acquire", scope=f"alone {waiter}")
    loses(story)
    reaches(story, False, 1)
    reaches(story, True, 1 + tried)
    story.ok(story.ask("a", "release"))


def falls_silent(story, logged_in, new=True):
    happens(story, "the network", "note", kind="silent", open=True, new=new, logged_in=logged_in)


def silent_in_use(story):
    acquires(story, "a")
    falls_silent(story, 1)
    story.ok(story.ask("a", "release"))


def silent_while_idle(story):
    acquires(story, "a")
    story.ok(story.ask("a", "release"))
    falls_silent(story, 1)
    acquires(story, "a")


def out_of_time_and_reach(story, tried):
    reaches(story, False, 1)
    out_of_time(story)
    reaches(story, True, 1 + tried)


def cancelled_twice(story):
    cancelled_in_read(story)
    cancelled_between(story)


def told_that_it_was(story):
    cancelled_in_read(story)
    story.history.lines.append(replace(story.history.lines[-1], operation=1))


def two_cancelled(story):
    for session in "ab":
        happens(story, session, "cancelled")


CASES = [
    (lost_in_transaction(), lost_when_open, lost_in_begin),
    (lost_in_transaction(), lost_in_commit, lost_behind_the_commit),
    (lost_in_transaction(), lost_when_open, none_was_open),
    (lost_in_transaction("ping"), pinged_behind_the_loss, pinged_before_the_loss),
    (lost_in_transaction("ping"), pinged_for_ever, none_was_open),
    (waits_at("lost"), lost_under_a_waiter, lost_while_idle),
    (NOT_REPLACED, given_back, lambda story: given_back(story, away=False)),
    (NOT_REPLACED, given_back, lambda story: given_back(story, waiters="b")),
    (NOT_REPLACED, another_one_is_tried, lambda story: another_one_is_tried(story, tried=0)),
    (SILENT_IN_USE, silent_in_use, silent_while_idle),
    (SILENT_BEFORE_LOGIN, lambda story: falls_silent(story, 0), lambda story: falls_silent(story, 1)),
    (SILENT_BEFORE_LOGIN, lambda story: falls_silent(story, 0), lambda story: falls_silent(story, 0, new=False)),
    (REQUEST_NOT_SENT, lambda story: out_of_time_and_reach(story, 1), lambda story: out_of_time_and_reach(story, 0)),
    (CANCELLED_AGAIN, cancelled_twice, two_cancelled),
    (CANCELLED_AGAIN, cancelled_twice, told_that_it_was),
    (overlap("read"), overlapping, one_after_the_other),
    (overlap("read"), overlapping, on_two_connections),
    (overlap("read", "write"), write_beside_read, overlapping),
    (at_once("read"), on_two_connections, one_after_the_other),
    (AMID_ITERATION, between_fetches, beside_the_first_execute),
    (AMID_ITERATION, between_fetches, behind_the_last_fetch),
    (cancelled("read"), cancelled_in_read, cancelled_between),
    (cancelled("read"), cancelled_in_read, overlapping),
    (cancelled("read", overlapping=True), cancelled_in_crowd, cancelled_in_read),
    (TIMED_OUT, out_of_time, in_time),
    (waits_at("close"), closed_over_waiter, acquired_after_close),
    (waits_at("cancelled"), holder_cancelled, holder_cancelled_alone),
    (waits_at("acquire"), waited, nobody_waited),
    (waits_at("release"), waited, nobody_waited),
    (BOTH_WANT_MORE, both_hold, one_holds),
    (USED_BY_NEXT_OWNER, used_late, used_on_an_idle_one),
    (closed_over("read"), closed_over_read, closed_before),
    (BLOCKS_AT_ONCE, nested_at_once, nested_in_turn),
    (ASKED_BESIDE_BLOCK, parent_asks_beside, parent_asks_behind),
    (DEADLOCK, deadlocked, locked_in_turn),
    (FOUND_LOCKED, lambda story: seized(story, False), lambda story: seized(story, True)),
    (BOTH_READ, both_have_read, one_has_written),
    (CHANGED_MEANWHILE, lambda story: changed(story, ""), lambda story: changed(story, "late")),
    (CHANGED_MEANWHILE, lambda story: changed(story, ""), lambda story: changed(story, "elsewhere")),
    (CHANGED_MEANWHILE, lambda story: changed(story, ""), lambda story: changed(story, "failed")),
    (CHANGED_MEANWHILE, lambda story: changed(story, ""), lambda story: changed(story, "stranger")),
    (CHANGED_MEANWHILE, lambda story: changed(story, ""), lambda story: changed(story, "before")),
    (CHANGED_MEANWHILE, lambda story: changed(story, ""), lambda story: changed(story, "behind")),
    (LOOKED_BEFORE_COMMIT, lambda story: looked(story, False), lambda story: looked(story, True)),
    (FAILED_BESIDE, failed_beside, failed_alone),
    (ENDED_BESIDE, lambda story: ended(story, "under way"), lambda story: ended(story, "told")),
    (ENDED_BESIDE, lambda story: ended(story, "late"), lambda story: ended(story, "elsewhere")),
    (ENDED_BESIDE, lambda story: ended(story, "nested"), lambda story: ended(story, "own")),
]


@pytest.mark.parametrize(
    ("situation", "with_it", "without"), CASES, ids=[f"{at}-{case[0].key}" for at, case in enumerate(CASES)]
)
def test_it_is_met_where_it_happens_and_not_where_it_does_not(situation, with_it, without):
    for tell, met in ((with_it, True), (without, False)):
        story = Story()
        tell(story)
        assert situation.met(story.history) is met


def outcome(verdict: str, schedule: str, met: bool) -> Outcome:
    return Outcome(verdict, [], None, schedule, dict, None, met=met)


def test_an_order_without_the_situation_decides_nothing_and_is_counted_apart():
    exploration = Exploration([outcome("lies", "A.B", False), outcome("safe", "B.A", True)])
    assert exploration.deciding.verdict == "safe"
    assert exploration.counts == {"safe": 1}
    line = line_of(catalogue()["CON-8"], exploration, 0.0)
    assert (line["verdict"], line["orders"]["explored"], line["orders"]["situation_not_met"]) == ("safe", 2, 1)


class OverlapsAreLost(Queueing):
    """Right, but for whoever asks while another's operation is under way: told an internal error."""

    asking = 0

    async def read(self, connection, nonce):
        self.asking += 1
        try:
            if self.asking > 1:
                raise RuntimeError("two at once")
            return await super().read(connection, nonce)
        finally:
            self.asking -= 1


async def explored(scenario):
    return await Runner(Backing(OverlapsAreLost()), 12).explore(scenario)


@pytest.mark.asyncio
async def test_a_driver_that_is_wrong_in_another_situation_alone_is_not_accused_of_this_one():
    scenario = catalogue()["POOL-12"]
    assert (await explored(scenario)).deciding.verdict in ("safe", "refuses")


@pytest.mark.asyncio
async def test_a_situation_that_a_driver_keeps_from_happening_does_not_apply():
    never = replace(catalogue()["CON-1"], situation=Situation("never", lambda history: False, never="it never waits"))
    line = line_of(never, await explored(never), 0.0)
    assert (line["verdict"], line["reason"]) == ("n/a", "it never waits")


@pytest.mark.parametrize(("name", "verdict"), [("CON-1", "n/a"), ("CON-3", "error")])
@pytest.mark.asyncio
async def test_where_something_fails_before_it_in_each_possible_order_it_does_not_apply(name, verdict):
    """Not where orders are left: one of these may come to it. Nor where none failed in one of them: see below."""

    class FailsToRead(Queueing):
        async def read(self, connection, nonce):
            raise RuntimeError("no reading today")

    never = replace(catalogue()[name], situation=Situation("never", lambda history: False))
    line = line_of(never, await Runner(Backing(FailsToRead()), 1).explore(never), 0.0)
    assert line["verdict"] == verdict, line["reason"]
    assert ("no reading today" in line["reason"]) is (verdict == "n/a")


@pytest.mark.asyncio
async def test_a_scenario_that_never_comes_to_its_situation_is_an_error_of_the_suite():
    never = replace(catalogue()["CON-1"], situation=Situation("never", lambda history: False))
    exploration = await explored(never)
    assert "its situation (never) was met in none of" in exploration.error
    assert line_of(never, exploration, 0.0)["verdict"] == "error"

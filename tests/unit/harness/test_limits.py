"""Time limits: how late one may be kept, who may not be kept waiting, and how exactly that is measured."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from matrix.harness.conductor import COARSE, MEASURED, Conductor
from matrix.harness.history import GRACE, History, Limit
from matrix.harness.situations import MET_SILENCE, STALLED
from tests.unit.harness.story import Story
from tests.unit.harness.test_situations import happens


def limited(story: Story, *, took: float | None, over: bool = True, owed: bool = False) -> None:
    """A limit of two seconds that began at 10 by the program's clock."""
    ended = None if took is None else 10 + took
    story.history.limits.append(Limit("a", 2, 10, "asyncio.timeout", owed, ended, over))


@pytest.mark.parametrize(
    ("took", "verdict"), [(0.5, "safe"), (2, "safe"), (2 + GRACE, "safe"), (2.1 + GRACE, "breaks"), (None, "safe")]
)
def test_a_limit_that_is_over_ends_its_block(took, verdict):
    story = Story()
    limited(story, took=took)
    assert story.verdict == verdict  # one whose block is never left is a hang, and told as one
    assert story.violated == ({"timeliness"} if verdict == "breaks" else set())


def test_a_late_limit_says_whose_it_is_and_how_late():
    story = Story()
    limited(story, took=11.44)
    (found,) = story.violations
    assert found.sentence == "a's time limit of 2 s (asyncio.timeout) ended its block after 11.4 s."


@pytest.mark.parametrize(
    ("owed", "over", "verdict"), [(True, True, "breaks"), (True, False, "safe"), (False, True, "safe")]
)
def test_who_needs_nothing_that_is_out_of_reach_is_served_in_time(owed, over, verdict):
    story = Story()
    limited(story, took=2, over=over, owed=owed)
    assert story.verdict == verdict
    found = [(each.property, each.fact["kind"]) for each in story.violations]
    assert found == [("timeliness", "not_in_time")] * (verdict == "breaks")


def jumps(limits: list[Limit], *, now: float, timer: float) -> list[float]:
    """By how much the clock of a world is moved in which nothing happens, three times; a driver polls every 0.1 s."""
    moved: list[float] = []
    history = History(limits=limits)
    loop: Any = SimpleNamespace(time=lambda: now + sum(moved), advance=moved.append)
    quiet: Any = SimpleNamespace(next_timer=timer, stalled=False)
    gates: Any = SimpleNamespace(workers=SimpleNamespace(channels=[]))
    recording: Any = SimpleNamespace(history=history)
    conductor = Conductor(loop, None, {}, gates, recording, quiet)  # type: ignore[arg-type]
    assert all(conductor._unstick() for _ in range(3))
    return moved


def test_without_a_limit_each_jump_is_longer_than_the_one_before():
    assert jumps([], now=0, timer=0.1) == [0.1, 0.2, 0.4]
    assert jumps([Limit("a", 1, 0, "asyncio.timeout", ended=0.5)], now=0, timer=0.1) == [0.1, 0.2, 0.4]


def test_up_to_the_end_of_a_limit_the_clock_goes_from_timer_to_timer():
    assert jumps([Limit("a", 1, 0, "asyncio.timeout")], now=0.5, timer=0.1) == [0.1, 0.1, 0.1]
    assert jumps([Limit("a", 1, 0, "asyncio.timeout")], now=0.5, timer=7) == [7, 7, 7]


def test_behind_the_end_of_a_limit_half_a_second_is_exact_enough_and_later_nothing_is():
    assert jumps([Limit("a", 1, 0, "asyncio.timeout")], now=1.1 + GRACE, timer=0.1) == [COARSE] * 3
    assert jumps([Limit("a", 1, 0, "asyncio.timeout")], now=1 + MEASURED, timer=0.1) == [0.1, 0.2, 0.4]


def test_the_nearest_limit_decides_how_exact_the_clock_is():
    late = Limit("a", 1, 0, "asyncio.timeout")
    assert jumps([late, Limit("b", 60, 0, "asyncio.timeout")], now=9, timer=0.1) == [0.1, 0.1, 0.1]


@pytest.mark.parametrize(
    ("fallen", "met"),
    [
        ({"open": True, "new": False}, True),
        ({"open": False, "new": True}, True),
        ({"open": False, "new": False}, False),
    ],
)
def test_an_order_counts_where_the_network_falls_silent_under_an_operation(fallen, met):
    story = Story()
    asked = story.ask("a", "read", "n-1")
    happens(story, "the network", "note", kind="silent", **fallen)
    story.ok(asked, "n-1")
    assert MET_SILENCE.met(story.history) is met


def test_what_was_answered_before_the_network_fell_silent_does_not_count():
    story = Story()
    story.reads("a", "n-1")
    happens(story, "the network", "note", kind="silent", open=True, new=True)
    assert not MET_SILENCE.met(story.history)
    story.ask("a", "read", "n-2")
    assert MET_SILENCE.met(story.history)


def test_a_connect_stalls_while_another_connection_is_given_back():
    story = Story()
    story.ok(story.ask("holder", "acquire"))
    asked = story.ask("stalled", "acquire")
    assert not STALLED.met(story.history)
    story.ok(story.ask("holder", "release"))
    assert STALLED.met(story.history)
    story.cancelled(asked)
    assert STALLED.met(story.history)


def test_who_asks_behind_the_first_return_is_not_stalled_by_it():
    story = Story()
    story.ok(story.ask("holder", "acquire"))
    back = story.ask("holder", "release")
    story.ask("stalled", "acquire")
    story.ok(back)
    story.ask("other", "release")
    assert not STALLED.met(story.history)

"""Sleeps and limits of a user's function: which may end next, and which stay with the loop."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from matrix.check.clock import Clock
from matrix.harness.loop import MatrixLoop


@pytest.fixture
def loop():
    made = MatrixLoop()
    made.freeze()
    yield made
    made.close()


@pytest.fixture
def world(loop):
    """A clock, a function that sets a timer for a session, and what has gone off."""
    asks = SimpleNamespace(session=None)
    clock, ended = Clock(loop, lambda: asks.session), []

    def timer(letter, seconds, callback=ended.append):
        asks.session = SimpleNamespace(letter=letter, name=letter.lower()) if letter else None
        return clock.call_at(loop.time() + seconds, callback, f"{letter}{seconds}")

    return clock, timer, ended


def tokens(clock, within=float("inf")):
    return [action.token for action in clock.due(within)]


def turn(loop):
    """Let the loop come by a few times."""

    async def rounds():
        for _ in range(3):
            await asyncio.sleep(0)

    loop.run_until_complete(rounds())


def test_only_the_one_that_is_due_first_may_end(loop, world):
    clock, timer, ended = world
    timer("A", 5)
    timer("B", 2)
    assert tokens(clock) == ["B~"]
    began = loop.time()
    fact = clock.end(clock.due(9)[0], 0.0)
    assert (loop.time() - began, fact["text"]) == (2, "b: its timer of 2 s goes off")
    turn(loop)
    assert (ended, tokens(clock)) == (["B2"], ["A~"])


def test_of_two_at_once_either_may_end_first(loop, world):
    clock, timer, ended = world
    timer("A", 2)
    timer("B", 2)
    timer("A", 2)
    assert tokens(clock) == ["A~", "B~"]
    clock.end(clock.due(9)[1], 0.0)
    turn(loop)
    assert ended == ["B2"]


def test_none_may_end_that_is_due_later_than_asked_for(world):
    clock, timer, _ = world
    timer("A", 6)
    assert (tokens(clock, 5.0), tokens(clock, 6.5)) == ([], ["A~"])


def test_what_is_cancelled_never_ends(loop, world):
    clock, timer, ended = world
    timer("A", 1).cancel()
    assert tokens(clock) == []
    handle = timer("A", 1)
    clock.end(clock.due(9)[0], 0.0)
    handle.cancel()
    turn(loop)
    assert ended == []


def test_a_drivers_timer_stays_with_the_loop_and_goes_off_before(loop, world):
    clock, timer, ended = world
    timer("", 1)
    timer("A", 3)
    assert tokens(clock) == ["A~"]
    clock.end(clock.due(9)[0], 0.0)
    turn(loop)
    assert ended == ["1", "A3"]


def test_time_goes_by_as_long_as_asked_for_at_least(loop, world):
    clock, timer, _ = world
    timer("A", 1)
    began = loop.time()
    clock.end(clock.due(9)[0], 8.0)
    assert loop.time() - began == 8.0


@pytest.mark.parametrize(("name", "limit"), [("_on_timeout", True), ("_release_waiter", True), ("ring", False)])
def test_a_limit_that_is_over_is_remembered(world, name, limit):
    clock, timer, _ = world

    def callback(_):
        pass

    callback.__name__ = name
    timer("A", 1, callback)
    assert clock.limit_over is False
    clock.end(clock.due(9)[0], 0.0)
    assert clock.limit_over is limit

"""What programs are drawn from, with hypothesis. Simplest first: it shrinks towards the first of several."""

from __future__ import annotations

import functools

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from .program import (
    Block,
    Cancel,
    Fail,
    Gather,
    Group,
    Handed,
    Hold,
    Limit,
    Other,
    Program,
    Raise,
    Read,
    Rules,
    Sleep,
    Spawn,
    Try,
    Wait,
    Write,
    settle,
)

DEPTH = 3  # of blocks and tasks in one another
LENGTH = 4  # statements of one body

PLAIN = st.sampled_from((Read(), Write(), Fail()))
ASKING = st.lists(PLAIN, min_size=1, max_size=LENGTH).map(tuple)
NUMBER = st.integers(0, 3)


@functools.cache
def _body(rules: Rules, depth: int, *, inside: bool) -> SearchStrategy:
    """A body of a task (or of a block, ``inside``) with at most ``depth`` levels below it."""
    kinds = [PLAIN] * 3  # most statements ask; else programs grow without bound
    if inside:
        kinds.append(st.just(Raise()))
    if depth:
        below = _body(rules, depth - 1, inside=True)
        kinds.append(st.builds(Try, below if inside else _body(rules, depth - 1, inside=False)))
        if rules.nested or not inside:
            kinds.append(st.builds(Block, below))
        kinds.extend(_starting(rules, depth, inside=inside))
    return st.lists(st.one_of(kinds), max_size=LENGTH).map(tuple)


def _starting(rules: Rules, depth: int, *, inside: bool) -> list[SearchStrategy]:
    """Statements that start tasks, wait for them and cancel them, as far as the rules allow them here."""
    if inside and rules.inside == "none":
        return []
    plain = inside and rules.inside == "plain"
    child = st.builds(Spawn, st.just(0), _tasks_body(rules, depth - 1, plain=plain))
    kinds: list[SearchStrategy] = [st.builds(Gather, st.lists(child, min_size=1, max_size=3).map(tuple))]
    if not plain:
        kinds += [child, st.builds(Wait, NUMBER)]
        if rules.cancels:
            kinds.append(st.builds(Cancel, NUMBER))
    return kinds


def _tasks_body(rules: Rules, depth: int, *, plain: bool) -> SearchStrategy:
    if plain or not depth:
        return ASKING
    return _body(rules, depth, inside=False)


# -- on the driver's pool --------------------------------------------------------------------------------------------

FEW = 2  # statements of one body in the lines that have larger statements
MOSTLY_WELL = st.sampled_from((Read(), Write(), Read(), Write(), Fail()))  # an error ends what is around it
ASKING_WELL = st.lists(MOSTLY_WELL, min_size=1, max_size=FEW).map(tuple)


def _one(kinds: list[SearchStrategy]) -> SearchStrategy:
    """One of several, as often as it is named: ``one_of`` counts each once."""
    return st.integers(0, len(kinds) - 1).flatmap(kinds.__getitem__)


def _some(kinds: list[SearchStrategy], least: int = 1) -> SearchStrategy:
    return st.lists(_one(kinds), min_size=least, max_size=FEW).map(tuple)


def _task(body: SearchStrategy) -> SearchStrategy:
    return st.builds(Spawn, st.just(0), body)


def _with_child(child: SearchStrategy, body: SearchStrategy, last: SearchStrategy) -> SearchStrategy:
    """A body before which a task is started, so that there is somebody whom its ``last`` statement means."""
    return st.tuples(_task(child), body, last).map(lambda parts: (parts[0], *parts[1], parts[2]))


@functools.cache
def _pooled() -> SearchStrategy:
    """A body of a task that acquires connections."""
    block = st.builds(Block, _some([MOSTLY_WELL, MOSTLY_WELL, MOSTLY_WELL, st.just(Raise())], 0))
    caught = st.builds(Try, _some([MOSTLY_WELL, block]))
    hold = st.builds(Hold, _some([MOSTLY_WELL, MOSTLY_WELL, block, block, caught]))
    once, twice = (st.tuples(*[hold] * times) for times in (1, 2))
    gathered = st.tuples(st.builds(Gather, st.tuples(_task(once), _task(once))))
    tried = st.tuples(st.builds(Try, once))
    # One statement later its child is in the middle of something, in one of the base orders.
    interrupted = _with_child(once | twice, once, st.builds(Cancel, NUMBER))
    awaited = _with_child(once, once | gathered | tried, st.builds(Wait, NUMBER))
    return _one([once, twice, gathered, interrupted, interrupted, interrupted, awaited])


# -- with TaskGroups, time limits and using_db -----------------------------------------------------------------------


@functools.cache
def _structured() -> SearchStrategy:
    """A body of a task outside of any block."""
    block = st.builds(Block, _structured_block(2))
    second = st.builds(Other, st.one_of(ASKING_WELL, st.builds(Block, ASKING_WELL).map(lambda made: (made,))))
    sleep = st.just(Sleep())
    group = _group(_some([MOSTLY_WELL, block, second, st.just(Raise())]))
    limited = st.builds(Limit, _some([MOSTLY_WELL, block, block, second, group]))
    alone = _some([MOSTLY_WELL, block, block, second, limited, sleep])
    gathered = st.builds(Gather, st.lists(_task(alone), min_size=2, max_size=FEW).map(tuple))
    caught = st.builds(Try, _some([block, group, limited]))
    body = _some([MOSTLY_WELL, block, block, block, limited, limited, group, group, second, caught, gathered, sleep])
    return _one([body, body, _with_child(alone, body, _one([st.builds(Wait, NUMBER), sleep]))])


def _structured_block(depth: int) -> SearchStrategy:
    """A body of a block with at most ``depth`` blocks in one another."""
    handed = st.builds(Handed, ASKING_WELL)
    group = _group(_some([MOSTLY_WELL, MOSTLY_WELL, handed, handed, st.just(Raise())]))
    kinds = [MOSTLY_WELL, handed, group, group, st.just(Sleep())]
    if depth > 1:
        below = st.builds(Block, _structured_block(depth - 1))
        kinds += [below, below, st.builds(Try, below.map(lambda made: (made,)))]
    return _some([*kinds, st.just(Raise())])


def _group(body: SearchStrategy) -> SearchStrategy:
    return st.builds(Group, st.lists(_task(body), min_size=2, max_size=FEW).map(tuple))


# -- waiting for one another -----------------------------------------------------------------------------------------


@functools.cache
def _waiting() -> SearchStrategy:
    """A body of a task that starts another one in a transaction, and waits for it inside a nested block."""
    wait = st.builds(Wait, NUMBER)
    nested = st.builds(Block, _some([MOSTLY_WELL, MOSTLY_WELL, wait]).map(lambda body: (*body, Wait(0))))
    child = _some([MOSTLY_WELL, MOSTLY_WELL, st.builds(Block, ASKING_WELL)])
    within = _some([MOSTLY_WELL, nested, st.builds(Try, nested.map(lambda made: (made,)))])
    return st.builds(Block, _with_child(child, within, nested)).map(lambda made: (made,))


# -- programs --------------------------------------------------------------------------------------------------------


def _whole_task(rules: Rules) -> SearchStrategy:
    if rules.pool:
        return _pooled()
    if rules.waits:
        return _one([_waiting(), _body(rules, DEPTH, inside=False)])
    return _structured() if rules.structured else _body(rules, DEPTH, inside=False)


@st.composite
def programs(draw: st.DrawFn, rules: Rules) -> Program:
    """Programs that keep the rules."""
    # Settled here and not by ``map``: hypothesis would print how the raw one was built, which can take minutes.
    return settle(draw(_raw(rules)), rules, drawn=True)


@functools.cache
def _raw(rules: Rules) -> SearchStrategy[Program]:
    task = st.builds(Spawn, st.just(0), _whole_task(rules))
    # A cancellation by the root comes before its victim's first step, in both base orders.
    kinds = [task, task, st.builds(Cancel, NUMBER)] if rules.cancels and not rules.pool else [task]
    least, most = (3, 3) if rules.pool else (2, 3) if rules.structured else (2, 4)
    return st.builds(Program, st.lists(st.one_of(kinds), min_size=least, max_size=most).map(tuple))

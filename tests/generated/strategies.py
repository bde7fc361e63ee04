"""What programs are drawn from, with hypothesis. Simplest first: it shrinks towards the first of several."""

from __future__ import annotations

import functools

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from .program import Block, Cancel, Fail, Gather, Program, Raise, Read, Rules, Spawn, Try, Wait, Write, settle

DEPTH = 3  # of blocks and tasks in one another
LENGTH = 4  # statements of one body

PLAIN = st.sampled_from((Read(), Write(), Fail()))
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
        return st.lists(PLAIN, min_size=1, max_size=LENGTH).map(tuple)
    return _body(rules, depth, inside=False)


@st.composite
def programs(draw: st.DrawFn, rules: Rules) -> Program:
    """Programs that keep the rules."""
    # Settled here and not by ``map``: hypothesis would print how the raw one was built, which can take minutes.
    return settle(draw(_raw(rules)), rules, drawn=True)


@functools.cache
def _raw(rules: Rules) -> SearchStrategy[Program]:
    task = st.builds(Spawn, st.just(0), _body(rules, DEPTH, inside=False))
    kinds = [task, task, st.builds(Cancel, NUMBER)] if rules.cancels else [task]
    return st.builds(Program, st.lists(st.one_of(kinds), min_size=2, max_size=4).map(tuple))

"""The verdict rules: from violations to one word, from a remedy's verdicts to its word. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from matrix.words import (
    ATOMICITY,
    BREAKS,
    CONTAINMENT,
    DURABILITY,
    FAILS,
    HANGS,
    HOLDS,
    LIES,
    LIVENESS,
    NOT_NEEDED,
    PARTLY,
    POISONS,
    REFUSES,
    ROUTING,
    SAFE,
    WORSE,
    badness,
    complies,
    worst,
)

from .checker import Violation

WRONG_DATA = (ROUTING, DURABILITY, ATOMICITY, CONTAINMENT)


def word_for(violation: Violation) -> str:
    """The verdict that one violation alone would give."""
    if violation.property in WRONG_DATA:
        return POISONS if violation.after and violation.warned else LIES
    if violation.property == LIVENESS:
        return HANGS
    if violation.foreign_state and (violation.warned or not violation.after):
        return POISONS  # an error had been shown, or a task of the program itself was handed it
    return BREAKS


def derive(violations: Sequence[Violation], *, refused: bool) -> str:
    """One word for a run: the worst violation's, else ``refuses`` or ``safe``."""
    if violations:
        return worst(word_for(violation) for violation in violations)
    return REFUSES if refused else SAFE


class Compared(NamedTuple):
    """A scenario's verdict with a remedy and without it (None: not known), and its level."""

    verdict: str
    without: str | None
    level: str


def judge_remedy(compared: Sequence[Compared], claims: Sequence[str]) -> str:
    """One of REMEDIES. ``claims``: the verdicts that keep what the remedy claims. What was well without it is not its
    merit, nor is what Tortoise promises no more than to refuse its fault."""
    if any(_worse(each) for each in compared if each.verdict not in claims):
        return WORSE
    cured = [each for each in compared if each.verdict in claims and each.without not in claims]
    if not cured and all(_complies(each, each.without) for each in compared):
        return NOT_NEEDED
    if all(each.verdict in claims for each in compared):
        return HOLDS
    return PARTLY if cured else FAILS


def _complies(each: Compared, verdict: str | None) -> bool:
    """Whether a verdict is all that the scenario promises; for what is not judged that is ``safe``."""
    return verdict is not None and (verdict == SAFE or complies(each.level, verdict) is True)


def _worse(each: Compared) -> bool:
    """What complies as before has not become worse: a mended ORM that refuses harms nobody."""
    if each.without is None or badness(each.verdict) <= badness(each.without):
        return False
    return not _complies(each, each.verdict)

"""The verdict rules: from violations to one word, from a remedy's verdicts to its word. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence

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
    PARTLY,
    POISONS,
    REFUSES,
    ROUTING,
    SAFE,
    WORSE,
    badness,
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


def judge_remedy(verdicts: Sequence[tuple[str, str | None]], claims: Sequence[str]) -> str:
    """holds, partly, fails or worse. Each item: a scenario's verdict with the remedy and without it (None: not known);
    ``claims``: the verdicts that keep what the remedy claims."""
    if any(w is not None and verdict not in claims and badness(verdict) > badness(w) for verdict, w in verdicts):
        return WORSE
    if all(verdict in claims for verdict, _ in verdicts):
        return HOLDS
    # What was well without it is not its merit.
    cured = any(verdict in claims and without not in claims for verdict, without in verdicts)
    return PARTLY if cured else FAILS

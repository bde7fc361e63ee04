"""The verdict rules: from violations to one word, and from word and contract level to compliance. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence

from .checker import ATOMICITY, CONTAINMENT, DURABILITY, LIVENESS, ROUTING, Violation

SAFE, REFUSES, BREAKS, HANGS, POISONS, LIES = VERDICTS = ("safe", "refuses", "breaks", "hangs", "poisons", "lies")
NOT_APPLICABLE, ERROR, NOT_RUN = "n/a", "error", "not run"
MUST, LOUD, INFO = LEVELS = ("must", "loud", "info")
REMEDIES = ("holds", "partly", "fails", "worse")

WRONG_DATA = (ROUTING, DURABILITY, ATOMICITY, CONTAINMENT)


def word_for(violation: Violation) -> str:
    """The verdict that one violation alone would give."""
    if violation.property in WRONG_DATA:
        return POISONS if violation.after and violation.warned else LIES
    if violation.property == LIVENESS:
        return HANGS
    if violation.foreign_state and violation.warned:
        return POISONS
    return BREAKS


def derive(violations: Sequence[Violation], *, refused: bool) -> str:
    """One word for a run: the worst violation's, else ``refuses`` or ``safe``."""
    if violations:
        return worst(word_for(violation) for violation in violations)
    return REFUSES if refused else SAFE


def badness(verdict: str) -> int:
    """0 for safe up to 5 for lies. Raises ValueError for a word that is no verdict."""
    return VERDICTS.index(verdict)


def worst(verdicts: object) -> str:
    """The worst of some verdicts; safe of none."""
    return max(verdicts, key=badness, default=SAFE)  # type: ignore[call-overload]


def complies(level: str, verdict: str) -> bool | None:
    """Whether a verdict keeps what the level promises; None where nothing is judged."""
    if level == INFO or verdict not in VERDICTS:
        return None
    return verdict == SAFE or (level == LOUD and verdict == REFUSES)


def judge_remedy(verdicts: Sequence[tuple[str, str | None]], claims: Sequence[str]) -> str:
    """holds, partly, fails or worse. Each item: a scenario's verdict with the remedy and without it (None: not known);
    ``claims``: the verdicts that keep what the remedy claims."""
    if any(w is not None and verdict not in claims and badness(verdict) > badness(w) for verdict, w in verdicts):
        return "worse"
    if all(verdict in claims for verdict, _ in verdicts):
        return "holds"
    # What was well without it is not its merit.
    cured = any(verdict in claims and without not in claims for verdict, without in verdicts)
    return "partly" if cured else "fails"

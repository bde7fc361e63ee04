"""What the runs of a scenario showed: one run's outcome, and the exploration of all orders that were run."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from matrix.lines import Chosen, Evidence, OrdersAnomaly
from matrix.words import badness

from .checker import Violation
from .schedule import parse
from .sentences import Fact, sentence
from .verdict import word_for

Choices = Sequence[tuple[str, ...]]  # at each step, the tokens of all actions that were possible


@dataclass
class Outcome:
    """One run of one schedule."""

    verdict: str
    violations: list[Violation]
    refused: Fact | None  # the first operation that was refused, as a fact
    schedule: str
    make_evidence: Callable[[], Evidence]  # makes the evidence; it costs more than the run, and few runs need it
    proof: str | None
    crashed: bool = False  # the interpreter died (isolated.py)
    enabled: Choices = ()  # among what each step was chosen; not known of a run in a child process

    @functools.cached_property
    def evidence(self) -> Evidence:
        """What people read of this run."""
        return self.make_evidence()

    @property
    def signature(self) -> tuple[str, tuple[str, ...]]:
        """What two runs of the same schedule must agree on."""
        return self.verdict, tuple(sorted({violation.property for violation in self.violations}))

    @property
    def finding(self) -> Fact:
        """What decides: the worst violation, or what was refused."""
        if not self.violations:
            return self.refused or {"kind": "completed"}
        return max(self.violations, key=lambda violation: badness(word_for(violation))).fact

    @property
    def reason(self) -> str:
        """That in one line."""
        return sentence(self.finding)


@dataclass
class Exploration:
    """All orders of one scenario that were run."""

    outcomes: list[Outcome]
    orders: Chosen = field(default_factory=Chosen)
    error: str = ""
    evidence: Evidence = field(default_factory=Evidence)
    once: list[Outcome] = field(default_factory=list)  # seen once and not again (drivers whose threads race inside)

    @property
    def deciding(self) -> Outcome:
        """The worst outcome, by the shortest schedule that shows it; what was seen once only does not count."""
        seen_once = {outcome.verdict for outcome in self.once}
        counted = [outcome for outcome in self.outcomes if outcome.verdict not in seen_once] or self.outcomes
        return max(counted, key=lambda outcome: (badness(outcome.verdict), -len(parse(outcome.schedule))))

    @property
    def counts(self) -> dict[str, int]:
        made: dict[str, int] = {}
        for outcome in self.outcomes:
            made[outcome.verdict] = made.get(outcome.verdict, 0) + 1
        return made

    @property
    def anomalies(self) -> list[OrdersAnomaly]:
        """What any order violated: each set of properties with its verdict, and how many orders showed it."""
        made: dict[tuple[str, tuple[str, ...]], int] = {}
        for outcome in self.outcomes:
            if outcome.violations:
                made[outcome.signature] = made.get(outcome.signature, 0) + 1
        return [
            {"verdict": verdict, "properties": list(properties), "orders": number}
            for (verdict, properties), number in sorted(made.items())
        ]


def difference(first: Outcome, second: Outcome) -> str:
    """In what two runs of one schedule differ, in words; empty when the second was the same again."""
    if first.schedule != second.schedule:
        return f"schedule {first.schedule} became {second.schedule} ({first.verdict}, then {second.verdict})"
    if first.verdict != second.verdict:
        return f"schedule {first.schedule} gave {first.verdict}, then {second.verdict}"
    if first.signature != second.signature:
        before, after = (", ".join(outcome.signature[1]) or "none" for outcome in (first, second))
        return f"schedule {first.schedule} gave {first.verdict} twice, but violated {before}, then {after}"
    return other_choices(first.schedule, first.enabled, second.enabled)


def other_choices(schedule: str, first: Choices, second: Choices) -> str:
    """At which step of two runs of one schedule other actions were possible, in words; empty when they were the same
    throughout (as awslabs/shuttle's check for uncontrolled nondeterminism has it)."""
    for step, (before, after) in enumerate(zip(first, second, strict=True), 1):
        if before != after:
            possible = f"{', '.join(before)}, then {', '.join(after)}"
            return f"schedule {schedule} was taken twice, but possible at step {step} was {possible}"
    return ""

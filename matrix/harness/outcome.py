"""What the runs of a scenario showed: one run's outcome, and the exploration of all orders that were run."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from matrix.lines import Chosen, Evidence, OrdersAnomaly
from matrix.words import ATOMICITY, DURABILITY, ROUTING, badness

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
    met: bool = True  # whether it came to the scenario's situation; else this order says nothing of it
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
    def told_untrue(self) -> bool:
        """Whether a task of the program itself was told something untrue: stronger than what shows afterwards, or in
        the way that a row took, when its writer was refused."""
        silent = (ROUTING, DURABILITY, ATOMICITY)
        return any(violation.property in silent and not violation.after for violation in self.violations)

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
    absent: str = ""  # why it does not apply after all: what the driver never does
    evidence: Evidence = field(default_factory=Evidence)
    once: list[Outcome] = field(default_factory=list)  # seen once and not again (drivers whose threads race inside)
    lost: list[str] = field(default_factory=list)  # how runs failed which were then made again (isolated.py)

    @property
    def judged(self) -> list[Outcome]:
        """The outcomes of orders in which it came to the scenario's situation."""
        return [outcome for outcome in self.outcomes if outcome.met]

    @property
    def deciding(self) -> Outcome:
        """The worst outcome, if possible one in which a task was told something untrue, by the shortest schedule that
        shows it; what was seen once only does not count, nor an order without the situation. Raises ValueError where
        there is none."""
        seen_once = {outcome.verdict for outcome in self.once}
        counted = [outcome for outcome in self.judged if outcome.verdict not in seen_once] or self.judged

        def worse(outcome: Outcome) -> tuple[int, bool, int]:
            return badness(outcome.verdict), outcome.told_untrue, -len(parse(outcome.schedule))

        return max(counted, key=worse)

    @property
    def counts(self) -> dict[str, int]:
        made: dict[str, int] = {}
        for outcome in self.judged:
            made[outcome.verdict] = made.get(outcome.verdict, 0) + 1
        return made

    @property
    def anomalies(self) -> list[OrdersAnomaly]:
        """What any order violated: each set of properties with its verdict, and how many orders showed it."""
        made: dict[tuple[str, tuple[str, ...]], int] = {}
        for outcome in self.judged:
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

"""Runs the real scenarios over miniatures, and says which scenario catches which fault. Plain data, no printing."""

from __future__ import annotations

import time
from collections.abc import Collection, Coroutine, Iterable
from dataclasses import dataclass
from typing import Any

from matrix.harness.adapters.base import CAPABILITIES
from matrix.harness.loop import MatrixLoop
from matrix.harness.result_lines import line_of
from matrix.harness.runner import Runner
from matrix.harness.scenario import Scenario, catalogue
from matrix.words import INFO, NOT_APPLICABLE, REFUSES, SAFE, VERDICTS

from .driver import Backing, Miniature, Queueing, Refusing
from .faults import FAULTS

RIGHT = (Queueing, Refusing)
RIGHT_BOUND = 12  # orders: more than for a fault, since a right one must comply in all of them


@dataclass(frozen=True)
class Catch:
    """A scenario that does not comply with a miniature, and why."""

    scenario: str
    verdict: str
    properties: tuple[str, ...]
    reason: str


@dataclass(frozen=True)
class Row:
    """One seeded fault and everything that caught it."""

    fault: str
    sentence: str
    expects: tuple[str, str] | None
    gap: str
    catches: tuple[Catch, ...]
    errors: tuple[str, ...]  # scenarios in which the harness itself gave up

    @property
    def as_expected(self) -> tuple[Catch, ...]:
        """Those that caught it for what it is: of the expected property, with the expected verdict."""
        if self.expects is None:
            return ()
        property, verdict = self.expects
        return tuple(each for each in self.catches if property in each.properties and each.verdict == verdict)


@dataclass(frozen=True)
class Right:
    """A right miniature: the verdict of every scenario, and what is wrong with it or with the suite."""

    name: str
    sentence: str
    verdicts: dict[str, str]
    problems: tuple[str, ...]


def applicable(adapter: Miniature) -> list[Scenario]:
    """The catalogue's scenarios that a miniature can run, but for remedies, which are run over scenarios, and generated
    ones (tests/unit/generated)."""
    return [
        scenario
        for scenario in catalogue().values()
        if not scenario.cures and not scenario.generated and scenario.unmet(adapter.capabilities, CAPABILITIES) is None
    ]


async def line(miniature: type[Miniature], scenario: Scenario, bound: int | None = None) -> dict[str, Any]:
    """The result line of one scenario in a fresh miniature."""
    started = time.monotonic()
    exploration = await Runner(Backing(miniature()), bound or miniature.bound).explore(scenario)
    return line_of(scenario, exploration, time.monotonic() - started)


async def row(miniature: type[Miniature], only: Collection[str] = ()) -> Row:
    """Everything that catches one miniature; ``only`` these scenarios, all for none."""
    asked = [scenario for scenario in applicable(miniature()) if not only or scenario.id in only]
    return _row(miniature, [await line(miniature, scenario) for scenario in asked])


async def first(miniature: type[Miniature], known: Collection[str]) -> Row:
    """The first scenario that catches one miniature for what it is; those of the table on record (``known``) are asked
    before the others."""
    lines = []
    for scenario in sorted(applicable(miniature()), key=lambda each: each.id not in known):
        lines.append(await line(miniature, scenario))
        if (made := _row(miniature, lines)).as_expected or made.errors:
            return made
    return _row(miniature, lines)


def _row(miniature: type[Miniature], lines: list[dict[str, Any]]) -> Row:
    return Row(
        miniature.__name__,
        sentence(miniature),
        miniature.expects,
        miniature.gap,
        tuple(_catch(each) for each in lines if each["complies"] is False or _reported(each)),
        tuple(
            f"{each['scenario']}: {each['reason']}" for each in lines if each["verdict"] == "error" and not _unmet(each)
        ),
    )


def _reported(line: dict[str, Any]) -> bool:
    """Whether a line that nobody judges (level ``info``) shows something wrong all the same."""
    return line["level"] == INFO and line["verdict"] in VERDICTS[2:]


def _unmet(line: dict[str, Any]) -> bool:
    """Whether a driver is wrong in a way that keeps a scenario from its situation: then that one measures nothing."""
    return bool((line["orders"] or {}).get("situation_not_met"))


def sentence(miniature: type[Miniature]) -> str:
    return " ".join((miniature.__doc__ or "").split())


async def right(miniature: type[Miniature]) -> Right:
    """Every scenario over a right miniature: it complies, and it never does worse than to refuse."""
    lines = [await line(miniature, scenario, RIGHT_BOUND) for scenario in applicable(miniature())]
    right = (SAFE, REFUSES, NOT_APPLICABLE)
    wrong = [each for each in lines if each["complies"] is False or each["verdict"] not in right]
    return Right(
        miniature.__name__,
        sentence(miniature),
        {each["scenario"]: each["verdict"] for each in lines},
        tuple(f"{each['scenario']} {each['verdict']}: {each['reason']}" for each in wrong),
    )


def _catch(line: dict[str, Any]) -> Catch:
    properties = tuple(dict.fromkeys(violation["property"] for violation in line["violations"]))
    return Catch(line["scenario"], line["verdict"], properties, line["reason"])


def table(miniatures: Iterable[type[Miniature]] = FAULTS, only: Collection[str] = ()) -> list[Row]:
    """Seeded fault x scenarios that caught it, each on a loop of its own."""
    return [row_of(miniature, only) for miniature in miniatures]


def row_of(miniature: type[Miniature], only: Collection[str] = ()) -> Row:
    return _alone(row(miniature, only))


def first_of(miniature: type[Miniature], known: Collection[str]) -> Row:
    return _alone(first(miniature, known))


def right_of(miniature: type[Miniature]) -> Right:
    return _alone(right(miniature))


def _alone(made: Coroutine[Any, Any, Any]) -> Any:
    loop = MatrixLoop()
    try:
        return loop.run_until_complete(made)
    finally:
        loop.close()

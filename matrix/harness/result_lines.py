"""Makes the result lines: of an explored scenario, of a remedy over its scenarios, of what has no verdict."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from matrix.lines import Because, Chosen, Cure, ExplorationResult, Orders, ScenarioLine
from matrix.words import (
    ERROR,
    FULL,
    HOLDS,
    NOT_APPLICABLE,
    NOT_NEEDED,
    NOT_RUN,
    RECORD,
    SCHEMA,
    VERDICTS,
    complies,
    worst,
)

from .adapters.base import CAPABILITIES
from .outcome import Exploration
from .sentences import Fact, sentence, words
from .verdict import Compared, judge_remedy

if TYPE_CHECKING:
    from .runner import Runner
    from .scenario import Scenario


def line_head(scenario: Scenario) -> ScenarioLine:
    """What every line of a scenario says, whatever was seen."""
    return {
        "type": "scenario",
        "schema": SCHEMA,
        "scenario": scenario.id,
        "family": scenario.family,
        "title": scenario.title,
        "contract": scenario.contract,
        "level": scenario.level,
        "source": {"text": scenario.quote, "url": scenario.url},
        "links": list(scenario.links),
        "verdict": NOT_RUN,
        "complies": None,
        "violations": [],
        "finding": None,
        "reason": "",
        "proof": None,
        "orders": {"explored": 0, "possible": None, "verdicts": {}},
        "schedule": None,
        "seconds": 0.0,
        "depth": FULL,
        "evidence": None,
    }


def without_verdict(scenario: Scenario, verdict: str, reason: str) -> ScenarioLine:
    """A line for a scenario that has no verdict: ``n/a``, ``error`` or ``not run``, with the reason."""
    return {**line_head(scenario), "verdict": verdict, **because(words(reason))}


def because(finding: Fact) -> Because:
    """What decides, as a part of a line: for programs, and in words."""
    return {"finding": finding, "reason": sentence(finding)}


def line_of(scenario: Scenario, exploration: Exploration, seconds: float) -> ScenarioLine:
    """The result line of an explored scenario."""
    findings = _findings(scenario.level, exploration)
    return {**line_head(scenario), **findings, "seconds": round(seconds, 4), "depth": _depth([findings])}


def _depth(findings: Iterable[ExplorationResult]) -> str:
    """``record`` where any of it stands on schedules on record."""
    return RECORD if any("on_record" in (found.get("orders") or {}) for found in findings) else FULL


def _findings(level: str, exploration: Exploration) -> ExplorationResult:
    if exploration.error:
        failed: ExplorationResult = {
            "verdict": ERROR,
            **because(words(exploration.error)),
            "complies": None,
            "evidence": exploration.evidence or None,
        }
        if exploration.outcomes and not exploration.judged:
            failed["orders"] = _in_vain(exploration)
        return failed
    if exploration.absent:
        tried = _in_vain(exploration)
        if "on_record" in exploration.orders:
            tried["on_record"] = exploration.orders["on_record"]
        absent = because(words(exploration.absent))
        return {"verdict": NOT_APPLICABLE, **absent, "complies": None, "orders": tried, "evidence": None}
    deciding = exploration.deciding
    explored, judged = len(exploration.outcomes), len(exploration.judged)
    apart: Chosen = {"situation_not_met": explored - judged} if explored > judged else {}
    once = [{"verdict": outcome.verdict, "schedule": outcome.schedule} for outcome in exploration.once]
    finding = deciding.finding
    return {
        "verdict": deciding.verdict,
        "complies": complies(level, deciding.verdict),
        "violations": [{"property": v.property, "sentence": v.sentence, "fact": v.fact} for v in deciding.violations],
        **because({"kind": "seen_once", "finding": finding, "once": once} if once else finding),
        "proof": deciding.proof,
        "orders": {
            "explored": explored,
            "verdicts": exploration.counts,
            **exploration.orders,
            **apart,
            **_again(exploration),
            "anomalies": exploration.anomalies,
        },
        "schedule": deciding.schedule or None,
        "evidence": deciding.evidence,
    }


def _in_vain(exploration: Exploration) -> Orders:
    """The orders of an exploration in none of which it came to the situation."""
    tried: Orders = {"explored": 0, "possible": None, "verdicts": {}, "situation_not_met": len(exploration.outcomes)}
    return {**tried, **_again(exploration)}


def _again(exploration: Exploration) -> Chosen:
    return {"made_again": exploration.lost} if exploration.lost else {}


async def remedy_line(
    runner: Runner, scenario: Scenario, catalogue: dict[str, Scenario], plain: dict[str, str]
) -> ScenarioLine:
    """Run a remedy over the scenarios that it claims to cure. ``plain``: their verdicts without it, filled on
    demand."""
    started = time.monotonic()
    cures: dict[str, Cure] = {}
    judged: list[Compared] = []
    for identifier in scenario.cures:
        cured = catalogue[identifier]
        if cured.unmet(runner.backing.adapter.capabilities, CAPABILITIES) is not None:
            continue
        if identifier not in plain:
            alone = await runner.explore(cured)
            plain[identifier] = _findings(cured.level, alone)["verdict"]
        exploration = await runner.explore(cured, scenario.remedy, remedy_id=scenario.id)
        if exploration.absent:
            continue
        findings = _findings(cured.level, exploration)
        without = plain[identifier] if plain[identifier] in VERDICTS else None
        # A remedy claims more than the bare scenario promises: that the pattern works with it.
        findings["complies"] = None if findings["verdict"] == ERROR else findings["verdict"] in scenario.remedy.claims
        cures[identifier] = {**findings, "without": without, "title": cured.title}
        judged.append(Compared(findings["verdict"], without, cured.level))
    line = line_head(scenario)
    line["cures"], line["seconds"] = cures, round(time.monotonic() - started, 4)
    line["depth"] = _depth(cures.values())
    if any(each.verdict == ERROR for each in judged):
        bad = next(identifier for identifier, cure in cures.items() if cure["verdict"] == ERROR)
        failed = {"kind": "remedy_error", "scenario": bad, "finding": cures[bad]["finding"]}
        return {**line, "verdict": ERROR, **because(failed)}
    if not judged:
        none = words("none of the scenarios that it is to cure applies here")
        return {**line, "verdict": NOT_APPLICABLE, **because(none)}
    line["verdict"] = worst(each.verdict for each in judged)
    line["remedy"] = word = judge_remedy(judged, scenario.remedy.claims)
    decides = because(_remedy_finding(word, cures))
    line["finding"], line["reason"] = decides["finding"], decides["reason"]
    line["orders"] = {
        "explored": sum(orders["explored"] for cure in cures.values() if (orders := cure.get("orders"))),
        "possible": None,
        "verdicts": {},
    }
    return line


def _remedy_finding(word: str, cures: dict[str, Cure]) -> Fact:
    broken = [identifier for identifier, cure in cures.items() if cure["complies"] is False]
    first = cures[broken[0]] if broken else next(iter(cures.values()))
    return {
        "kind": "remedy",
        "scenarios": list(cures),
        "needed": word != NOT_NEEDED,
        "broken": [(identifier, cures[identifier]["verdict"]) for identifier in broken],
        "finding": None if word in (NOT_NEEDED, HOLDS) else first["finding"],
    }

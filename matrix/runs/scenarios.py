"""``python -m matrix scenarios`` and ``explain``: what there is, and what is on record of one. Nothing is run."""

from __future__ import annotations

import argparse
import json
import re
import textwrap
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from matrix.harness import known_schedules
from matrix.harness.drivers import bases, drivers
from matrix.harness.scenario import Scenario, catalogue, chosen, one
from matrix.harness.vocabulary import vocabulary
from matrix.lines import word_of
from matrix.results import expectations, keeps, messages
from matrix.results.read import results_in
from matrix.results.text import clean, code, one_line, refusing
from matrix.runs import RunError
from matrix.runs.jobs import add_sources, version_or_source
from matrix.words import FAMILIES

WIDTH = 100
SHOWN = 5  # scenarios of an error
AN_ID = re.compile(rf"[A-Z]+-\d+[A-Z]?|{'|'.join(FAMILIES)}", re.ASCII | re.IGNORECASE)  # also one that is mistyped
LEVELS = {
    "must": "promised: only `safe` complies",
    "loud": "undefined use: `safe` and `refuses` comply",
    "info": "reported, not judged",
}


def register(commands: Any) -> None:
    """Adds ``scenarios`` and ``explain``."""
    about = "Lists scenarios: all, or those of the families and ids that are given (NST, NST-4)."
    listing = commands.add_parser("scenarios", help="list the scenarios with their titles", description=about)
    listing.add_argument("names", nargs="*", metavar="ID", help="an id or a family, in any case")
    listing.add_argument("--json", action="store_true", help="for programs")
    listing.add_argument("--program", action="store_true", help="what a scenario's program may say, not the scenarios")
    listing.set_defaults(handler=_list)
    explain = commands.add_parser(
        "explain",
        help="what a scenario asks, what was promised, what is on record, which remedies were tried",
        description="Explains a scenario from what is on record, and from results where there are some. Runs nothing.",
    )
    explain.add_argument(
        "scenario",
        metavar="ID",
        help="such as NST-4, in any case; or an error as it was shown, or words of a title or a reason",
    )
    explain.add_argument("--results", default="results", metavar="FOLDER", help="where a run's words are looked up")
    add_sources(explain)
    explain.set_defaults(handler=_explain)


@refusing(2, LookupError)
def _list(options: argparse.Namespace) -> int:
    known = catalogue()
    if options.program:
        for of, what, calls in vocabulary():
            print(f"{of}: {what}")
            for call, does in calls.items():
                print("\n".join(_wrapped(f"{call}  {does}", hang=8)))
        return 0
    names = chosen(" ".join(options.names)) if options.names else list(known)
    if options.json:
        fields = ("id", "title", "contract", "level", "family", "url")
        print(json.dumps([{field: getattr(known[name], field) for field in fields} for name in names], indent=2))
        return 0
    for name in names:
        print(f"{name:<8} {known[name].level:<5} {known[name].title}")
    return 0


@refusing(2, LookupError, expectations.ExpectationError, RunError)
def _explain(options: argparse.Namespace) -> int:
    if not AN_ID.fullmatch(options.scenario.strip()):
        return _speaking_of(options.scenario)
    name = one(options.scenario)
    found = [version_or_source(text) for text in (options.tortoise, options.driver) if text]
    labels = [each if isinstance(each, str) else each.label for each in found]
    for line in explained(catalogue()[name], Path(options.results), labels):
        print(clean(line))
    return 0


def _speaking_of(text: str) -> int:
    """List the scenarios that show an error which is pasted, and those whose title, contract or reason on record has
    these words. Raises LookupError and ExpectationError."""
    if not text.strip():
        raise LookupError("nothing was asked: name a scenario (python -m matrix scenarios), or paste an error")
    known = catalogue()
    shown = messages.pasted(text, messages.on_record())
    record = on_record() if shown else {}
    for error in shown:
        print(clean(f"{code(error.text)} ({', '.join(error.drivers)}) is shown in"))
        first = list(error.seen.items())[:SHOWN]
        for name, word in first:
            print(clean(f"  {name:<8} {known[name].title} ({word})"))
        if more := len(error.seen) - len(first):
            print(f"  and {more} more")
        for line in _instead(error.seen, record):
            print(clean(line))
    words = " ".join(text.casefold().split())
    found: dict[str, list[str]] = {}
    for name, scenario in known.items():
        if words in f"{scenario.title} {scenario.contract}".casefold():
            found[name] = []
    for driver in drivers():
        for entry in expectations.of_all_cells(driver):
            if words in entry.reason.casefold():
                for name in entry.scenarios:
                    found.setdefault(name, []).append(f"{driver} {entry.words}")
    if not found and not shown:
        raise LookupError(
            f"nothing on record speaks of {text!r}\nTry fewer words of it, or docs/errors.md, which has all messages."
        )
    if found and shown:
        print("\nOn record these speak of it")
    for name in known:
        if name in found:
            own = f" ({', '.join(dict.fromkeys(found[name]))})" if found[name] else ""
            print(clean(f"{name:<8} {known[name].title}{own}"))
    instead = "docs/errors.md lists all messages with what to write instead"
    print(f"\npython -m matrix explain ID says more of one; {instead}")
    return 0


def _instead(
    shown: Collection[str], record: Mapping[str, Mapping[str, expectations.ExpectationEntry]]
) -> Iterator[str]:
    """What people write and what to write instead, of the first of these scenarios that has a remedy which holds."""
    for name in shown:
        remedies = [said for said in by_preference([name], record).values() if said]
        if remedies:
            written = [*_as_written(name), catalogue()[name].title]
            yield from _wrapped(f"If you write this: {written[0]}", hang=4)
            yield from _wrapped(f"write instead: {remedies[0]}", hang=4)
            return


def explained(scenario: Scenario, results: Path, labels: Sequence[str] = ()) -> Iterator[str]:
    """The lines of ``explain``; of results those of cells with these releases or sources. Raises ExpectationError."""
    yield f"{scenario.id}: {scenario.title}"
    yield from _wrapped(scenario.contract)
    yield ""
    yield f"Level {scenario.level}: {LEVELS[scenario.level]}"
    if scenario.quote:
        yield from _wrapped(f'"{scenario.quote}"')
        yield f"  {scenario.url}"
    for driver in drivers():
        own = scenario.bound(driver)
        if own is not scenario:
            yield from _wrapped(f'{driver:<10} {own.level}: "{own.quote}"', hang=13)
            yield f"             {own.url}"
    if scenario.links:
        yield "Reports"
        yield from (f"  {link}" for link in scenario.links)
    yield "On record, newest releases"
    measured = known_schedules.is_measured(scenario.id)
    for driver in drivers():
        entries = [each for each in expectations.of_all_cells(driver) if scenario.id in each.scenarios]
        if not entries:
            nothing = f"nothing: it {'holds' if scenario.cures else 'complies'}, or does not apply"
            yield f"  {driver:<10} {nothing if measured else 'nothing: it was not measured yet'}"
        for each in entries:
            where = f" ({each.range})" if each.range else ""
            yield from _wrapped(f"{driver:<10} {each.words}{where}: {each.reason}", hang=13)
    yield from _measured(scenario.id, results, labels)
    yield from _remedies(scenario)
    yield "Run it, and show its deciding order step by step (CELL: " + ", ".join(bases()) + ")"
    yield f"  python -m matrix run CELL --only {scenario.id}"
    yield f"  python -m matrix replay CELL {scenario.id}"


def _measured(name: str, results: Path, labels: Sequence[str]) -> Iterator[str]:
    if not results.is_dir():
        return
    asked = [run for run in results_in(results) if name in run.by_id and all(label in run.cell for label in labels)]
    lines = [(run.cell, run.by_id[name]) for run in asked]
    if lines or labels:
        yield f"In {results}{'' if lines else f': nothing of {labels[0]}; run it first'}"
    for cell, line in lines:
        word = word_of(line)
        yield from _wrapped(f"{cell:<18} {word}: {one_line(line.get('reason') or '')}", hang=21)


def _as_written(name: str) -> list[str]:
    """The titles of the patterns, as people write them, that a scenario stands for."""
    return [each["title"] for each in keeps.patterns()["pattern"] if name in each["scenarios"]]


def _remedies(scenario: Scenario) -> Iterator[str]:
    if own := _as_written(scenario.id):
        yield "As people write it (docs/patterns, page 'Is my code safe?')"
        yield from (f"  {title}" for title in own)
    remedies = by_preference([scenario.id], on_record())
    if remedies:
        yield "Remedies that are run over it; those to try first come first"
    for remedy, said in remedies.items():
        nowhere = f"{catalogue()[remedy].title} (holds nowhere)"
        yield from _wrapped(f"{remedy:<8} {said or nowhere}", hang=11)
    if scenario.cures:
        yield f"Run over: {', '.join(scenario.cures)}"


def on_record() -> dict[str, dict[str, expectations.ExpectationEntry]]:
    """driver -> scenario -> what is on record where it does not comply, newest releases; drivers of Tortoise's only.
    Raises ExpectationError."""
    return {
        name: {scenario: entry for entry in expectations.of_all_cells(name) for scenario in entry.scenarios}
        for name, driver in sorted(drivers().items())
        if driver.orm
    }


def by_preference(
    scenarios: Collection[str], record: Mapping[str, Mapping[str, expectations.ExpectationEntry]]
) -> dict[str, str]:
    """The remedies that claim to cure one of these scenarios, with title, where they hold and what they cost over it;
    empty of one that holds nowhere. Those to try first come first."""
    found = []
    for remedy in catalogue().values():
        if cured := set(remedy.cures).intersection(scenarios):
            holds, tried = holds_with(remedy, record), sum(fits(remedy, driver) for driver in record)
            with_whom = "every driver" if len(holds) == len(record) else ", ".join(holds)
            said = f"{remedy.title} (holds with {with_whom}){keeps.price_over(remedy.id, cured)}" if holds else ""
            place = keeps.preference_over(remedy.id, cured, len(holds), tried)
            found.append((not holds, place, remedy.id, said))
    return {name: said for _, _, name, said in sorted(found)}


def holds_with(remedy: Scenario, record: Mapping[str, Mapping[str, expectations.ExpectationEntry]]) -> list[str]:
    """The drivers with which a remedy holds."""
    return [driver for driver, entries in record.items() if remedy.id not in entries and fits(remedy, driver)]


def fits(scenario: Scenario, driver: str) -> bool:
    """Whether it is run with the driver at all: not where it needs a pool and Tortoise has none."""
    return "tortoise pool" not in scenario.needs or drivers()[driver].servers != ("sqlite",)


def _wrapped(text: str, hang: int = 2) -> Iterator[str]:
    yield from textwrap.wrap(text, WIDTH, initial_indent="  ", subsequent_indent=" " * hang)

"""Whether a run of a cell met what is on record: every difference is a reason why it is not green.

Pure functions of result lines, a header and the entries of ``expectations``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from packaging.utils import canonicalize_name

from matrix.lines import Expectation, Header, ScenarioLine, word_of
from matrix.results.expectations import ExpectationEntry, TwoEntries, applies, expected
from matrix.results.text import one_line
from matrix.words import ERROR, HOLDS, INFO, NOT_APPLICABLE, NOT_RUN, RECORD, SAFE, SERVERS, complies, rank


@dataclass(frozen=True)
class Unmet:
    """One reason why a run is not green. ``kind``: ``worse`` or ``better`` than on record, ``reason`` (the one on
    record rests on what was not seen), ``error``, ``not run``, the same of a ``remedy``, or what is wrong with an
    entry; ``text`` is one whole line."""

    kind: str
    cell: str
    scenario: str | None
    text: str
    entry: ExpectationEntry | None = None

    def __str__(self) -> str:
        return f"{self.cell}: {self.text}"


def judge(
    lines: Iterable[ScenarioLine],
    entries: Sequence[ExpectationEntry],
    header: Header,
    known: Collection[str] | None = None,
) -> list[Unmet]:
    """Everything in which a run differs from what is on record; an empty list is a green run.

    ``known`` are the ids of all scenarios that exist. Without it the header's ``catalogue`` counts, and without that
    its ``planned``: right for a run of all scenarios, too narrow for a run of a selection.
    """
    lines = list(lines)
    known = set(known or header.get("catalogue") or header.get("planned", ())) | {line["scenario"] for line in lines}
    unmet = _entries_unmet(entries, header, known) + _whole_cell(lines, entries, header)
    for line in lines:
        unmet += judge_line(line, entries, header)
    ran = {line["scenario"] for line in lines}
    for name in header.get("planned", ()):
        if name not in ran:
            unmet.append(Unmet(NOT_RUN, header["cell"], name, f"{name} was planned and has no result"))
    return unmet


def _whole_cell(lines: Sequence[Any], entries: Sequence[ExpectationEntry], header: Header) -> list[Unmet]:
    """Whether a cell of other releases can be had, as it is on record; a cell without planned scenarios cannot."""
    cell = header["cell"]
    own = [entry for entry in entries if entry.cell == cell]
    could, can = not any(entry.absent for entry in own), bool(lines or header.get("planned"))
    if is_newest(header):
        return [] if can else [Unmet(NOT_RUN, cell, None, "cannot be had: the result says why")]
    if informational(header, entries) or could == can:
        return []
    if can:
        return [Unmet("better", cell, None, f"could not be had, and now can: record it anew ({own[0].where})", own[0])]
    return [Unmet("worse", cell, None, f"cannot be had any more ({own[0].where})", own[0])]


def _entries_unmet(entries: Sequence[ExpectationEntry], header: Header, known: Collection[str]) -> list[Unmet]:
    unmet: list[Unmet] = []
    cell, axes = header["cell"], header["axes"]
    if informational(header, entries):
        return unmet
    for entry in entries:
        # What people wrote is checked with the newest releases; what the program wrote, with the cell that it is about.
        if entry.cell != ("" if is_newest(header) else cell) or not header.get("planned"):
            continue
        for name in entry.scenarios:
            if name not in known:
                text = f"{entry.where}: no scenario is called {name}; correct the id or remove it"
                unmet.append(Unmet("unknown scenario", cell, name, text, entry))
        for name, _ in entry.versions:
            if not _is_known(name, axes, header.get("packages", {})):
                text = f"{entry.where}: '{name}' is neither a server nor a package of this cell; correct 'versions'"
                unmet.append(Unmet("unknown name", cell, None, text, entry))
    return unmet


def _is_known(name: str, axes: Mapping[str, Any], packages: Mapping[str, str]) -> bool:
    always = (*SERVERS, "python", "tortoise", "tortoise-orm", canonicalize_name(str(axes.get("driver", ""))))
    return canonicalize_name(name) in (*always, *map(canonicalize_name, packages))


def judge_line(line: ScenarioLine, entries: Sequence[ExpectationEntry], header: Header) -> list[Unmet]:
    """In what one scenario's line differs from what is on record for it."""
    cell, name, verdict = header["cell"], line["scenario"], line["verdict"]
    if verdict in (ERROR, NOT_RUN):
        return [Unmet(verdict, cell, name, f"{name} {verdict}: {one_line(line.get('reason') or 'no reason given')}")]
    if informational(header, entries) or _absent(entries, cell):
        return []
    return _against_expectation(line, entries, header)


def _against_expectation(line: ScenarioLine, entries: Sequence[ExpectationEntry], header: Header) -> list[Unmet]:
    cell, name = header["cell"], line["scenario"]
    try:
        entry = expected(entries, name, header["axes"], header.get("packages"), cell)
    except TwoEntries as problem:
        return [Unmet("two entries", cell, name, one_line(problem))]
    if entry is None:
        difference = _without_entry(line)
        hint = _near_misses(entries, name) if difference else ""
    else:
        difference, hint = _against(line, entry), f" ({entry.where})"
    unmet = [Unmet(kind, cell, name, f"{name} {text}{hint}", entry) for kind, text in difference]
    # A reason that rests on a property which the deciding run does not violate says something untrue of it. Cells of
    # other releases may come to the same word in another way, and so may each run of a race.
    if entry is not None and is_newest(header) and not entry.also and line["verdict"] == entry.verdict:
        violated = {violation["property"] for violation in line["violations"]}
        if missing := [name for name in entry.rests if name not in violated]:
            text = f"{name}: its reason rests on {', '.join(missing)}, which the deciding run does not violate: "
            unmet.append(Unmet("reason", cell, name, f"{text}correct the reason ({entry.where})", entry))
    return unmet


def informational(header: Header, entries: Iterable[ExpectationEntry] = ()) -> bool:
    """Whether what the cell shows is reported, and nothing is expected of it.

    Expected is something of the cells of the newest releases, and of those of other releases that are on record, when
    they are run as they were for the record: by a plan, which asks the schedules on record.
    """
    if is_newest(header):
        return False
    as_recorded = header.get("depth") == RECORD or not header.get("planned")
    return not (as_recorded and any(entry.cell == header["cell"] for entry in entries))


def is_newest(header: Header) -> bool:
    return bool(header["cell"] == f"{header['axes'].get('server')}-{header['axes'].get('driver')}")


def _absent(entries: Iterable[ExpectationEntry], cell: str) -> bool:
    return any(entry.absent and entry.cell == cell for entry in entries)


def deviations(
    lines: Iterable[ScenarioLine], entries: Iterable[ExpectationEntry], header: Header
) -> dict[str, str] | None:
    """What variants.json has of a cell of other releases: the words that are not as the entries for all cells have
    them; None for a cell that cannot be had. What is no verdict is left out."""
    if not header.get("planned"):
        return None
    shared = [entry for entry in entries if not entry.cell]
    found = {}
    for line in lines:
        if line["verdict"] not in (ERROR, NOT_RUN) and _against_expectation(line, shared, header):
            found[str(line["scenario"])] = line["verdict"] if line["verdict"] == NOT_APPLICABLE else word_of(line)
    return found


def _without_entry(line: ScenarioLine) -> list[tuple[str, str]]:
    verdict, level, remedy = line["verdict"], line["level"], line.get("remedy")
    if verdict == NOT_APPLICABLE:
        return []
    if remedy is not None:
        return [] if rank(remedy) <= rank(HOLDS) else [("remedy worse", f"{remedy}, expected to hold: {_reason(line)}")]
    if level == INFO:
        return [] if verdict == SAFE else [("worse", f"{verdict}, and no expectation is on record: {_reason(line)}")]
    return [] if complies(level, verdict) else [("worse", f"{verdict}, expected to comply: {_reason(line)}")]


def _against(line: ScenarioLine, entry: ExpectationEntry) -> list[tuple[str, str]]:
    verdict, remedy = line["verdict"], line.get("remedy")
    if verdict == NOT_APPLICABLE:
        if entry.verdict == NOT_APPLICABLE:
            return []
        return [("does not apply", f"does not apply here, expected {entry.words}: narrow the expectation")]
    found = []
    if entry.verdict and verdict not in (entry.verdict, *entry.also):
        found.append(_compared(rank(verdict) - max(rank(entry.verdict), 0), "", verdict, entry.verdict, line))
    promised = entry.remedy or (HOLDS if remedy is not None else None)
    if promised and remedy is None:
        found.append(("remedy worse", f"has no word for the remedy, expected {promised}"))
    elif promised and remedy is not None and remedy != promised:
        found.append(_compared(rank(remedy) - rank(promised), "remedy ", remedy, promised, line))
    return found


def _compared(difference: int, prefix: str, seen: str, promised: str, line: ScenarioLine) -> tuple[str, str]:
    if difference > 0:
        return f"{prefix}worse", f"{seen}, expected {promised}: {_reason(line)}"
    return f"{prefix}better", f"{seen}, expected {promised}: unexpectedly better: update the expectation"


def _near_misses(entries: Iterable[ExpectationEntry], scenario: str) -> str:
    missed = [f"{entry.number} ({entry.range})" for entry in entries if scenario in entry.scenarios and not entry.cell]
    return f" (entries that cover {scenario} elsewhere: {', '.join(missed)})" if missed else ""


def without_cell(entries: Iterable[ExpectationEntry], headers: Iterable[Header]) -> list[Unmet]:
    """The entries that match none of the cells; ask only where the cells are all that are planned. A range of Pythons
    does not count: these cells run with whichever is at hand."""
    headers = list(headers)
    unmet = []
    for entry in entries:
        anywhere = replace(entry, versions=tuple(each for each in entry.versions if each[0] != "python"))
        if not any(applies(anywhere, header["axes"], header.get("packages")) for header in headers):
            text = f"{entry.where} ({entry.range}) matches no cell: correct its versions or remove it"
            unmet.append(Unmet("no cell", entry.path.stem, None, text, entry))
    return unmet


def expectation_of(line: ScenarioLine, entries: Sequence[ExpectationEntry], header: Header) -> Expectation | None:
    """The ``expectation`` object of a scenario line: what is on record for it and whether it is met.

    None where no entry covers it and it complies or does not apply.
    """
    if informational(header, entries) or _absent(entries, header["cell"]):
        return None
    met = not judge_line(line, entries, header)
    try:
        entry = expected(entries, line["scenario"], header["axes"], header.get("packages"), header["cell"])
    except TwoEntries as problem:
        return {"verdict": None, "met": False, "reason": one_line(problem), "category": None, "link": None}
    if entry is None:
        promise = "hold" if line.get("remedy") else "comply"
        reason = f"Nothing is on record, so it is expected to {promise}."
        unmet: Expectation = {"verdict": None, "met": False, "reason": reason, "category": None, "link": None}
        return None if met else unmet
    found: Expectation = {"verdict": entry.verdict, "met": met, "reason": entry.reason}
    found |= {"category": entry.category, "link": entry.link}
    if entry.also:
        found["also"] = {word: dict(entry.seen).get(word) for word in (str(entry.verdict), *entry.also)}
    if entry.remedy:
        found["remedy"] = entry.remedy
    return found


def _reason(line: ScenarioLine) -> str:
    return one_line(line.get("reason") or "no reason given")

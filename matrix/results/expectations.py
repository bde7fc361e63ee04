"""Expectations: the verdict on record for a scenario and a range of versions, and whether a run met it.

They are data that people edit (``matrix/axes/expectations/<driver>.toml``); this module reads and compares, it knows no
driver. A scenario without an entry is expected to comply. See the README beside the data for how to write an entry.

The whole plan's cells of other releases are held to the same entries. What they show beside them is on record in
``variants.json``, which ``python -m matrix plan --measure`` writes; a cell that is not in it is reported, not judged.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from matrix.results.text import one_line
from matrix.words import (
    CATEGORIES, DRIVER_NAME, ERROR, HOLDS, INFO, NOT_APPLICABLE, NOT_RUN, REMEDIES, SAFE, SCENARIO_ID, SERVERS,
    VERDICTS, complies, rank,
)

if sys.version_info >= (3, 11):
    import tomllib
else:  # pragma: no cover - pytest brings tomli where Python has no tomllib
    import tomli as tomllib

FOLDER = Path(__file__).parent.parent / "axes" / "expectations"
VARIANTS = "variants.json"  # {cell: {scenario: verdict or remedy's word}}; null for a cell that cannot be had
ON_RECORD = "So it was when the whole plan was recorded."
KEYS = ("scenarios", "verdict", "remedy", "server", "versions", "reason", "category", "link", "also")
EXPECTABLE = (*VERDICTS, NOT_APPLICABLE)


class ExpectationError(Exception):
    """An expectation file cannot be used; the message is one line with the file and the entry's number."""


class BadExpectationFile(ExpectationError):
    """The file cannot be read, is not TOML, or has something else than ``[[expect]]`` entries in it."""


class BadEntry(ExpectationError):
    """An entry lacks something or has a word that does not exist."""


class TwoEntries(ExpectationError):
    """Two entries match the same scenario in the same cell, so nothing is on record."""


@dataclass(frozen=True)
class Entry:
    """One ``[[expect]]`` of a file; ``number`` counts from 1 in the order of the file."""

    path: Path
    number: int
    scenarios: tuple[str, ...]
    verdict: str | None
    remedy: str | None
    server: str | None
    versions: tuple[tuple[str, SpecifierSet], ...]
    reason: str
    category: str | None
    link: str | None = None
    also: tuple[str, ...] = ()  # verdicts seen as well, where a race inside a C driver decides
    cell: str = ""  # of variants.json: the one cell that it is about

    @property
    def absent(self) -> bool:
        """Whether it says that the cell cannot be had at all."""
        return bool(self.cell) and self.verdict == NOT_APPLICABLE and not self.scenarios

    @property
    def where(self) -> str:
        return f"{self.path.name}, {self.cell}" if self.cell else f"{self.path.name}, entry {self.number}"

    @property
    def words(self) -> str:
        return " / ".join(word for word in (self.verdict, *self.also, self.remedy) if word)

    @property
    def range(self) -> str:
        """What the entry is limited to, as people say it: ``mysql, aiomysql >=0.3``."""
        parts = [self.server] if self.server else []
        return ", ".join(parts + [f"{name} {specifier}" for name, specifier in self.versions])


@dataclass(frozen=True)
class Unmet:
    """One reason why a run is not green. ``kind`` is a key of ``KINDS``; ``text`` is one whole line."""

    kind: str
    cell: str
    scenario: str | None
    text: str
    entry: Entry | None = None

    def __str__(self) -> str:
        return f"{self.cell}: {self.text}"


KINDS = {
    "worse": "a verdict is worse than expected",
    "better": "a verdict is better than expected: update the expectation",
    "error": "the harness or the server failed",
    "not run": "a planned scenario was not run",
    "remedy worse": "a remedy does less than expected",
    "remedy better": "a remedy does more than expected: update the expectation",
    "does not apply": "an expectation covers a scenario that does not apply in the cell",
    "unknown scenario": "an expectation names a scenario that does not exist",
    "unknown name": "an expectation names a package or server that does not exist",
    "two entries": "two expectations cover the same scenario in the same cell",
    "no cell": "an expectation matches no cell at all",
}


# Reading


def load(path: str | os.PathLike[str]) -> tuple[Entry, ...]:
    """The entries of one file, in its order. A file that does not exist is one without entries.

    Raises BadExpectationFile or BadEntry, each with file and entry number in one line.
    """
    path = Path(path)
    try:
        content = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return ()
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as problem:
        raise BadExpectationFile(f"{path}: not readable as TOML: {one_line(problem)}") from problem
    entries = content.pop("expect", [])
    if content:
        raise BadExpectationFile(f"{path}: unknown '{next(iter(content))}'; the file holds [[expect]] entries only")
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise BadExpectationFile(f"{path}: 'expect' has to be written as [[expect]] entries")
    return tuple(_entry(path, number, entry) for number, entry in enumerate(entries, start=1))


def load_driver(driver: str, folder: str | os.PathLike[str] = FOLDER) -> tuple[Entry, ...]:
    """The entries on record for a driver, with those of single cells of other releases."""
    if not DRIVER_NAME.fullmatch(driver):
        raise BadExpectationFile(f"{driver!r} is not a driver's name, so it has no expectation file")
    return load(Path(folder) / f"{driver}.toml") + load_variants(Path(folder) / VARIANTS, driver)


def read_variants(path: Path) -> dict[str, dict[str, str] | None]:
    """What is on record of each cell of other releases beside the entries. Raises BadExpectationFile."""
    try:
        found = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as problem:
        raise BadExpectationFile(f"{path}: not readable as JSON: {one_line(problem)}") from problem
    for cell, words in found.items() if isinstance(found, dict) else [("it", found)]:
        if words is None:
            continue
        if not isinstance(words, dict) or not all(word in (*EXPECTABLE, *REMEDIES) for word in words.values()):
            raise BadExpectationFile(f"{path}: {cell} is not a table of scenarios and their words")
    return dict(found)


def load_variants(path: Path, driver: str) -> tuple[Entry, ...]:
    """The record of a driver's cells of other releases as entries: one per cell and word, and one that names none."""
    entries: list[Entry] = []
    for cell, words in read_variants(path).items():
        if not re.match(rf"[a-z]+-{driver}(?![a-z_])", cell):
            continue
        known: dict[str, list[str]] = {NOT_APPLICABLE if words is None else "": []}
        for scenario, word in (words or {}).items():
            known.setdefault(word, []).append(scenario)
        for word, scenarios in known.items():
            remedy = word if word in REMEDIES else None
            entries.append(
                Entry(
                    path=path,
                    number=len(entries) + 1,
                    scenarios=tuple(scenarios),
                    verdict=None if remedy else word or None,
                    remedy=remedy,
                    server=None,
                    versions=(),
                    reason=ON_RECORD,
                    category=None,
                    cell=cell,
                )
            )
    return tuple(entries)


def _entry(path: Path, number: int, raw: dict[str, Any]) -> Entry:
    def bad(text: str) -> BadEntry:
        return BadEntry(f"{path}: entry {number}: {text}")

    for key in raw:
        if key not in KEYS:
            raise bad(f"unknown key '{key}' (known: {', '.join(KEYS)})")
    for key in ("verdict", "remedy", "server", "reason", "category", "link"):
        if key in raw and not isinstance(raw[key], str):
            raise bad(f"'{key}' has to be a text")
    if "verdict" not in raw and "remedy" not in raw:
        raise bad("neither 'verdict' nor 'remedy' is given")
    if not raw.get("reason", "").strip():
        raise bad("'reason' is missing: one sentence that says why")
    for key, words in (("verdict", EXPECTABLE), ("remedy", REMEDIES), ("server", SERVERS), ("category", CATEGORIES)):
        if key in raw and raw[key] not in words:
            raise bad(f"unknown {key} '{raw[key]}' (known: {', '.join(words)})")
    if "category" not in raw:
        raise bad(f"'category' is missing ({', '.join(CATEGORIES)})")
    also = raw.get("also", [])
    if not isinstance(also, list) or any(word not in EXPECTABLE for word in also):
        raise bad(f"'also' has to be a list of verdicts (known: {', '.join(EXPECTABLE)})")
    if also and (raw["category"] != "driver" or "verdict" not in raw):
        raise bad("'also' goes with a verdict and category driver: it is for races inside a C driver only")
    if not raw.get("link", "https://").startswith(("https://", "http://")):
        raise bad("'link' has to begin with https://")
    try:
        scenarios, versions = _scenarios(raw.get("scenarios")), _versions(raw.get("versions", {}))
    except ValueError as problem:
        raise bad(str(problem)) from problem
    return Entry(
        path=path,
        number=number,
        scenarios=scenarios,
        verdict=raw.get("verdict"),
        remedy=raw.get("remedy"),
        server=raw.get("server"),
        versions=versions,
        reason=" ".join(raw["reason"].split()),
        category=raw["category"],
        link=raw.get("link"),
        also=tuple(also),
    )


def _scenarios(raw: Any) -> tuple[str, ...]:
    if not isinstance(raw, list) or not raw:
        raise ValueError("'scenarios' is missing: a list of scenario ids")
    for name in raw:
        if not isinstance(name, str) or not SCENARIO_ID.fullmatch(name):
            raise ValueError(f'{name!r} is not a scenario id such as "NST-4"')
    if len(set(raw)) < len(raw):
        raise ValueError("'scenarios' names one id twice")
    return tuple(raw)


def _versions(raw: Any) -> tuple[tuple[str, SpecifierSet], ...]:
    if not isinstance(raw, dict):
        raise ValueError("'versions' has to be a table such as { tortoise = \">=1.0\" }")
    found = []
    for name, text in raw.items():
        try:
            found.append((name, SpecifierSet(text)))
        except (InvalidSpecifier, AttributeError, TypeError):
            raise ValueError(f"the version range {text!r} of '{name}' is not one such as \">=1.0,<2\"") from None
    return tuple(found)


# Matching


def expected(
    entries: Iterable[Entry],
    scenario: str,
    axes: Mapping[str, Any],
    packages: Mapping[str, str] | None = None,
    cell: str = "",
) -> Entry | None:
    """The entry on record for the scenario in the cell with these axes, or None: it is expected to comply.

    An entry of the very ``cell`` comes before all others. ``packages`` are the installed ones of the header, for ranges
    of packages other than driver and Tortoise. Raises TwoEntries.
    """
    matching = [entry for entry in entries if scenario in entry.scenarios and entry.cell in ("", cell)]
    own = [entry for entry in matching if entry.cell]
    matching = own or [entry for entry in matching if applies(entry, axes, packages)]
    if len(matching) > 1:
        numbers = " and ".join(str(entry.number) for entry in matching)
        raise TwoEntries(f"{matching[0].path}: entries {numbers} both cover {scenario} here; narrow one of them")
    return matching[0] if matching else None


def applies(entry: Entry, axes: Mapping[str, Any], packages: Mapping[str, str] | None = None) -> bool:
    """Whether the server and every version range of the entry match the cell."""
    if entry.server and entry.server != axes.get("server"):
        return False
    return all(_contains(specifier, version_of(name, axes, packages or {})) for name, specifier in entry.versions)


def version_of(name: str, axes: Mapping[str, Any], packages: Mapping[str, str]) -> str | None:
    """The version that a name in ``versions`` stands for in a cell: a server kind, python, tortoise or a package."""
    if name in SERVERS:
        return axes.get("server_version") if axes.get("server") == name else None
    wanted = canonicalize_name(name)
    known = {"python": axes.get("python"), "tortoise": axes.get("tortoise"), "tortoise-orm": axes.get("tortoise")}
    known[canonicalize_name(str(axes.get("driver", "")))] = axes.get("driver_version")
    if known.get(wanted):
        return known[wanted]
    return {canonicalize_name(package): version for package, version in packages.items()}.get(wanted)


def _contains(specifier: SpecifierSet, version: str | None) -> bool:
    parsed = lenient_version(version)
    return parsed is not None and specifier.contains(parsed, prereleases=True)


def lenient_version(text: str | None) -> Version | None:
    """The version, also out of a server's string such as ``10.11.19-MariaDB-log``; None where there is none."""
    if not text:
        return None
    try:
        return Version(text)
    except InvalidVersion:
        number = re.match(r"\d+(\.\d+)*", text)
        return Version(number.group()) if number else None


# Judging


def judge(
    lines: Iterable[Mapping[str, Any]],
    entries: Sequence[Entry],
    header: Mapping[str, Any],
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


def _whole_cell(lines: Sequence[Any], entries: Sequence[Entry], header: Mapping[str, Any]) -> list[Unmet]:
    """Whether a cell of other releases can be had, as it is on record; a cell without planned scenarios cannot."""
    cell = header["cell"]
    own = [entry for entry in entries if entry.cell == cell]
    could, can = not any(entry.absent for entry in own), bool(lines or header.get("planned"))
    if _is_newest(header):
        return [] if can else [Unmet(NOT_RUN, cell, None, "cannot be had: the result says why")]
    if informational(header, entries) or could == can:
        return []
    if can:
        return [Unmet("better", cell, None, f"could not be had, and now can: record it anew ({own[0].where})", own[0])]
    return [Unmet("worse", cell, None, f"cannot be had any more ({own[0].where})", own[0])]


def _entries_unmet(entries: Sequence[Entry], header: Mapping[str, Any], known: Collection[str]) -> list[Unmet]:
    unmet: list[Unmet] = []
    cell, axes = header["cell"], header["axes"]
    if informational(header, entries):
        return unmet
    for entry in entries:
        # What people wrote is checked with the newest releases; what the program wrote, with the cell that it is about.
        if entry.cell != ("" if _is_newest(header) else cell) or not header.get("planned"):
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


def judge_line(line: Mapping[str, Any], entries: Sequence[Entry], header: Mapping[str, Any]) -> list[Unmet]:
    """In what one scenario's line differs from what is on record for it."""
    cell, name, verdict = header["cell"], line["scenario"], line["verdict"]
    if verdict in (ERROR, NOT_RUN):
        return [Unmet(verdict, cell, name, f"{name} {verdict}: {one_line(line.get('reason') or 'no reason given')}")]
    if informational(header, entries) or _absent(entries, cell):
        return []
    return _against_record(line, entries, header)


def _against_record(line: Mapping[str, Any], entries: Sequence[Entry], header: Mapping[str, Any]) -> list[Unmet]:
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
    return [Unmet(kind, cell, name, f"{name} {text}{hint}", entry) for kind, text in difference]


def informational(header: Mapping[str, Any], entries: Iterable[Entry] = ()) -> bool:
    """Whether what the cell shows is reported, and nothing is expected of it.

    Expected is something of the cells of the newest releases, and of those of other releases that are on record, when
    they are run as they were for the record: by a plan, which is brief.
    """
    if _is_newest(header):
        return False
    as_recorded = header.get("effort") == "brief" or not header.get("planned")
    return not (as_recorded and any(entry.cell == header["cell"] for entry in entries))


def _is_newest(header: Mapping[str, Any]) -> bool:
    return bool(header["cell"] == f"{header['axes'].get('server')}-{header['axes'].get('driver')}")


def _absent(entries: Iterable[Entry], cell: str) -> bool:
    return any(entry.absent and entry.cell == cell for entry in entries)


def deviations(
    lines: Iterable[Mapping[str, Any]], entries: Iterable[Entry], header: Mapping[str, Any]
) -> dict[str, str] | None:
    """What variants.json has of a cell of other releases: the words that are not as the entries for all cells have
    them; None for a cell that cannot be had. What is no verdict is left out."""
    if not header.get("planned"):
        return None
    shared = [entry for entry in entries if not entry.cell]
    found = {}
    for line in lines:
        if line["verdict"] not in (ERROR, NOT_RUN) and _against_record(line, shared, header):
            found[str(line["scenario"])] = str(line["verdict"] if line["verdict"] == NOT_APPLICABLE else _word(line))
    return found


def _word(line: Mapping[str, Any]) -> str:
    """What a scenario or a remedy is known by."""
    return str(line.get("remedy") or line["verdict"])


def _without_entry(line: Mapping[str, Any]) -> list[tuple[str, str]]:
    verdict, level, remedy = line["verdict"], line["level"], line.get("remedy")
    if verdict == NOT_APPLICABLE:
        return []
    if remedy is not None:
        return [] if remedy == HOLDS else [("remedy worse", f"{remedy}, expected to hold: {_reason(line)}")]
    if level == INFO:
        return [] if verdict == SAFE else [("worse", f"{verdict}, and no expectation is on record: {_reason(line)}")]
    return [] if complies(level, verdict) else [("worse", f"{verdict}, expected to comply: {_reason(line)}")]


def _against(line: Mapping[str, Any], entry: Entry) -> list[tuple[str, str]]:
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


def _compared(difference: int, prefix: str, seen: str, promised: str, line: Mapping[str, Any]) -> tuple[str, str]:
    if difference > 0:
        return f"{prefix}worse", f"{seen}, expected {promised}: {_reason(line)}"
    return f"{prefix}better", f"{seen}, expected {promised}: unexpectedly better: update the expectation"


def _near_misses(entries: Iterable[Entry], scenario: str) -> str:
    missed = [f"{entry.number} ({entry.range})" for entry in entries if scenario in entry.scenarios]
    return f" (entries that cover {scenario} elsewhere: {', '.join(missed)})" if missed else ""


def without_cell(entries: Iterable[Entry], headers: Iterable[Mapping[str, Any]]) -> list[Unmet]:
    """The entries that match none of the cells; ask only where the cells are all that are planned."""
    headers = list(headers)
    unmet = []
    for entry in entries:
        if not any(applies(entry, header["axes"], header.get("packages")) for header in headers):
            text = f"{entry.where} ({entry.range}) matches no cell: correct its versions or remove it"
            unmet.append(Unmet("no cell", entry.path.stem, None, text, entry))
    return unmet


def record(line: Mapping[str, Any], entries: Sequence[Entry], header: Mapping[str, Any]) -> dict[str, Any] | None:
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
        unmet = {"verdict": None, "met": False, "reason": reason, "category": None, "link": None}
        return None if met else unmet
    found: dict[str, Any] = {"verdict": entry.verdict, "met": met, "reason": entry.reason}
    found |= {"category": entry.category, "link": entry.link}
    if entry.remedy:
        found["remedy"] = entry.remedy
    return found


def _reason(line: Mapping[str, Any]) -> str:
    return one_line(line.get("reason") or "no reason given")

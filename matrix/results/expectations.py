"""Expectations: the verdict on record for a scenario and a range of versions. ``judging`` says whether a run met it.

They are data that people edit (``matrix/axes/expectations/<driver>.toml``); this module reads and matches, it knows no
driver. A scenario without an entry is expected to comply. See the README beside the data for how to write an entry.

The whole plan's cells of other releases are held to the same entries. What they show beside them is on record in
``variants.json``, which ``python -m matrix plan --measure`` writes; a cell that is not in it is reported, not judged.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from matrix.files import read_toml
from matrix.results.text import one_line
from matrix.words import CATEGORIES, DRIVER_NAME, NOT_APPLICABLE, PROPERTIES, REMEDIES, SCENARIO_ID, SERVERS, VERDICTS

FOLDER = Path(__file__).parent.parent / "axes" / "expectations"
VARIANTS = "variants.json"  # {cell: {scenario: verdict or remedy's word}}; null for a cell that cannot be had
ON_RECORD = "So it was when the whole plan was recorded."
KEYS = ("scenarios", "verdict", "remedy", "server", "versions", "reason", "category", "link", "also", "seen", "rests")
EXPECTABLE = (*VERDICTS, NOT_APPLICABLE)


class ExpectationError(Exception):
    """An expectation file cannot be used: it cannot be read, is not TOML, an entry lacks something, or has a word that
    does not exist. The message is one line with the file and the entry's number."""


class TwoEntries(ExpectationError):
    """Two entries match the same scenario in the same cell, so nothing is on record."""


@dataclass(frozen=True)
class ExpectationEntry:
    """One ``[[expect]]`` of a file; ``number`` counts from 1 in the order of the file."""

    path: Path
    number: int
    scenarios: tuple[str, ...]
    reason: str
    verdict: str | None = None
    remedy: str | None = None
    server: str | None = None
    versions: tuple[tuple[str, SpecifierSet], ...] = ()
    category: str | None = None
    link: str | None = None
    also: tuple[str, ...] = ()  # verdicts seen as well, where a race inside a C driver decides
    seen: tuple[tuple[str, int], ...] = ()  # in how many runs each of them was seen, where somebody counted
    rests: tuple[str, ...] = ()  # the properties that its reason speaks of: the deciding run violates them
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


# Reading


def load(path: str | os.PathLike[str]) -> tuple[ExpectationEntry, ...]:
    """The entries of one file, in its order. A file that does not exist is one without entries.

    Raises ExpectationError with file and entry number in one line.
    """
    path = Path(path)
    try:
        content = read_toml(path)
    except FileNotFoundError:
        return ()
    except (OSError, ValueError) as problem:
        raise ExpectationError(f"{path}: not readable as TOML: {one_line(problem)}") from problem
    entries = content.pop("expect", [])
    if content:
        raise ExpectationError(f"{path}: unknown '{next(iter(content))}'; the file holds [[expect]] entries only")
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ExpectationError(f"{path}: 'expect' has to be written as [[expect]] entries")
    return tuple(_entry(path, number, entry) for number, entry in enumerate(entries, start=1))


def load_driver(driver: str, folder: str | os.PathLike[str] = FOLDER) -> tuple[ExpectationEntry, ...]:
    """The entries on record for a driver, with those of single cells of other releases."""
    if not DRIVER_NAME.fullmatch(driver):
        raise ExpectationError(f"{driver!r} is not a driver's name, so it has no expectation file")
    return load(Path(folder) / f"{driver}.toml") + load_variants(Path(folder) / VARIANTS, driver)


def of_all_cells(driver: str) -> list[ExpectationEntry]:
    """Those of them that people wrote, for all of a driver's cells."""
    return [entry for entry in load_driver(driver) if not entry.cell]


def read_variants(path: Path) -> dict[str, dict[str, str] | None]:
    """What is on record of each cell of other releases beside the entries. Raises ExpectationError."""
    try:
        found = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as problem:
        raise ExpectationError(f"{path}: not readable as JSON: {one_line(problem)}") from problem
    for cell, words in found.items() if isinstance(found, dict) else [("it", found)]:
        if words is None:
            continue
        if not isinstance(words, dict) or not all(word in (*EXPECTABLE, *REMEDIES) for word in words.values()):
            raise ExpectationError(f"{path}: {cell} is not a table of scenarios and their words")
    return dict(found)


def load_variants(path: Path, driver: str) -> tuple[ExpectationEntry, ...]:
    """The record of a driver's cells of other releases as entries: one per cell and word, and one that names none."""
    entries: list[ExpectationEntry] = []
    for cell, words in read_variants(path).items():
        if not re.match(rf"[a-z]+-{driver}(?![a-z_])", cell):
            continue
        known: dict[str, list[str]] = {NOT_APPLICABLE if words is None else "": []}
        for scenario, word in (words or {}).items():
            known.setdefault(word, []).append(scenario)
        for word, scenarios in known.items():
            said: dict[str, Any] = {"remedy" if word in REMEDIES else "verdict": word or None}
            entries.append(ExpectationEntry(path, len(entries) + 1, tuple(scenarios), ON_RECORD, cell=cell, **said))
    return tuple(entries)


def _entry(path: Path, number: int, raw: dict[str, Any]) -> ExpectationEntry:
    def bad(text: str) -> ExpectationError:
        return ExpectationError(f"{path}: entry {number}: {text}")

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
    also, seen = raw.get("also", []), raw.get("seen", {})
    if not isinstance(also, list) or any(word not in EXPECTABLE for word in also):
        raise bad(f"'also' has to be a list of verdicts (known: {', '.join(EXPECTABLE)})")
    if not isinstance(seen, dict) or (seen and set(seen) != {raw.get("verdict"), *also}):
        raise bad("'seen' has to say of the verdict, and of each of 'also', in how many runs it was seen")
    rests = raw.get("rests", [])
    if not isinstance(rests, list) or any(name not in PROPERTIES for name in rests):
        raise bad(f"'rests' has to be a list of properties (known: {', '.join(PROPERTIES)})")
    if also and (raw["category"] != "driver" or "verdict" not in raw):
        raise bad("'also' goes with a verdict and category driver: it is for races inside a C driver only")
    if not raw.get("link", "https://").startswith(("https://", "http://")):
        raise bad("'link' has to begin with https://")
    try:
        scenarios, versions = _scenarios(raw.get("scenarios")), _versions(raw.get("versions", {}))
    except ValueError as problem:
        raise bad(str(problem)) from problem
    given: dict[str, Any] = {key: raw.get(key) for key in ("verdict", "remedy", "server", "category", "link")}
    given |= {"also": tuple(also), "seen": tuple(seen.items()), "rests": tuple(rests), "versions": versions}
    return ExpectationEntry(path, number, scenarios, " ".join(raw["reason"].split()), **given)


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
    entries: Iterable[ExpectationEntry],
    scenario: str,
    axes: Mapping[str, Any],
    packages: Mapping[str, str] | None = None,
    cell: str = "",
) -> ExpectationEntry | None:
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


def applies(entry: ExpectationEntry, axes: Mapping[str, Any], packages: Mapping[str, str] | None = None) -> bool:
    """Whether the server and every version range of the entry match the cell."""
    if entry.server and entry.server != axes.get("server"):
        return False
    found = [(specifier, lenient_version(version_of(name, axes, packages or {}))) for name, specifier in entry.versions]
    return all(version is not None and specifier.contains(version, prereleases=True) for specifier, version in found)


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


def lenient_version(text: str | None) -> Version | None:
    """The version, also out of a server's string such as ``10.11.19-MariaDB-log``; None where there is none."""
    if not text:
        return None
    try:
        return Version(text)
    except InvalidVersion:
        number = re.match(r"\d+(\.\d+)*", text)
        return Version(number.group()) if number else None

"""What programs around Tortoise show, for the page 'Is my code safe?': results/web.json, which has requests of FastAPI
that hold a transaction, and programs such as processes that fork."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from matrix.files import read_toml
from matrix.report.patterns import functions
from matrix.report.view import natural
from matrix.results.keeps import FOLDER
from matrix.words import SAFE, worst

ALL = "all drivers"
ORM = "tortoise-orm"


class Shown(NamedTuple):
    """What some drivers show in a place."""

    word: str
    drivers: str
    sentence: str


Places = tuple[tuple[Shown, ...], ...]


class RequestRow(NamedTuple):
    """A request: a place for each release, newest first, with the drivers that show the same together."""

    name: str
    title: str
    code: str
    instead: bool
    places: Places


class ProgramRow(NamedTuple):
    """A program: for each place what drivers show; ``packages``: what it stood on, with versions."""

    title: str
    packages: str
    places: Places
    safe: bool


@dataclass(frozen=True)
class Web:
    """The requests; ``releases``: versions of FastAPI and what it stood on, newest first."""

    releases: tuple[str, ...]
    lines: tuple[RequestRow, ...]

    @property
    def fact(self) -> str:
        """One sentence for who reads of the suite."""
        wrong = sum(not is_safe(line.places) for line in self.lines)
        return f"{len(self.lines)} requests of FastAPI {' and '.join(self.releases)}, {wrong} not safe"


@dataclass(frozen=True)
class Kind:
    """Programs of a kind; ``places``: the titles of those who write in them."""

    key: str
    title: str
    about: str
    again: str
    places: tuple[str, ...]
    lines: tuple[ProgramRow, ...]

    @property
    def fact(self) -> str:
        """One sentence for who reads of the suite."""
        wrong = sum(not line.safe for line in self.lines)
        return f"{self.title}: {len(self.lines)} programs, {wrong} not safe"


def is_safe(places: Places) -> bool:
    return all(shown.word == SAFE for place in places for shown in place)


def requests(document: Mapping[str, Any] | None, folder: Path = FOLDER) -> Web | None:
    """What a document shows of requests; None without one that has some."""
    if not document or not document["runs"]:
        return None
    code = functions(folder / "web.py")
    runs: dict[str, list[Mapping[str, Any]]] = {}
    for run in document["runs"]:
        runs.setdefault(run["fastapi"], []).append(run)
    releases = sorted(runs, key=natural, reverse=True)
    lines = []
    for name, each in read_toml(folder / "web.toml").items():
        dependency = [code["transaction"]] if "Depends(transaction)" in code[name] else []
        places = tuple(tuple(_request(name, runs[release])) for release in releases)
        text = "\n\n\n".join([*dependency, code[name]])
        lines.append(RequestRow(name, each["title"], text, each.get("instead", False), places))
    return Web(tuple(releases), tuple(lines))


def _request(name: str, runs: Sequence[Mapping[str, Any]]) -> Iterator[Shown]:
    found = {run["driver"]: each for run in runs for each in run["requests"] if each["name"] == name}
    said = {driver: "".join(f"; {note}" for note in each["notes"]) for driver, each in found.items()}
    words = {name: (each["verdict"], f"{each['reason'].rstrip('.')}{said[name]}.") for name, each in found.items()}
    return together(words, len(words))


def programs(document: Mapping[str, Any] | None, folder: Path = FOLDER) -> list[Kind]:
    """What a document shows of programs, by kind; nothing of kinds that were not run."""
    found = (document or {}).get("programs") or []
    kinds = []
    for key, kind in read_toml(folder / "programs.toml").items():
        if runs := [run for run in found if run["kind"] == key]:
            places, lines = tuple(kind["places"].values()), tuple(_programs(kind, runs))
            kinds.append(Kind(key, kind["title"], kind["about"], kind["again"], places, lines))
    return kinds


def _programs(kind: Mapping[str, Any], runs: list[Mapping[str, Any]]) -> Iterator[ProgramRow]:
    for name, title in kind["programs"].items():
        mine = [run for run in runs if run["name"] == name]
        if mine:
            packages = {f"{key} {number}" for run in mine for key, number in run["packages"].items() if key != ORM}
            places = tuple(_program(mine, place) for place in kind["places"])
            yield ProgramRow(title, ", ".join(sorted(packages)), places, is_safe(places))


def _program(runs: list[Mapping[str, Any]], place: str) -> tuple[Shown, ...]:
    seen = {run["driver"]: each for run in runs for each in run["seen"] if each["place"] == place}
    return tuple(together({driver: (each["verdict"], each["reason"]) for driver, each in seen.items()}, len(runs)))


def together(found: Mapping[str, tuple[str, str]], count: int) -> Iterator[Shown]:
    """Driver -> word and sentence. The worst first; drivers with the same word together, with the sentence of one of
    them, and without their names where they are as many as ``count``."""
    by_word: dict[str, list[str]] = {}
    for driver, (word, _) in found.items():
        by_word.setdefault(word, []).append(driver)
    while by_word:
        word = worst(by_word)
        drivers = by_word.pop(word)
        yield Shown(word, ALL if len(drivers) == count else ", ".join(drivers), found[drivers[0]][1])

"""What requests of FastAPI show that hold a transaction: results/web.json, for the page 'Is my code safe?'."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matrix.files import read_toml
from matrix.report.patterns import functions
from matrix.report.view import natural
from matrix.results.keeps import FOLDER
from matrix.words import SAFE, worst

ALL = "all drivers"


@dataclass(frozen=True)
class Shown:
    """What some drivers show of a request with one release of FastAPI."""

    word: str
    drivers: str
    sentence: str


@dataclass(frozen=True)
class RequestRow:
    """A request: a place for each release, newest first, with the drivers that show the same together."""

    name: str
    title: str
    code: str
    instead: bool
    places: tuple[tuple[Shown, ...], ...]

    @property
    def safe(self) -> bool:
        return all(shown.word == SAFE for place in self.places for shown in place)


@dataclass(frozen=True)
class Web:
    """All of it; ``releases``: versions of FastAPI and what it stood on, newest first."""

    releases: tuple[str, ...]
    lines: tuple[RequestRow, ...]

    @property
    def fact(self) -> str:
        """One sentence for who reads of the suite."""
        wrong = [line for line in self.lines if not line.safe]
        return f"{len(self.lines)} requests of FastAPI {' and '.join(self.releases)}, {len(wrong)} not safe"


def build(document: Mapping[str, Any] | None, folder: Path = FOLDER) -> Web | None:
    """What a document shows; None without one that has requests."""
    if not document or not document["runs"]:
        return None
    titles = read_toml(folder / "web.toml")
    code = functions(folder / "web.py")
    runs: dict[str, list[Mapping[str, Any]]] = {}
    for run in document["runs"]:
        runs.setdefault(run["fastapi"], []).append(run)
    releases = sorted(runs, key=natural, reverse=True)
    return Web(
        tuple(releases),
        tuple(
            RequestRow(
                name,
                each["title"],
                "\n\n\n".join(([code["transaction"]] if "Depends(transaction)" in code[name] else []) + [code[name]]),
                each.get("instead", False),
                tuple(tuple(_shown(name, runs[release])) for release in releases),
            )
            for name, each in titles.items()
        ),
    )


def _shown(name: str, runs: Sequence[Mapping[str, Any]]) -> Iterator[Shown]:
    found = {run["driver"]: each for run in runs for each in run["requests"] if each["name"] == name}
    said = {driver: "".join(f"; {note}" for note in each["notes"]) for driver, each in found.items()}
    words = {name: (each["verdict"], f"{each['reason'].rstrip('.')}{said[name]}.") for name, each in found.items()}
    return together(words, len(words))


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

"""What programs around Tortoise show, such as processes that fork: a part of results/web.json, for the page 'Is my code
safe?'."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matrix.files import read_toml
from matrix.report.web import Shown, together
from matrix.results.keeps import FOLDER
from matrix.words import SAFE

ORM = "tortoise-orm"


@dataclass(frozen=True)
class ProgramRow:
    """A program: for each place what drivers show; ``packages``: what it stood on, with versions."""

    title: str
    packages: str
    places: tuple[tuple[Shown, ...], ...]

    @property
    def safe(self) -> bool:
        return all(shown.word == SAFE for place in self.places for shown in place)


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


def build(document: Mapping[str, Any] | None, folder: Path = FOLDER) -> list[Kind]:
    """What a document shows, by kind; nothing of kinds that were not run."""
    found = (document or {}).get("programs") or []
    described = read_toml(folder / "programs.toml")
    return [
        Kind(
            key, kind["title"], kind["about"], kind["again"], tuple(kind["places"].values()), tuple(_lines(kind, runs))
        )
        for key, kind in described.items()
        if (runs := [run for run in found if run["kind"] == key])
    ]


def _lines(kind: Mapping[str, Any], runs: list[Mapping[str, Any]]) -> Iterator[ProgramRow]:
    for name, title in kind["programs"].items():
        mine = [run for run in runs if run["name"] == name]
        if mine:
            packages = {f"{key} {number}" for run in mine for key, number in run["packages"].items() if key != ORM}
            yield ProgramRow(title, ", ".join(sorted(packages)), tuple(_place(mine, place) for place in kind["places"]))


def _place(runs: list[Mapping[str, Any]], place: str) -> tuple[Shown, ...]:
    seen = {run["driver"]: each for run in runs for each in run["seen"] if each["place"] == place}
    return tuple(together({driver: (each["verdict"], each["reason"]) for driver, each in seen.items()}, len(runs)))

"""Recorded lines of real runs: headers, steps and histories; frames and exceptions are cut, nobody needs them here."""

from __future__ import annotations

import copy
import json
import sys
from functools import cache
from pathlib import Path
from typing import Any

from matrix.results.reproducers import line_of_cure


@cache
def _all() -> dict[str, Any]:
    return json.loads(Path(__file__).with_name("recorded.json").read_text(encoding="utf-8"))


def names() -> list[str]:
    """Every recorded line as ``<cell> <scenario>``."""
    return list(_all()["lines"])


def line(name: str) -> dict[str, Any]:
    return copy.deepcopy(_all()["lines"][name])


def header(name: str) -> dict[str, Any]:
    return copy.deepcopy(_all()["headers"][name.split()[0]])


def make(folder: Path) -> None:
    """Record the same lines anew from the results in a folder, a file per cell: ``python -m
    tests.unit.reproduce.recorded FOLDER``."""
    made: dict[str, Any] = {"headers": {}, "lines": {}}
    for name in names():
        cell, scenario = name.split()
        lines = [json.loads(text) for text in (folder / f"{cell}.jsonl").read_text(encoding="utf-8").splitlines()]
        made["headers"][cell] = {key: lines[0][key] for key in ("cell", "axes", "packages", "started")}
        cures = [line_of_cure(each, cured) for each in lines for cured in each.get("cures") or ()]
        found = next(each for each in [*lines, *cures] if each.get("scenario") == scenario)
        found["evidence"] |= {"frames": [], "exceptions": []}
        made["lines"][name] = found
    text = json.dumps(made, ensure_ascii=False, indent=0)
    Path(__file__).with_name("recorded.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    make(Path(sys.argv[1]))

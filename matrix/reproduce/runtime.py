"""What a script stands on: the packages that it needs, and the parts of its runtime that it has."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matrix.harness.cell_name import parse
from matrix.reproduce import NotWritten
from matrix.runs import sources

PARTS = Path(__file__).parent / "parts"
# What the suite and its witnesses bring into an environment, and no reproducer needs.
OURS = {"pytest", "pytest-asyncio", "iniconfig", "pluggy", "pygments", "packaging", "tomli", "exceptiongroup"}
OURS |= {"mysql-connector-python", "pg8000", "scramp", "asn1crypto", "python-dateutil", "six", "apsw"}
OURS |= {"pip", "setuptools", "wheel", "hypothesis", "sortedcontainers", "attrs"}
ORM_ONLY = {"tortoise-orm", "pypika-tortoise", "iso8601", "anyio", "idna", "sniffio", "aiosqlite"}


def pins(header: Mapping[str, Any], orm: bool) -> list[str]:
    """The exact packages that a script needs, as the cell had them: of the caller's own sources where they are. Raises
    NotWritten where these are not what they were."""
    driver = str(header["axes"]["driver"])
    left_out = OURS if orm else OURS | (ORM_ONLY - {driver})
    packages = {str(name): str(version) for name, version in header["packages"].items()}
    odd = [name for name, version in packages.items() if not re.fullmatch(r"[A-Za-z0-9._+!-]+", name + version)]
    if odd:
        raise NotWritten(f"{odd[0]!r} is no package with a version")
    own: dict[str, sources.Source] = {}
    try:
        own = sources.of_cell(parse(str(header["cell"])))
    except sources.SourceError as problem:
        raise NotWritten(str(problem)) from None
    found = {name: f"{name}=={version}" for name, version in packages.items()}
    found |= {name: f"{name} @ {own[name].place}" for name in found.keys() & own.keys()}
    return sorted(pin for name, pin in found.items() if name.lower() not in left_out)


def part(name: str, known: Mapping[str, bool]) -> str:
    """The lines of a part that apply: those behind ``# IF a, not b`` if all of that is so, up to the next such line or
    ``# ALL``."""
    text = (PARTS / f"{name}.py.txt").read_text(encoding="utf-8")
    lines, applies = [], True
    for line in text.splitlines(keepends=True):
        if line.startswith("# IF "):
            asked = [word.split() for word in line.removeprefix("# IF ").split(",")]
            applies = all(known[words[-1]] is (words[0] != "not") for words in asked)
        elif line == "# ALL\n":
            applies = True
        elif applies:
            lines.append(line)
    return "".join(lines)

"""Many cells out of a few real ones: other releases, and verdicts that change between them. For the bench and the tests
of size; what such cells say is made up."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path

from matrix.lines import ScenarioLine
from matrix.results.read import CellResult, read_cell
from matrix.results.write import encode
from matrix.words import VERDICTS, complies

TORTOISE = ("1.1.9", "1.0.0", "0.25.4", "0.24.2", "0.23.0", "0.22.2", "0.21.7", "0.20.1", "0.19.3")
OLDER = ("", "0.9.0", "0.8.2", "0.8.0", "0.7.1")  # of a driver: its own release, then made up ones below it


def write(source: Path, folder: Path, cells: int, scenarios: int = 0) -> Path:
    """Writes this many cells, made of the result files in ``source`` by turns. ``scenarios``: at least so many in
    each, the missing ones being copies under free ids."""
    folder.mkdir(parents=True, exist_ok=True)
    originals = [read_cell(path) for path in sorted(source.glob("*.jsonl"))]
    for number in range(cells):
        original = originals[number % len(originals)]
        _write(original, folder, number // len(originals), scenarios)
    return folder


def _write(original: CellResult, folder: Path, turn: int, scenarios: int) -> None:
    header = copy.deepcopy(original.header)
    tortoise, older = TORTOISE[turn % len(TORTOISE)], OLDER[turn // len(TORTOISE) % len(OLDER)]
    if turn:
        header["axes"]["tortoise"] = tortoise
        if older:
            header["axes"]["driver_version"] = f"0.0.{older}"
        header["cell"] = f"{original.cell}-{turn}-tortoise{tortoise}"
    lines = [_older(line, turn) for line in _enough(original, scenarios)]
    header["planned"] = [line["scenario"] for line in lines]
    counts: dict[str, int] = {}
    for line in lines:
        counts[line["verdict"]] = counts.get(line["verdict"], 0) + 1
    footer = {**(original.footer or {}), "counts": counts, "scenarios": len(lines), "planned": len(lines)}
    (folder / f"{header['cell']}.jsonl").write_bytes(b"".join(map(encode, [header, *lines, footer])))


def _enough(original: CellResult, scenarios: int) -> Iterator[ScenarioLine]:
    yield from original.scenarios
    lines, number = original.scenarios, 100
    for at in range(max(0, scenarios - len(lines))):
        line = lines[at % len(lines)]
        number += 1
        yield {**line, "scenario": f"{line['scenario'].split('-')[0]}-{number}"}


def _older(line: ScenarioLine, turn: int) -> ScenarioLine:
    """Every fifth scenario has another verdict on the older half of the releases of Tortoise."""
    place = sum(map(ord, line["scenario"]))
    if turn % len(TORTOISE) < len(TORTOISE) // 2 or place % 5 or line["verdict"] not in VERDICTS or line.get("remedy"):
        return line
    verdict = VERDICTS[(VERDICTS.index(line["verdict"]) + 3) % len(VERDICTS)]
    return {**line, "verdict": verdict, "complies": complies(line["level"], verdict)}


def size(folder: Path) -> int:
    """Bytes of the result files in a folder."""
    return sum(path.stat().st_size for path in folder.glob("*.jsonl"))

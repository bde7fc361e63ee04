"""Tables of figures: their sums, and how they are printed and written. Nothing is measured here."""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from matrix import files


@dataclass(frozen=True)
class Heading:
    """A heading; ``unit`` is that of every number below it."""

    name: str
    unit: str = ""

    def __str__(self) -> str:
        return f"{self.name} ({self.unit})" if self.unit else self.name


@dataclass(frozen=True)
class Measured:
    """What is printed. A cell is a text, a number, or None for what was not measured."""

    title: str
    columns: tuple[Heading, ...]
    rows: tuple[tuple[Any, ...], ...]
    note: str = ""


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least this share (0 to 1) of the values do not exceed. Raises ValueError for none."""
    if not values:
        raise ValueError("no values")
    ordered = sorted(values)
    return ordered[max(0, -(-int(share * 1000) * len(ordered) // 1000) - 1)]


def milliseconds(seconds: Sequence[float]) -> tuple[float, float, float]:
    """Median, 95th percentile and worst, in ms."""
    return statistics.median(seconds) * 1000, percentile(seconds, 0.95) * 1000, max(seconds) * 1000


def machine() -> dict[str, Any]:
    """Where the numbers come from."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "cores": cores,
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
    }


def shown(value: Any) -> str:
    """A number with three significant digits or more, a text as it is, a dash for what was not measured."""
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
    return str(value)


def show(tables: Iterable[Measured], where: dict[str, Any]) -> None:
    """Print them."""
    heading = f"{where['cores']} cores, {where['python']}, {where['system']}"
    console = Console(highlight=False, markup=False, emoji=False, width=None if sys.stdout.isatty() else 120)
    console.print(Text(heading, style="bold"))
    for table in tables:
        made = RichTable(title=Text(table.title), title_justify="left", box=SIMPLE_HEAD)
        for place, column in enumerate(table.columns):
            right = any(isinstance(row[place], (int, float)) for row in table.rows)
            made.add_column(str(column), justify="right" if right else "left", no_wrap=place == 0)
        for row in table.rows:
            made.add_row(*(Text(shown(value)) for value in row))
        console.print()
        console.print(made)
        if table.note:
            console.print(Text(table.note, style="dim"))


def write_json(path: Path, tables: Sequence[Measured], where: dict[str, Any]) -> None:
    """The same numbers, unrounded, for programs. Raises OSError."""
    text = json.dumps({"machine": where, "tables": [asdict(table) for table in tables]}, ensure_ascii=False, indent=1)
    files.write(path, text + "\n")

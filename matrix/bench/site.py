"""How long the published site takes to build and to open, and how both grow with the number of cells.

The cells are made of the real result files (see many.py): other releases, the same evidence.
"""

from __future__ import annotations

import importlib.util
import resource
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from matrix.bench import many
from matrix.bench.tables import Column, Table

CELLS = (10, 50, 110)
OPENINGS = 5
NEEDED = ("jinja2", "jsonschema", "markdown_it", "packaging")
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
COLUMNS = (
    Column("cells"),
    Column("scenarios"),
    Column("results", "MB"),
    Column("read", "s"),
    Column("built", "s"),
    Column("both", "s"),
    Column("processor", "s"),
    Column("both, per cell", "ms"),
    Column("home", "KiB"),
    Column("home interactive, median", "ms"),
    Column("worst", "ms"),
)


def table(results: Path, scenarios: int, tell: Callable[[str], None], cells: Sequence[int] = CELLS) -> Table:
    """One row for each number of cells. ``scenarios``: in each cell at least; missing ones are copies of others."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        return Table("Site", COLUMNS, (), f"not measured: {', '.join(missing)} not installed here")
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if importlib.util.find_spec("playwright") is None or browser is None:
        browser, note = None, "The home page was not opened: that needs playwright and chromium (tox -e browser)."
    else:
        note = f"Interactive: DOMContentLoaded in {Path(browser).name}, from a file, {OPENINGS} times."
    rows = []
    for number in cells:
        tell(f"building a site of {number} cells")
        rows.append(_row(results, scenarios, number, browser))
    note = f"{note} Both, in two processes or as many as there are cores; processor: of all of them together."
    return Table("Site: growth with the number of cells", COLUMNS, tuple(rows), note)


def _row(results: Path, scenarios: int, cells: int, browser: str | None) -> tuple[Any, ...]:
    from matrix.report import site, view
    from matrix.report.read import read
    from matrix.results.expectations import FOLDER

    with tempfile.TemporaryDirectory(prefix="matrix-bench-") as temporary:
        made = many.write(results, Path(temporary) / "results", cells, scenarios)
        before, began = _processor(), time.perf_counter()
        states = read(made)
        reading = time.perf_counter() - began
        home = site.build(view.build(states, FOLDER), Path(temporary) / "build")
        both = time.perf_counter() - began
        count = max(len(state.result.scenarios) for state in states if state.result)
        opened = _opened(home, browser) if browser else []
        median, worst = (statistics.median(opened), max(opened)) if opened else (None, None)
        size, kib = many.size(made) / 1e6, home.stat().st_size / 1024
        spent = _processor() - before
        return cells, count, size, reading, both - reading, both, spent, both / cells * 1000, kib, median, worst


def _processor() -> float:
    """Seconds of processor time of this process and of its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def _opened(home: Path, browser: str) -> list[float]:
    """Milliseconds until the home page answers, its script included; the first time is not counted."""
    from playwright.sync_api import sync_playwright

    script = "performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd"
    with sync_playwright() as playwright:
        program = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        page = program.new_page()
        taken = []
        for _ in range(OPENINGS + 1):
            page.goto(home.as_uri())
            taken.append(float(page.evaluate(script)))
        program.close()
    return taken[1:]

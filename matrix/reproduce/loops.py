"""``python -m matrix reproduce --loop uvloop``: the scripts that are kept, run again under another event loop.

The harness cannot own the order of steps under uvloop. A reproducer forces its order from outside, so that its finding
can be looked for there; what is safe under asyncio is not asked.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from matrix.reproduce import run
from matrix.reproduce.run import CannotRun, Databases
from matrix.results import reproducers
from matrix.results.text import clean

LOOP = "LOOP_VERSION_FILE"  # the variable that names the file in which the launcher says whose loop the script made
# Runs a script as it is, and says so when its first loop is one of these.
LAUNCHER = f"""\
import asyncio, os, pathlib, runpy, sys, uvloop
class Policy(uvloop.EventLoopPolicy):
    def _loop_factory(self):
        pathlib.Path(os.environ[{LOOP!r}]).write_text(uvloop.__version__)
        return super()._loop_factory()
asyncio.set_event_loop_policy(Policy())
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def run_kept(
    results: Sequence[Any], options: argparse.Namespace, out: Path, progress: Any = lambda text: print(text, flush=True)
) -> int:
    """Run the scripts of these results' cells and write into the index what came of it. Returns the exit code: 1 where
    one could not be run, 0 also where some do not show their finding."""
    index, failed = reproducers.read_index(out), 0
    for result in results:
        mine = [entry for entry in index.get("reproducers", []) if _is_asked(entry, result, options.scenario)]
        if not mine:
            continue
        try:
            with Databases(result.header["axes"], lambda text: progress(f"  {clean(text)}")) as databases:
                for entry in mine:
                    found = _one(entry, result.header, databases, out, options)
                    entry["loops"] = {**entry.get("loops", {}), options.loop: found}
                    progress(f"  {entry['cell']} {entry['scenario']:8} {_said(found)}")
        except CannotRun as problem:
            failed = 1
            print(f"{result.cell}: {clean(problem)}", file=sys.stderr)
        reproducers.write_index(out, index)  # after each cell: an interrupted run keeps what it has
    tried = [entry for entry in index.get("reproducers", []) if options.loop in entry.get("loops", {})]
    progress("\n".join(["", *table(tried, options.loop)]))
    return failed


def _is_asked(entry: Mapping[str, Any], result: Any, scenario: str | None) -> bool:
    return entry["cell"] == result.cell and scenario in (None, entry["scenario"], entry.get("remedy"))


def _one(
    entry: Mapping[str, Any], header: Mapping[str, Any], databases: Databases, out: Path, options: argparse.Namespace
) -> dict[str, Any]:
    """What a script shows under the loop: ``version`` of it, ``runs``, in how many of them it was ``shown``, and how
    the last one ended where that is not all of them. Raises CannotRun."""
    source = reproducers.kept(out, entry)
    if source is None:
        raise CannotRun(
            f"{entry['scenario']}: its script is not the one that was run: python -m matrix reproduce first"
        )
    python = run.script_python([*run.pins_of(source), options.loop], header, Path(options.environments).resolve())
    runs: list[run.ScriptRun] = []
    under: list[str] = []  # versions of the loop; empty: it made no loop of uvloop's
    with tempfile.TemporaryDirectory(prefix="matrix-loop-") as folder:
        version = Path(folder) / "version"
        for each in run.runs_of(
            source, python, databases, options.times, {LOOP: str(version)}, launcher=("-c", LAUNCHER)
        ):
            runs.append(each)
            under.append(version.read_text() if version.exists() else "")
            version.unlink(missing_ok=True)
    shown = sum(each.shown and bool(version) for each, version in zip(runs, under, strict=True))
    facts: dict[str, Any] = {"version": under[-1], "runs": len(runs), "shown": shown}
    if facts["shown"] == len(runs):
        return facts
    return {**facts, "why": runs[-1].ended}


def _said(found: Mapping[str, Any]) -> str:
    shown = f"shown {found['shown']} of {found['runs']} times under uvloop {found['version']}"
    return f"{shown}; the last run {found['why']}" if "why" in found else shown


def table(entries: Iterable[Mapping[str, Any]], loop: str) -> list[str]:
    """A line for each cell: how many of its scripts show their finding under the loop too, and which do not."""
    found = reproducers.under_loop(entries, loop)
    return [
        f"{cell}: shown under {loop} too: {len(shown)} of {len(shown) + len(others)}"
        + (f"; not: {', '.join(each['scenario'] for each in others)}" if others else "")
        for cell, (shown, others) in found.items()
    ]

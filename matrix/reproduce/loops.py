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
from matrix.results.text import clean, one_line

# Runs a script as it is, and says so when its first loop is one of these.
LAUNCHER = """\
import asyncio, functools, runpy, sys, uvloop
class Policy(uvloop.EventLoopPolicy):
    def _loop_factory(self):
        told()
        return super()._loop_factory()
@functools.cache
def told():
    print("loop: uvloop", uvloop.__version__, flush=True)
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
    with tempfile.TemporaryDirectory(prefix="matrix-reproduce-") as folder:
        path = Path(folder) / "repro.py"
        path.write_text(source, encoding="utf-8")
        for _ in range(options.times):
            address = databases.new(python)
            runs.append(run.execute(path, python, address, databases.arguments, databases.variables, ("-c", LAUNCHER)))
    last = runs[-1]
    under = [each.output_line("loop").removeprefix("uvloop ") for each in runs]  # empty: it made no loop of uvloop's
    shown = sum(each.shown and bool(version) for each, version in zip(runs, under, strict=True))
    facts: dict[str, Any] = {"version": under[-1], "runs": len(runs), "shown": shown}
    if facts["shown"] == len(runs):
        return facts
    ended = "did not end" if last.code is None else f"ended with exit code {last.code}"
    note = (last.errors.strip().splitlines() or [last.output_line("observed")])[-1]
    return {**facts, "why": one_line(f"{ended}: {note}")}


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

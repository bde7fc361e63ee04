"""Prints which scenario catches which seeded fault, and writes it for the report.

With --brief, each fault is asked of one scenario that has caught it before (caught.json), and of the others only where
that one does not catch it any more. --record writes that file anew, from a run of all; with --only, what it has of the
other faults stays.

Exit 1 when a fault is caught by no scenario for what it is, when the harness gave up on one, or when a right miniature
is found wrong.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Collection
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from matrix import files
from matrix.harness.cell import commit
from matrix.results import documents
from matrix.results.write import utc_now

from .driver import Queueing
from .faults import FAULTS
from .table import RIGHT, Right, Row, applicable, first_of, right_of, row_of

HEADINGS = ("seeded fault", "expected", "caught as expected by", "also caught by")
CAUGHT = Path(__file__).with_name("caught.json")  # fault -> the scenarios that caught it for what it is
Tell = Callable[[str], None]


def run(workers: int, tell: Tell, *, brief: bool = False, only: Collection[str] = ()) -> tuple[list[Row], list[Right]]:
    """Every miniature, or the faults of these names, on all cores; ``tell`` is told of each that is done."""
    faults = [each for each in FAULTS if not only or each.__name__ in only]
    rights = () if only else RIGHT
    known = json.loads(CAUGHT.read_text()) if brief else {}
    made: dict[Any, Any] = {}
    with ProcessPoolExecutor(workers) as pool:
        # The right ones run more orders, so they begin first.
        asked = {pool.submit(right_of, each): each for each in rights}
        for each in faults:
            made_by = (first_of, each, known.get(each.__name__, ())) if brief else (row_of, each)
            asked[pool.submit(*made_by)] = each
        for future in as_completed(asked):
            made[asked[future]] = future.result()
            tell(f"{len(made):>3}/{len(asked)} {asked[future].__name__}")
    return [made[each] for each in faults], [made[each] for each in rights]


def document(rows: list[Row], rights: list[Right], seconds: float) -> dict[str, Any]:
    """The table as the report reads it (matrix/results/schema/faults-1.schema.json)."""
    return {
        "type": "faults",
        "schema": 1,
        "commit": commit(),
        "finished": utc_now(),
        "seconds": round(seconds, 1),
        "scenarios": [scenario.id for scenario in applicable(Queueing())],
        "faults": [_fault(row) for row in rows],
        "right": [
            {"name": each.name, "sentence": each.sentence, "verdicts": each.verdicts, "problems": list(each.problems)}
            for each in rights
        ],
    }


def _fault(row: Row) -> dict[str, Any]:
    property, verdict = row.expects or ("", "")
    caught = [
        {"scenario": each.scenario, "verdict": each.verdict, "properties": list(each.properties), "reason": each.reason}
        for each in row.catches
    ]
    return {
        "name": row.fault,
        "sentence": row.sentence,
        "property": property,
        "verdict": verdict,
        "caught_by": [each.scenario for each in row.as_expected],
        "catches": caught,
        "gap": row.gap,
        "errors": list(row.errors),
    }


def cells(row: Row) -> tuple[str, str, str, str]:
    """One line of the printed table."""
    property, verdict = row.expects or ("", "")
    expected = row.as_expected
    others = [f"{each.scenario} ({each.verdict})" for each in row.catches if each not in expected]
    caught = " ".join(each.scenario for each in expected) or (f"NOTHING: {row.gap}" if row.gap else "NOTHING")
    return f"{row.fault}: {row.sentence}", f"{verdict}, {property}", caught, " ".join(others)


def show(rows: list[Row]) -> None:
    """As a table where rich can be imported, as plain lines otherwise."""
    try:
        from rich.console import Console
        from rich.table import Table
    except ImportError:
        for row in rows:
            fault, expected, caught, others = cells(row)
            print(f"{fault}\n    expected: {expected}\n    caught by: {caught}" + f"; also {others}" * bool(others))
        return
    made = Table(*HEADINGS, title="Seeded fault x scenario that caught it", show_lines=True)
    for row in rows:
        made.add_row(*cells(row))
    Console().print(made)


def problems(rows: list[Row], rights: list[Right]) -> list[str]:
    """Why this is not what it should be, one line each."""
    found = [f"{row.fault}: no scenario catches it for what it is" for row in rows if not row.as_expected]
    found += [f"{row.fault}: the harness gave up, {error}" for row in rows for error in row.errors]
    return found + [f"{each.name} is right, but {problem}" for each in rights for problem in each.problems]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.unit.miniatures", description=__doc__)
    parser.add_argument("--json", metavar="FILE", help="write the table there, for the report")
    parser.add_argument("--brief", action="store_true", help="each fault only until a scenario catches it")
    parser.add_argument("--record", action="store_true", help="keep which scenarios caught each fault, for --brief")
    parser.add_argument("--only", default="", metavar="NAME,NAME", help="these faults only")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes (default: one per core)")
    options = parser.parse_args(arguments)
    if options.workers < 1:
        parser.error("--workers must be 1 or more")
    if options.brief and (options.json or options.record):
        parser.error("--brief does not make the whole table: --json and --record need a run without it")
    only = [name for name in options.only.split(",") if name]
    if unknown := set(only) - {each.__name__ for each in FAULTS}:
        parser.error(f"there is no fault {', '.join(sorted(unknown))}")
    if only and options.json:
        parser.error("--only does not make the whole table: --json needs a run without it")
    began = time.monotonic()
    rows, rights = run(options.workers, _progress, brief=options.brief, only=only)
    seconds = time.monotonic() - began
    show(rows)
    found = problems(rows, rights)
    for problem in found:
        print(problem)
    for each in rights:
        told = ", ".join(
            f"{word} {list(each.verdicts.values()).count(word)}" for word in dict.fromkeys(each.verdicts.values())
        )
        print(f"right: {each.name}, {len(each.verdicts)} scenarios: {told}")
    print(f"{len(rows)} seeded faults, {sum(bool(row.as_expected) for row in rows)} caught ({seconds:.1f} s)")
    if options.record:
        known = json.loads(CAUGHT.read_text("utf-8")) if only else {}
        known |= {row.fault: [each.scenario for each in row.as_expected] for row in rows}
        ordered = (each.__name__ for each in FAULTS if each.__name__ in known)
        entries = (f"{json.dumps(name)}: {json.dumps(known[name])}" for name in ordered)
        files.write(CAUGHT, "{\n" + ",\n".join(entries) + "\n}\n")
    if options.json:
        try:
            documents.write(options.json, document(rows, rights, seconds))
        except OSError as problem:
            print(f"cannot write {options.json}: {problem.strerror or problem}", file=sys.stderr)
            return 2
    return 1 if found else 0


def _progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r{text:<60}", end="\r", file=sys.stderr, flush=True)
    else:
        print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())

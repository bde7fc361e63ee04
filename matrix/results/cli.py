"""``python -m matrix results check|merge``: are the results whole, valid and as expected; joining shards."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matrix.results import compare, expectations, finds, judging
from matrix.results.merge import MergeError, write_merged, write_trimmed
from matrix.results.read import CellResult, CellState, ResultError, read_cell, read_folder, results_in
from matrix.results.text import clean, refuse, refusing
from matrix.words import RECORD


def register(commands: Any) -> None:
    """Adds ``results`` with its own commands."""
    results = commands.add_parser("results", help="check result files, or merge folders of them")
    parts = results.add_subparsers(title="commands", dest="part", required=True)
    check = parts.add_parser("check", help="fail on results that are incomplete, invalid or not as expected")
    check.add_argument("folder", nargs="?", default="results", help="folder of result files (default: results)")
    add_demands(check)
    check.add_argument("--cells", type=int, metavar="N", help="fail when the folder holds fewer cells")
    check.add_argument(
        "--complete",
        action="store_true",
        help="the folder holds all planned cells, those of the newest releases with all orders: fail on expectations "
        "for none of them, and on what is as on record only",
    )
    check.set_defaults(handler=_check)
    merge = parts.add_parser("merge", help="join folders; the newest complete run of each cell wins")
    merge.add_argument("out", help="folder to write; may be one of those read")
    merge.add_argument("folders", nargs="+", metavar="in", help="folders to read")
    merge.set_defaults(handler=_merge)
    trim = parts.add_parser("trim", help="copy complete results without their evidence, to be kept for comparing")
    trim.add_argument("out", help="folder to write")
    trim.add_argument("folder", help="folder to read")
    about = "remove what is so much older than the newest from the out folder"
    trim.add_argument("--drop-older", type=int, metavar="DAYS", help=about)
    trim.set_defaults(handler=_trim)
    found = parts.add_parser("finds", help="keep what generated programs show and no scenario does")
    found.add_argument("generated", help="folder of results of generated programs")
    found.add_argument("folder", help="folder of results of the scenarios")
    found.add_argument("--kept", required=True, metavar="FILE", help="the finds so far; is written anew")
    found.set_defaults(handler=_finds)
    diff = commands.add_parser(
        "diff",
        help="what changed between two results: worse, better, changed, new, gone",
        description="Compares two folders of results, or two result files (of whatever cells). Cells are matched by "
        "their names; a release and a checkout by driver and server. Worse is what complied and does not any more; "
        "changed: another word, as good or as bad for the promise. "
        "Exit code 0: nothing is worse, 1: something is, 2: nothing, or not everything, can be compared.",
    )
    diff.add_argument("before", help="folder, or <cell>.jsonl")
    diff.add_argument("after", help="folder, or <cell>.jsonl")
    shape = diff.add_mutually_exclusive_group()
    shape.add_argument("--json", action="store_true", help="for programs")
    shape.add_argument("--markdown", action="store_true", help="for a job summary")
    diff.add_argument("--common", action="store_true", help="of folders: only cells that both have")
    diff.set_defaults(handler=_diff)


def add_demands(parser: argparse.ArgumentParser) -> None:
    """The options that ``results check`` and ``report`` share."""
    parser.add_argument(
        "--expect-cells", metavar="NAME,NAME", default="", help="fail when one of these cells is missing"
    )
    parser.add_argument(
        "--expectations", default=expectations.FOLDER, metavar="FOLDER", help="folder of <driver>.toml files"
    )
    parser.add_argument(
        "--strict", action="store_true", help="fail for everything that does not comply (also: MATRIX_STRICT=1)"
    )


def problems(states: Sequence[CellState], options: argparse.Namespace) -> list[str]:
    """Why these results are not green by ``add_demands``, one line each: incomplete, missing, unmet, and where it is
    strict not complying. Raises ExpectationError."""
    found = [f"{state.cell}: {state.problem}" for state in states if state.problem]
    have = {"", *(state.cell for state in states)}
    found += [f"{cell}: no result in the folder" for cell in options.expect_cells.split(",") if cell not in have]
    found += map(str, unmet_of(states, options.expectations))
    if options.strict or os.environ.get("MATRIX_STRICT", "") not in ("", "0"):
        found += [text for state in states for text in _not_complying(state)]
    return found


def unmet_of(states: Sequence[CellState], folder: str | os.PathLike[str]) -> list[judging.Unmet]:
    """What the complete results do not meet, in the order of the cells. Raises ExpectationError."""
    results = [state.result for state in states if state.result]
    known = {name for result in results for name in (*result.by_id, *result.header["planned"])}
    known |= {name for result in results for name in result.header.get("catalogue", ())}
    unmet = []
    for result in results:
        entries = expectations.load_driver(str(result.axes.get("driver", "")), folder)
        unmet += judging.judge(result.scenarios, entries, result.header, known)
    return unmet


def _not_complying(state: CellState) -> list[str]:
    lines = state.result.scenarios if state.result else ()
    failing = [
        line for line in lines if line["complies"] is False or line.get("remedy") in ("partly", "fails", "worse")
    ]
    return [
        f"{state.cell}: {line['scenario']} {line.get('remedy') or line['verdict']}, does not comply (strict)"
        for line in failing
    ]


@refusing(1, ResultError, expectations.ExpectationError)
def _check(options: argparse.Namespace) -> int:
    from matrix.results import schema

    states = read_folder(options.folder, schema.checker())
    found = problems(states, options)
    if options.complete:
        found += [str(unmet) for unmet in _without_cell(states, options.expectations)]
        headers = [state.result.header for state in states if state.result]
        recorded = [each["cell"] for each in headers if judging.is_newest(each) and each.get("depth") == RECORD]
        found += [f"{cell}: is as on record only: run all orders (tox -e orders)" for cell in recorded]
    if not states:
        found.append(f"{options.folder}: no result file in the folder; run the cells first (tox)")
    if options.cells is not None and len(states) < options.cells:
        found.append(f"{options.folder}: {len(states)} cells, {options.cells} were planned")
    if found:
        return refuse("\n".join(found), 1)
    scenarios = sum(len(state.result.scenarios) for state in states if state.result)
    print(f"{len(states)} cells, {scenarios} scenarios: complete, valid and as expected")
    return 0


def _without_cell(states: Sequence[CellState], folder: str) -> list[judging.Unmet]:
    headers = [state.result.header for state in states if state.result]
    unmet = []
    for path in sorted(Path(folder).glob("*.toml")):
        own = [header for header in headers if header["axes"].get("driver") == path.stem]
        unmet += judging.without_cell(expectations.load(path), own)
    return unmet


@refusing(1, ResultError, MergeError)
def _merge(options: argparse.Namespace) -> int:
    states = write_merged(options.out, options.folders)
    print(f"{len(states)} cells in {clean(options.out)}")
    return 0


@refusing(2, finds.FindsError, ResultError)
def _finds(options: argparse.Namespace) -> int:
    """Exit code 0 whatever was found: it is news, and no verdict on record."""
    path = Path(options.kept)
    kept = finds.read_finds(path)
    known = {result.cell: finds.known_of(result) for result in results_in(options.folder)}
    made = results_in(options.generated)
    missing = [result.cell for result in made if result.cell not in known]
    for cell in missing:
        print(f"{cell}: left out, {options.folder} does not say what its scenarios show", file=sys.stderr)
    new = [find for result in made if result.cell in known for find in finds.finds_of(result, known[result.cell])]
    stays, fresh, gone = finds.merged(kept, new, known)
    finds.write_finds(path, stays)
    print("\n".join(finds.markdown(stays, fresh, gone)))
    return 0


@refusing(1, ResultError, MergeError)
def _trim(options: argparse.Namespace) -> int:
    count = write_trimmed(options.out, options.folder, options.drop_older)
    left_out = [state for state in read_folder(options.folder) if state.result is None]
    print(f"{count} cells in {clean(options.out)}")
    return refuse("\n".join(f"left out: {state.problem}" for state in left_out), 0)


@refusing(2, ResultError)
def _diff(options: argparse.Namespace) -> int:
    lost: list[str] = []
    sides = [_side(Path(text), lost) for text in (options.before, options.after)]
    files = all(Path(text).is_file() for text in (options.before, options.after))
    if files:
        (one,), (other,) = sides[0].values(), sides[1].values()
        found = compare.of_cell(one, other, other.cell if one.cell == other.cell else f"{one.cell} -> {other.cell}")
    else:
        found = compare.compare(*sides)
        if options.common:
            found = [each for each in found if each.scenario is not None or each.kind not in ("new", "gone")]
    if options.markdown:
        print(compare.markdown(found))
    elif options.json:
        print(json.dumps([each.as_json() for each in found], indent=2))
    else:
        for each in found:
            print(clean(each))
        counts = Counter(each.kind for each in found)
        print(", ".join(f"{counts[kind]} {kind}" for kind in compare.KINDS if counts[kind]) or "nothing changed")
    if lost:
        return refuse("\n".join([*lost, "What changed in these cells is not known: run them again."]))
    if not files and not compare.matched(*sides):
        names = [", ".join(sorted(side)) or "no cell" for side in sides]
        return refuse(
            f"nothing was compared: {options.before} has {names[0]}; {options.after} has {names[1]}\n"
            "Give folders that have a cell in common, or the two files to be held against each other."
        )
    return 1 if any(each.kind == "worse" for each in found) else 0


def _side(path: Path, lost: list[str]) -> dict[str, CellResult]:
    """The complete results at a path: of a folder all, or the one file. Adds to ``lost`` why a cell of the folder has
    none that can be read. Raises ResultError."""
    check = None
    with contextlib.suppress(ImportError):  # jsonschema; else the shape of what is within a line is not looked at
        from matrix.results import schema

        check = schema.checker(evidence=False)
    if path.exists() and not path.is_dir():
        result = read_cell(path, check)
        return {result.cell: result}
    states = read_folder(path, check)
    lost += [str(state.problem) for state in states if state.result is None]
    return {state.cell: state.result for state in states if state.result}

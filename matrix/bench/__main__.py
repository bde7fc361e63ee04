"""``python -m matrix.bench``: how long things take here, as tables. It measures and prints; it never judges."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from matrix.bench import from_results, measure, site
from matrix.bench.measure import REPEATS, ROUND_TRIPS
from matrix.bench.tables import machine, show, write_json
from matrix.harness.drivers import bases
from matrix.harness.scenario import catalogue
from matrix.results.read import CellResult, ResultError, read_folder


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("has to be 1 or more")
    return number


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m matrix.bench", description="How long things take on this machine. Asserts nothing."
    )
    parser.add_argument("--results", default="results", metavar="FOLDER", help="result files to read (results)")
    parser.add_argument("--cell", action="append", metavar="NAME", help="measure live with this cell; may be repeated")
    parser.add_argument("--round-trips", type=_positive, default=ROUND_TRIPS, metavar="N", help="through the gate")
    parser.add_argument("--repeats", type=_positive, default=REPEATS, metavar="N", help="of hangs and schedules")
    parser.add_argument("--only", default="", choices=["", "site"], help="measure this alone")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers to a file as well")
    return parser


def _results(folder: str, tell: Callable[[str], None]) -> list[CellResult]:
    try:
        states = read_folder(folder)
    except ResultError as error:
        tell(str(error))
        return []
    for state in states:
        if state.problem:
            tell(state.problem)
    return [state.result for state in states if state.result is not None]


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)

    def tell(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    results = _results(options.results, tell)
    kinds = [kind for kind in ("postgres", "mysql", "mariadb") if not results or _uses(results, kind)]
    names = options.cell or [name for name in bases() if measure.importable(name)]
    if not names:
        tell("no driver with its witness is installed here: run it with tox -e bench")
    tables = []
    if options.only != "site":
        tables += [from_results.cells(results), measure.server_starts(kinds, tell), *measure.live(names, options, tell)]
    if results:
        tables.append(site.table(Path(options.results), len(catalogue()), tell))
    show(tables, machine())
    if options.json:
        try:
            write_json(options.json, tables, machine())
        except OSError as error:
            tell(f"cannot write {options.json}: {error.strerror}")
            return 1
    return 0


def _uses(results: Iterable[CellResult], kind: str) -> bool:
    return any(result.axes.get("server") == kind for result in results)


if __name__ == "__main__":
    sys.exit(main())

"""``python -m matrix.bench``: how long things take here, as tables. It measures and prints; it never judges."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from matrix.bench import from_results, measure, pairs
from matrix.bench.measure import REPEATS
from matrix.bench.tables import machine, show, write_json
from matrix.harness.drivers import bases
from matrix.results.read import CellResult, ResultError, read_folder


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("has to be 1 or more")
    return number


def _tree(text: str) -> Path:
    if not (Path(text) / "conftest.py").is_file():
        raise argparse.ArgumentTypeError(f"{text} is no checkout of this project")
    return Path(text).resolve()


def _peer(text: str) -> tuple[str, Path]:
    name, _, folder = text.partition("=")
    if name not in pairs.PEERS or not folder or not Path(folder).is_dir():
        raise argparse.ArgumentTypeError(f"{text!r}: write {' or '.join(pairs.PEERS)}, =, and a folder that is there")
    return name, Path(folder).resolve()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m matrix.bench", description="How long things take on this machine. Asserts nothing."
    )
    parser.add_argument("--results", default="results", metavar="FOLDER", help="result files to read (results)")
    parser.add_argument("--cell", action="append", metavar="NAME", help="measure live with this cell; may be repeated")
    parser.add_argument("--repeats", type=_positive, default=REPEATS, metavar="N", help="of schedules")
    parser.add_argument("--pairs", type=_positive, metavar="N", help="run whole cells so many times, and all together")
    parser.add_argument("--against", type=_tree, metavar="FOLDER", help="with --pairs: another checkout, turn about")
    parser.add_argument("--brief", action="store_true", help="with --pairs: what is on record, not all orders")
    parser.add_argument("--envs", type=Path, default=Path(".tox"), metavar="FOLDER", help="cells' environments (.tox)")
    parser.add_argument(
        "--peer", action="append", default=[], type=_peer, metavar="NAME=FOLDER",
        help=f"the own tests of a driver ({', '.join(pairs.PEERS)}), in a checkout of the release installed here",
    )  # fmt: skip
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
            tell(str(state.problem))
    return [state.result for state in states if state.result is not None]


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)

    def tell(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    results = _results(options.results, tell)
    names = options.cell or [name for name in bases() if measure.importable(name)]
    if not names:
        tell("no driver with its witness is installed here: run it with tox -e bench")
    tables = [*measure.live(names, options, tell), from_results.cells(results)]
    if options.pairs:
        trees = {"this": pairs.ROOT} | ({"other": options.against} if options.against else {})
        tables.append(pairs.cells(options.cell or bases(), trees, options.envs, options.pairs, options.brief, tell))
    if options.peer:
        tables.append(pairs.peers(dict(options.peer), tell))
    show(tables, machine())
    if options.json:
        try:
            write_json(options.json, tables, machine())
        except OSError as error:
            tell(f"cannot write {options.json}: {error.strerror}")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

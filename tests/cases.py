"""Runs small programs that were written after public reports, and holds what they print against the verdicts of the
scenarios that stand for their kind: ``python -m tests.cases FOLDER --results RESULTS --environments .tox``.

FOLDER has the programs; RESULTS the results of the cells. The programs own no order: where one does not show its fault,
its scenario may all the same. Exit 1 where a program shows a fault and its scenario complies.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from matrix.results.read import read_folder

ROOT = Path(__file__).resolve().parents[1]
ADDRESSES = {"mysql": ("MY_URL", "MYSQL_URL"), "mariadb": ("MA_URL",), "postgres": ("PG_URL",), "sqlite": ()}
CELLS = ("sqlite-aiosqlite", "mysql-aiomysql", "mysql-asyncmy", "postgres-asyncpg", "postgres-psycopg")
SECONDS = 120  # that a program may take


@dataclass(frozen=True)
class Case:
    """A program, the scenarios that stand for its kind, its arguments in each cell, and what it prints where it shows
    its fault."""

    program: str
    scenarios: tuple[str, ...]
    arguments: Mapping[str, tuple[str, ...]]
    fault: str


def _drivers(*cells: str, more: tuple[str, ...] = ()) -> dict[str, tuple[str, ...]]:
    return {cell: (cell.partition("-")[2], *more) for cell in cells or CELLS}


_MYSQL = ("mysql-aiomysql", "mysql-asyncmy")
_SCRIPT = {"sqlite-aiosqlite": ("sqlite",), "postgres-asyncpg": ("asyncpg",), **dict.fromkeys(_MYSQL, ("mysql",))}
_LATE = r"STILL WAITING after|after (?:[6-9]|1\d)\.\d s"
_FAILS_FOUR_TIMES = r"(?s)(request \w after idle: [\w.]+Error\b.*?){4}"
_DEADLOCK = {"postgres-asyncpg": ("asyncpg",), **dict.fromkeys(_MYSQL, ("mysql",))}
_COPY = r"STILL WAITING|next user: (?!\d+ rows)"
_SKEW = r"sum stored: -"
CASES = (
    # It makes a role: PG_URL is to be of a user who may.
    Case("driver-01-*", ("POOL-30",), {"postgres-asyncpg": ()}, r"role of the next user +: b01_guest"),
    Case("driver-02-*", ("POOL-31",), _drivers(*_MYSQL), r"seen by another client: (?!.*second)"),
    Case("driver-05-*", ("CON-31", "CAN-32"), {"postgres-asyncpg": ()}, _COPY),
    Case("driver-06-*", ("CON-32",), _drivers("postgres-psycopg"), r"leave +: ok; next question: \w*Error"),
    Case("driver-08-*", ("CAN-30", "CAN-13"), _drivers(*_MYSQL), r"SSCursor +cancel +: .*task: (?!CancelledError)"),
    Case("driver-04-*", ("CAN-9", "CON-12", "POOL-26"), _drivers(*CELLS[1:]), _LATE),
    Case("driver-15-*", ("TXN-26",), _SCRIPT, r"script in a block, then an error.*stored: \['"),
    Case(
        "driver-15-*",
        ("NST-19",),
        _SCRIPT,
        r"script in an inner block that fails.*(inner-before|no such savepoint|1305)",
    ),
    Case(
        "driver-16-*",
        ("NST-17",),
        _DEADLOCK,
        r"(?s)goes on and ends well.*?outer block: committed\s+stored: \['light-outer-after'\]",
    ),
    Case("driver-16-*", ("NST-18",), _DEADLOCK, r"(?s)then fails on purpose:.*?stored: \['light-outer-after'\]"),
    Case(
        "orm-01-*",
        ("ORM-12",),
        _drivers(*_MYSQL, more=("none", "plain")),
        r"(?s)request \w after idle: \w+\..*request \w after idle: \w+\.",
    ),
    Case("orm-01b-*", ("ORM-14",), _drivers(*CELLS[1:], more=("swallow", "plain")), _FAILS_FOUR_TIMES),
    Case("orm-01b-*", ("ORM-17",), _drivers(*CELLS[1:], more=("forget", "tx")), _FAILS_FOUR_TIMES),
    Case(
        "orm-02-*",
        ("ORM-13", "TXN-27"),
        _drivers(*CELLS[1:], more=("restart",)),
        r"(?s)(back +[^ ]*(Error|LIMIT)[^\n]*\n.*?){4}",
    ),
    # What piles up until it is collected is not looked at: when that is, is nobody's order.
    Case("orm-06-*", ("CTX-30",), _drivers(more=("plain",)), r"run \d: [\w.]+(Error|Exception)"),
    Case("orm-08-*", ("TXN-50",), _drivers(*CELLS[1:], more=("none",)), _SKEW),
    Case("orm-08-*", ("TXN-51",), _drivers(*CELLS[1:], more=("first",)), _SKEW),
    Case("orm-08-*", ("TXN-52",), _drivers(*CELLS[1:4], more=("server",)), _SKEW),
    # Rolled back by hand all the same stored: what was written went elsewhere.
    Case("orm-09-*", ("TXN-53",), _drivers(more=("begin-rollback", "2")), r"read from outside: .*'mine'"),
    Case(
        "orm-14-*",
        ("TXN-36",),
        _drivers(*CELLS[1:]),
        r"wrong answers: [1-9]|of them lost: [1-9]|RuntimeError|InternalError|Packet sequence",
    ),
    Case(
        "orm-18-*",
        ("TXN-37", "TXN-39"),
        _drivers(),
        r"next write (fails|is told)|no longer all get one|half of it stored",
    ),
)


def verdicts(folder: str) -> dict[str, dict[str, str]]:
    """Cell -> scenario -> verdict, of complete results."""
    states = (state for state in read_folder(folder) if state.result is not None)
    return {s.cell: {line["scenario"]: line["verdict"] for line in s.result.scenarios} for s in states if s.result}


def shown(case: Case, cell: str, folder: Path, environments: Path, environment: Mapping[str, str]) -> bool | None:
    """Whether a program prints its fault in a cell's environment; None where it did not come to an end."""
    program = next(iter(sorted(folder.glob(case.program))))
    python = environments / cell / "bin" / "python"
    command = [str(python), str(program), *case.arguments[cell]]
    try:
        ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return None
    return re.search(case.fault, ran.stdout) is not None


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.cases", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--results", required=True, metavar="FOLDER", help="results of the cells")
    parser.add_argument("--environments", type=Path, default=ROOT / ".tox", metavar="FOLDER", help="the cells' (.tox)")
    parser.add_argument("--cell", action="append", choices=CELLS, help="only this cell; may be given again")
    options = parser.parse_args(arguments)
    known = verdicts(options.results)
    wrong = 0
    for cell in options.cell or CELLS:
        server = cell.partition("-")[0]
        missing = [name for name in ADDRESSES[server] if not os.environ.get(name)]
        if missing:
            print(f"{cell}: left out, {' and '.join(missing)} are not set (python -m matrix servers start {server})")
            continue
        for case in (each for each in CASES if cell in each.arguments):
            words = {name: known.get(cell, {}).get(name, "not run") for name in case.scenarios}
            told = shown(case, cell, options.folder, options.environments, os.environ)
            complies = all(word in ("safe", "refuses") for word in words.values())
            agrees = "no end" if told is None else "differs" if told and complies else "agrees"
            wrong += agrees == "differs"
            said = "shows its fault" if told else "does not show it" if told is False else "did not end"
            scenarios = ", ".join(f"{name} {word}" for name, word in words.items())
            print(f"{cell}: {case.program.rstrip('-*')} {said}; {scenarios}: {agrees}", flush=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

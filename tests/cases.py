"""Runs small programs that were written after public reports, on real servers, and holds what they print against the
verdicts of the scenarios that stand for their kind: ``python -m tests.cases FOLDER --results RESULTS``. Prints a table.

FOLDER has the programs; RESULTS the results of the cells, of all orders. The programs own no order: where one does not
show its fault, its scenario may all the same. Exit 1 where a program shows a fault and its scenario complies,
and where one could not run.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from matrix.harness.cell_name import parse
from matrix.harness.witness import WITNESSES, Address
from matrix.reproduce.run import CannotRun, script_python
from matrix.reproduce.runtime import pins
from matrix.results.read import read_folder
from matrix.servers import ServerError, acquire
from matrix.servers.builds import resolve
from matrix.servers.catalogue import parse_spec

ROOT = Path(__file__).resolve().parents[1]
# What the programs call an address, and the database in it that some of them want.
ADDRESSES = {"mysql": ("MY_URL", "MYSQL_URL"), "postgres": ("PG_URL",), "sqlite": ()}
DATABASE = "cases"
CELLS = ("sqlite-aiosqlite", "mysql-aiomysql", "mysql-asyncmy", "postgres-asyncpg", "postgres-psycopg")
POOLED = tuple(
    f"{cell}-{way}" for cell in CELLS[3:] for way in ("pgbouncer", "pgbouncer1.18", "pgbouncer1.18-unprepared")
)
SECONDS = 280  # that a program may take; the longest ends itself after 250
PRINTED = 90  # characters of what a program printed, in the table


@dataclass(frozen=True)
class Case:
    """A program, the scenarios that stand for its kind, its arguments in each cell, what it prints where it shows its
    fault, and the packages that it wants beside those of the cell."""

    program: str
    scenarios: tuple[str, ...]
    arguments: Mapping[str, tuple[str, ...]]
    fault: str
    packages: tuple[str, ...] = ()


def _drivers(*cells: str, more: tuple[str, ...] = ()) -> dict[str, tuple[str, ...]]:
    return {cell: (cell.partition("-")[2], *more) for cell in cells or CELLS}


_MYSQL = ("mysql-aiomysql", "mysql-asyncmy")
_SCRIPT = {"sqlite-aiosqlite": ("sqlite",), "postgres-asyncpg": ("asyncpg",), **dict.fromkeys(_MYSQL, ("mysql",))}
_LATE = r"STILL WAITING after|after (?:[6-9]|1\d)\.\d s"
# The pool has three connections: each that is lost may cost one request.
_FAILS_FOUR_TIMES = r"(?s)(request \w after idle: [\w.]+Error\b.*?){4}"
_NEVER = r"after idle: asyncio\.exceptions\.CancelledError"  # its limit did not end it
_DEADLOCK = {"postgres-asyncpg": ("asyncpg",), **dict.fromkeys(_MYSQL, ("mysql",))}
_COPY = r"STILL WAITING|next user: (?!\d+ rows)"
_SKEW = r"sum stored: -"
# What a request wrote that ended well is not stored, or what one wrote that failed is; or it was not answered well.
_REQUESTS = r"stored: .*'bad'|(?m:^ +/(?:ok|gather|detached)\S* +(?! |200))|stored: (?!.*'g-0'.*'g-1'.*'g-2'.*'ok')"
_REQUESTS += r"|(?s:background det: told ok.*stored: (?!.*'det'))"
_FAILS_OR_LOSES = r"\d+x (?!ok)|wrong answers: \[\(|but lost: \['|but stored: [1-9]"
CASES = (
    # It makes a role, which no user of our servers may: only where an address is given.
    Case(
        "driver-01-*",
        ("POOL-30",),
        {"postgres-asyncpg": ()} if os.environ.get("PG_URL") else {},
        r"role of the next user +: b01_guest",
    ),
    Case("driver-02-*", ("POOL-31",), _drivers(*_MYSQL), r"seen by another client: (?!.*second)"),
    Case("driver-05-*", ("CON-31", "CAN-32"), {"postgres-asyncpg": ()}, _COPY),
    Case("driver-06-*", ("CON-32",), _drivers("postgres-psycopg"), r"leave +: ok; next question: \w*Error"),
    Case("driver-08-*", ("CAN-30", "CAN-13"), _drivers(*_MYSQL), r"SSCursor +cancel +: .*task: (?!CancelledError)"),
    Case(
        "driver-09-*",
        ("CON-34",),
        _drivers("postgres-asyncpg", "postgres-psycopg"),
        r"received: (?!\['idle', 'in query')",
    ),
    Case("driver-09-*", ("CON-35",), _drivers("postgres-psycopg"), r"while notifies\(\) is open: TimeoutError"),
    Case("driver-04-*", ("CAN-9", "CON-12", "POOL-26"), _drivers(*CELLS[1:]), _LATE),
    # The task that waits is in a transaction, whose rollback waits for the statement that nobody could cancel.
    Case("driver-13-*", ("CAN-10", "CAN-12"), {"postgres-asyncpg": ()}, r"no TLS, the cancel .*refused.*STILL WAITING"),
    # Of the bare driver; its scenario is the ORM's first use. Only what no collection of garbage ends is a fault.
    Case("driver-14-*", ("ORM-10",), _drivers(), r"STILL WAITING|after gc: (?:[1-9]|threads left: [1-9])"),
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
        _FAILS_FOUR_TIMES,
    ),
    Case("orm-01b-*", ("ORM-14",), _drivers(*CELLS[1:], more=("swallow", "plain")), f"{_FAILS_FOUR_TIMES}|{_NEVER}"),
    Case("orm-01b-*", ("ORM-17",), _drivers(*CELLS[1:], more=("forget", "tx")), _FAILS_FOUR_TIMES),
    Case(
        "orm-02-*",
        ("ORM-13", "TXN-27"),
        _drivers(*CELLS[1:], more=("restart",)),
        r"(?s)(back +[^ ]*(Error|LIMIT)[^\n]*\n.*?){4}",
    ),
    *(
        Case("orm-04-*", ("TXN-1", "TXN-3", "CTX-1"), _drivers(more=(how,)), _REQUESTS, ("fastapi", "uvicorn"))
        for how in ("dependency", "middleware")
    ),
    Case("orm-10-*", ("TXN-2",), _drivers(more=("production",)), "WRONG"),
    Case("orm-10-*", ("NST-3", "NST-5"), _drivers(more=("fixture",)), "WRONG|the (test itself|wrapper's rollback):"),
    Case(
        "orm-12-*",
        ("ORM-1", "TXN-2", "TXN-9"),
        {cell: (cell.split("-")[1], "off" if cell.endswith("unprepared") else "none") for cell in POOLED},
        _FAILS_OR_LOSES,
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
        r"next write (fails|is told)|no longer all get one|half of it stored|(?m:^ +TimeoutError)",  # it waits for ever
    ),
)


@dataclass(frozen=True)
class Row:
    """One program in one cell, held against the scenarios of its kind. ``code``: its exit code, None where it did not
    end; ``lines``: how many it printed; ``printed``: the line that shows its fault, or the last one."""

    case: Case
    cell: str
    report: str
    words: Mapping[str, str]
    shows: bool
    code: int | None
    lines: int
    printed: str

    @property
    def agrees(self) -> str:
        complies = all(word in ("safe", "refuses") for word in self.words.values())
        if any(word == "not run" for word in self.words.values()):
            return "not run"
        if self.shows:
            return "differs" if complies else "agrees"
        if self.code is None:
            return "no end"
        if self.code or self.lines < 2:
            return "did not run"
        return "agrees" if complies else "agrees: it needs its order"

    def cells(self) -> Iterator[str]:
        yield self.case.program.rstrip("-*")
        yield self.report
        yield ", ".join(f"{name} {word}" for name, word in self.words.items())
        yield self.cell
        yield ("" if self.shows else "no fault: ") + self.printed.replace("|", "/")
        yield self.agrees


WRONG = ("differs", "did not run")
TITLES = ("case", "report", "scenario and verdict", "cell", "the case printed", "agrees?")


def verdicts(result: Any) -> dict[str, str]:
    """Scenario -> verdict, of a complete result; of none nothing."""
    return {line["scenario"]: line["verdict"] for line in result.scenarios} if result else {}


def python_of(case: Case, cell: str, environments: Path, result: Any) -> Path:
    """The interpreter of a cell, or one with what the cell ran with and a case's own packages. Raises CannotRun."""
    if case.packages and result:
        wanted = [*pins(result.header, True), *case.packages]
        return script_python(wanted, result.header, ROOT / "build" / "environments")
    return environments / parse(cell).base / "bin" / "python"


@cache
def output(
    program: Path, python: Path, arguments: tuple[str, ...], variables: tuple[tuple[str, str], ...]
) -> tuple[str, int | None]:
    """What a program printed, and its exit code; None: it did not come to its end."""
    with tempfile.TemporaryDirectory(prefix="matrix-case-") as folder:
        text = program.read_text("utf-8")
        own = re.sub(r"(?<=[/\"'])postgres(?=[\"'])", DATABASE, text) if "driver-" in program.name else text
        if own != text:  # its tables are in a database that our user owns
            program = Path(folder) / program.name
            program.write_text(own, "utf-8")
        command = [str(python), "-u", str(program), *arguments]
        environment = {
            "MY_URL": "mysql://",
            **os.environ,
            **dict(variables),
        }  # that of SQLite wants one, and does not use it
        piped = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        with subprocess.Popen(command, start_new_session=True, env=environment, **piped) as running:  # type: ignore[call-overload]
            try:
                return running.communicate(timeout=SECONDS)[0].decode(errors="replace"), running.returncode
            except subprocess.TimeoutExpired:
                os.killpg(running.pid, signal.SIGKILL)  # with what it started
                return running.communicate()[0].decode(errors="replace"), None


def row_of(case: Case, cell: str, folder: Path, environments: Path, result: Any) -> Row:
    """Run a case's program in a cell's environment, and hold it against the cell's result, None without one. Raises
    FileNotFoundError without the program, CannotRun."""
    program = next(iter(sorted(folder.glob(case.program + ".py"))), None)
    if program is None:
        raise FileNotFoundError(f"{folder} has no {case.program}.py")
    report = re.search(r"https://\S+|#\d+(?:, #\d+)+", program.read_text("utf-8"))
    with pooler_of(cell) as variables:
        python = python_of(case, cell, environments, result)
        text, code = output(program, python, case.arguments[cell], variables)
    found = re.search(case.fault, text)
    shown = text[found.start() :] if found else ""
    lines = [line.strip() for line in (shown.splitlines() or text.splitlines()[::-1]) if line.strip()]
    if found:  # its line from the beginning
        lines[0] = (text[: found.start()].rpartition("\n")[2] + lines[0]).strip()
    link = report.group().rstrip(",;") if report else ""
    known = verdicts(result)
    words = {name: known.get(name, "not run") for name in case.scenarios}
    printed = " ".join((lines or ["(nothing)"])[0].split())[:PRINTED]
    return Row(case, cell, link, words, found is not None, code, len(lines), printed)


@contextlib.contextmanager
def pooler_of(cell: str) -> Iterator[tuple[tuple[str, str], ...]]:
    """By which variables the cases find the program of a cell's pooler: they start one by themselves."""
    spec = parse(cell).pooler_spec
    if not spec:
        yield ()
        return
    with tempfile.TemporaryDirectory(prefix="matrix-case-") as folder:
        Path(folder).chmod(0o755)  # another account runs it
        program = Path(folder) / "pgbouncer"
        command = resolve(parse_spec(spec), lambda text: print(f"  {text}", file=sys.stderr)).command()
        program.write_text(f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n', "utf-8")
        program.chmod(0o755)
        yield (("PGBOUNCER", str(program)),)


@contextlib.contextmanager
def served(server: str) -> Iterator[None]:
    """A server whose address the programs find; one of ours where none is given."""
    missing = [name for name in ADDRESSES[server] if not os.environ.get(name)]
    if not missing:
        yield
        return
    with acquire(server, progress=lambda text: print(f"  {text}", file=sys.stderr)) as found:
        address = Address(
            server, found.host, found.port, found.user, found.password, ("", "postgres")[server == "postgres"]
        )
        witness = WITNESSES["mysql-connector-python" if server == "mysql" else "pg8000"](address)
        with contextlib.closing(witness):
            witness.execute(f"CREATE DATABASE {DATABASE}")
        os.environ.update(dict.fromkeys(missing, replace(found, database=DATABASE).url))
        try:
            yield
        finally:
            for name in missing:
                del os.environ[name]


def rows(options: argparse.Namespace) -> Iterator[Row]:
    known = {state.cell: state.result for state in read_folder(options.results)}
    for server in ADDRESSES:
        cells = [cell for cell in options.cell or (*CELLS, *POOLED) if cell.startswith(server)]
        chosen = [case for case in CASES if any(word in case.program for word in options.case or ("",))]
        if not any(cell in case.arguments for case in chosen for cell in cells):
            continue
        with served(server):
            for cell in cells:
                for case in (each for each in chosen if cell in each.arguments):
                    yield row_of(case, cell, options.folder, options.environments, known.get(cell))


def line_of(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.cases", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--results", required=True, metavar="FOLDER", help="results of the cells")
    parser.add_argument("--environments", type=Path, default=ROOT / ".tox", metavar="FOLDER", help="the cells' (.tox)")
    parser.add_argument("--cell", action="append", choices=(*CELLS, *POOLED), help="only this cell; may be given again")
    parser.add_argument("--case", action="append", metavar="WORD", help="only programs with this in their name")
    options = parser.parse_args(arguments)
    os.environ.setdefault("WITNESS", sys.executable)  # by which some programs read what is stored
    print(f"{line_of(TITLES)}\n{line_of(['---'] * len(TITLES))}", flush=True)
    wrong = 0
    try:
        for row in rows(options):
            wrong += row.agrees in WRONG
            print(line_of(row.cells()), flush=True)
    except (ServerError, CannotRun, FileNotFoundError) as error:
        print(f"cases: {error}", file=sys.stderr)
        return 2
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

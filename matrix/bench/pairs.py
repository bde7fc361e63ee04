"""Whole runs in pairs, this tree and another one turn about: a cell, all cells together, and as peers the drivers' own
tests of what the matrix asks too. Each is a process of its own; wall clock and processor time, its children's included.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from matrix import servers
from matrix.bench.tables import Heading, Measured

ROOT = Path(__file__).resolve().parents[2]
CELL_COLUMNS = (
    Heading("cell"),
    Heading("tree"),
    Heading("wall, median", "s"),
    Heading("CPU, median", "s"),
    Heading("wall, ratio", "x"),
    Heading("CPU, ratio", "x"),
)
PEER_COLUMNS = (Heading("peer"), Heading("cases"), Heading("wall", "s"), Heading("CPU", "s"), Heading("a case", "ms"))
# A driver's own tests, in a checkout of it: of its pool, and of cancelling.
PEERS = {
    "asyncpg": ("tests/test_pool.py", "tests/test_cancellation.py"),
    "psycopg": ("tests/pool/test_pool_async.py", "tests/test_concurrency_async.py"),
}
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Spent:
    """Of one process: seconds of wall clock, of processor time with its children's, its exit code, what it said."""

    wall: float
    processor: float
    code: int
    said: str

    @property
    def last_line(self) -> str:
        return "".join(self.said.strip().splitlines()[-1:])


def spent(command: Sequence[str], folder: Path, variables: Mapping[str, str]) -> Spent:
    """What a process takes from its start to its end."""
    with tempfile.TemporaryFile() as output:
        began = time.perf_counter()
        process = subprocess.Popen(
            command, cwd=folder, env={**os.environ, **variables}, stdout=output, stderr=subprocess.STDOUT
        )
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        wall = time.perf_counter() - began
        output.seek(0)
        said = output.read().decode(errors="replace")
    return Spent(wall, used.ru_utime + used.ru_stime, process.returncode, said)


def tested(command: Sequence[str], folder: Path, variables: Mapping[str, str]) -> tuple[Spent, dict[str, str]]:
    """The same of a run of pytest, and what became of each test: passed, failure, error or skipped."""
    with tempfile.TemporaryDirectory(prefix="matrix-bench-") as scratch:
        report = Path(scratch) / "report.xml"
        one = spent([*command, "-q", "-p", "no:cacheprovider", f"--junit-xml={report}"], folder, variables)
        cases = ElementTree.parse(report).iter("testcase") if report.exists() else ()
        return one, {f"{each.get('classname')}.{each.get('name')}": _became(each) for each in cases}


def _became(case: ElementTree.Element) -> str:
    return next((each.tag for each in case if each.tag in ("failure", "error", "skipped")), "passed")


def cells(names: Sequence[str], trees: Mapping[str, Path], envs: Path, pairs: int, brief: bool, tell: Tell) -> Measured:
    """Each cell in each tree, ``pairs`` times: what is on record (``brief``), or all orders. ``envs`` has the cells'
    environments."""
    taken: dict[tuple[str, str], list[Spent]] = {}
    notes = []
    for name in names:
        python = envs / name / "bin" / "python"
        if not python.exists():
            notes.append(f"{name} has no environment in {envs} (tox -e {name} --notest)")
            continue
        for turn in range(pairs):
            for tree in list(trees)[:: 1 if turn % 2 == 0 else -1]:  # a trend of the machine hits both alike
                tell(f"{name}, {turn + 1} of {pairs}, {tree}")
                with tempfile.TemporaryDirectory(prefix="matrix-bench-") as results:
                    command = [str(python.absolute()), "-m", "matrix.cell", name, "--results", results]
                    command.append("--brief" if brief else "--full-first")
                    one = spent(command, trees[tree], {"PYTHONPYCACHEPREFIX": str(envs / "bytecode" / tree)})
                    if not (Path(results) / f"{name}.jsonl").exists():
                        notes.append(f"{name}, {tree}: no result, exit code {one.code}: {one.last_line}")
                        continue
                taken.setdefault((name, tree), []).append(one)
    title = f"Cells, {'what is on record' if brief else 'all orders'}: {pairs} times in each tree, turn about"
    return Measured(title, CELL_COLUMNS, tuple(rows_of(taken, list(trees))), ". ".join(notes))


def rows_of(taken: Mapping[tuple[str, str], Sequence[Spent]], trees: Sequence[str]) -> list[tuple[Any, ...]]:
    """A row for each cell and tree, then the sum of all cells, each beside the first tree's."""
    median = statistics.median
    medians = {
        key: (median(each.wall for each in found), median(each.processor for each in found))
        for key, found in taken.items()
    }
    known = dict.fromkeys(name for name, _ in medians)
    names = [name for name in known if all((name, tree) in medians for tree in trees)]
    for tree in trees if len(names) > 1 else ():
        own = [medians[name, tree] for name in names]
        medians["all of them", tree] = sum(wall for wall, _ in own), sum(processor for _, processor in own)
    rows: list[tuple[Any, ...]] = []
    for (name, tree), (wall, processor) in medians.items():
        first = medians.get((name, trees[0]))
        ratios = (wall / first[0], processor / first[1]) if first else (None, None)
        rows.append((name, tree, wall, processor, *ratios))
    return rows


def peers(checkouts: Mapping[str, Path], tell: Tell) -> Measured:
    """The drivers' own tests, in checkouts of them, against a private PostgreSQL."""
    rows, notes = [], []
    for name, folder in checkouts.items():
        tell(f"the tests of {name}")
        try:
            with servers.acquire("postgres", progress=tell) as server:
                command = [sys.executable, "-m", "pytest", "-p", "no:asyncio", *PEERS[name]]
                one, tests = tested(command, folder, _reached(server))
        except servers.ServerError as error:
            notes.append(f"{name}: {error}")
            continue
        count = len(tests) - list(tests.values()).count("skipped")
        if not count:
            notes.append(f"{name}: no test ran: {one.last_line}")
        rows.append((name, count, one.wall, one.processor, one.wall / count * 1000 if count else None))
    return Measured("Peers: drivers' own tests of pool and cancellation", PEER_COLUMNS, tuple(rows), ". ".join(notes))


def _reached(server: Any) -> dict[str, str]:
    """How the tests of both are told of a server."""
    address = {"HOST": server.host, "PORT": str(server.port), "USER": server.user, "PASSWORD": server.password}
    found = {f"PG{key}": value for key, value in address.items()} | {"PGDATABASE": "postgres"}
    return {**found, "PSYCOPG_TEST_DSN": "dbname=postgres"}

"""A cell's scenarios spread over processes: order, what is sent along, and processes that die."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from matrix.harness.cell import CellError
from matrix.harness.processes import Processes, ScenarioJob

ROOT = Path(__file__).parents[3]


class Cell:
    """Has a number for a database; a fork has its own."""

    def __init__(self) -> None:
        self.made = 0
        self.here = 0

    def new_databases(self):
        self.made += 1
        return [self.made]

    def switch_to(self, databases):
        self.here = databases[0]


def work(cell, scenario, given):
    return {"scenario": scenario, "pid": os.getpid(), "database": cell.here, "given": given}


def died(scenario, reason):
    return {"scenario": scenario, "verdict": "error", "reason": reason}


@pytest.fixture
def spread():
    """``spread(jobs, work, count)`` -> the lines by scenario, asked for in the order of the jobs."""
    made = []

    def run(jobs, work=work, count=2):
        learned = {}
        processes = Processes(Cell(), count, jobs, work, died, lambda line: learned.update({line["scenario"]: line}))
        made.append(processes)
        names = [job.scenario for job in jobs]

        async def all_of_them():
            return {name: await processes.line(name) for name in names}

        lines = asyncio.run(all_of_them())
        assert learned == lines
        return lines

    yield run
    for processes in made:
        processes.close()


def test_each_process_has_databases_of_its_own(spread):
    lines = spread([ScenarioJob(name) for name in "abcdef"])
    assert list(lines) == list("abcdef")
    assert os.getpid() not in {line["pid"] for line in lines.values()}
    used = {(line["pid"], line["database"]) for line in lines.values()}
    assert len({pid for pid, _ in used}) == len({database for _, database in used}) == len(used) == 2


def test_a_job_begins_when_those_that_it_needs_are_done(spread):
    done = []

    def late(cell, scenario, given):
        if scenario in "ab":
            time.sleep(0.05)  # long enough for the other process to be idle
        return work(cell, scenario, given)

    jobs = [ScenarioJob("a"), ScenarioJob("b"), ScenarioJob("c", frozenset("ab"), lambda: list(done))]
    processes = Processes(Cell(), 3, jobs, late, died, lambda line: done.append(line["scenario"]))
    try:
        line = asyncio.run(processes.line("c"))
    finally:
        processes.close()
    assert sorted(line["given"]) == ["a", "b"]


def test_a_process_that_dies_is_an_error_of_its_scenario_and_of_no_other(spread):
    def work_or_die(cell, scenario, given):
        if scenario == "b":
            os.write(2, b"last words")
            os.kill(os.getpid(), signal.SIGSEGV)
        return work(cell, scenario, given)

    lines = spread([ScenarioJob(name) for name in "abcd"], work_or_die, count=1)
    assert lines["b"]["verdict"] == "error"
    assert "died of SIGSEGV" in lines["b"]["reason"]
    assert "last words" in lines["b"]["reason"]
    assert lines["a"]["database"] != lines["c"]["database"] == lines["d"]["database"]  # the dead one left its tables
    assert lines["a"]["pid"] != lines["c"]["pid"] == lines["d"]["pid"]


def test_where_no_databases_can_be_made_any_more_the_dead_one_is_told_first_and_then_that():
    """As when the server died and took the process with it: not 'handle is closed' for everything that follows."""

    class Dying(Cell):
        def new_databases(self):
            if self.made:
                raise CellError("the server is gone")
            return super().new_databases()

    def dies(cell, scenario, given):
        os.kill(os.getpid(), signal.SIGSEGV)

    processes = Processes(Dying(), 1, [ScenarioJob("a"), ScenarioJob("b")], dies, died, lambda line: None)
    try:
        assert "SIGSEGV" in asyncio.run(processes.line("a"))["reason"]
        for _ in range(2):
            with pytest.raises(CellError, match="the server is gone"):
                asyncio.run(processes.line("b"))
    finally:
        processes.close()


def test_what_a_process_fails_with_is_said(spread):
    def fails(cell, scenario, given):
        raise LookupError("no such thing")

    assert "LookupError: no such thing" in spread([ScenarioJob("a")], fails)["a"]["reason"]


def test_closing_ends_what_runs():
    def never(cell, scenario, given):
        while True:
            signal.pause()

    processes = Processes(Cell(), 1, [ScenarioJob("a")], never, died, lambda line: None)

    async def begin():
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(processes.line("a"), 0.2)

    asyncio.run(begin())
    (pid,) = [process.pid for process in processes._processes]
    processes.close()
    processes.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_they_end_with_who_started_them(tmp_path):
    script = tmp_path / "starts.py"
    script.write_text(
        "import asyncio, os, signal, sys\n"
        f"sys.path.insert(0, {str(ROOT)!r})\n"
        "from matrix.harness.processes import Processes, ScenarioJob\n"
        "from tests.unit.harness.test_processes import Cell, died\n"
        "told = os.dup(1)\n"
        "def never(cell, scenario, given):\n"
        "    os.write(told, f'{os.getpid()}\\n'.encode())\n"
        "    signal.pause()\n"
        "asyncio.run(Processes(Cell(), 1, [ScenarioJob('a')], never, died, print).line('a'))\n"
    )
    parent = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    assert int(parent.stdout.readline()) > 0
    parent.kill()
    parent.wait()
    # The child is the last one that holds this pipe: it ends when the child does.
    assert parent.stdout.read() == ""
    parent.stdout.close()

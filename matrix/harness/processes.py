"""Spreads the scenarios of a cell over several processes, each with databases of its own in the cell's servers.

A process is a fork of the one that opened the cell. It runs one job at a time and answers with the result line; what a
job needs of the lines before it is sent along. A process that dies is an ``error`` of the scenario it was running.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import gc
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import IO, Any

from matrix.lines import ScenarioLine
from matrix.parent import end_with

from .cell import Cell, CellDatabase
from .history import without_folders

JOB_SECONDS = 600  # seconds that one job may take before its process shows its stacks and ends
Work = Callable[[Cell, str, Any], ScenarioLine]


def cores() -> int:
    """How many processes can run at a time here."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True)
class ScenarioJob:
    """One scenario. ``after``: the scenarios whose lines must be there before it begins; ``given``: what it is told of
    them, asked for when it begins."""

    scenario: str
    after: frozenset[str] = frozenset()
    given: Callable[[], Any] = lambda: None


@dataclass
class _Process:
    pid: int
    pipe: Connection
    output: IO[bytes]
    running: str = ""


@dataclass
class Processes:
    """``count`` processes for ``jobs``, begun in their order.

    ``work(cell, scenario, given)`` runs in them and gives a line; ``died(scenario, reason)`` makes the line of one that
    was not finished. ``learn`` is told each line as soon as it is there.
    """

    cell: Cell
    count: int
    jobs: list[ScenarioJob]
    work: Work
    died: Callable[[str, str], ScenarioLine]
    learn: Callable[[ScenarioLine], None]
    _processes: list[_Process] = field(default_factory=list)
    _lines: dict[str, ScenarioLine] = field(default_factory=dict)
    _done: set[str] = field(default_factory=set)

    def begin(self, jobs: Sequence[ScenarioJob]) -> None:
        """Have these done too, by the same processes, when all before are done."""
        self.jobs = list(jobs)
        self._done.clear()

    async def line(self, scenario: str) -> ScenarioLine:
        """The result line of one of the jobs, as soon as it is there. Give lines to nobody twice. Raises CellError
        where no databases can be made for a process."""
        while scenario not in self._lines:
            # Also in the place of one that died, with databases of its own: in those of the dead are its tables, and
            # the server may not have missed it yet.
            lacking = min(self.count - len(self._processes), len(self.jobs))
            every = [self.cell.new_databases() for _ in range(lacking)]
            self._processes += [self._fork(databases) for databases in every]
            self._hand_out()
            await self._receive()
        return self._lines.pop(scenario)

    def close(self) -> None:
        """End them, whatever they are doing. Never raises; idempotent."""
        for process in self._processes:
            with contextlib.suppress(OSError):
                os.kill(process.pid, signal.SIGKILL)
            self._reap(process)
        self._processes.clear()

    # -- here ------------------------------------------------------------------------------------------------------
    def _hand_out(self) -> None:
        """Give each idle process the first job that may begin."""
        for process in self._processes:
            job = None if process.running else next((each for each in self.jobs if each.after <= self._done), None)
            if job is None:
                continue
            self.jobs.remove(job)
            process.running = job.scenario
            with contextlib.suppress(OSError):  # it has died: the news will be that
                process.pipe.send((job.scenario, job.given()))

    async def _receive(self) -> None:
        """Wait until one of the busy processes answers or dies, and take what there is."""
        busy = [process for process in self._processes if process.running]
        loop = asyncio.get_running_loop()
        readable = asyncio.Event()
        for process in busy:
            loop.add_reader(process.pipe.fileno(), readable.set)
        try:
            await readable.wait()
        finally:
            for process in busy:
                loop.remove_reader(process.pipe.fileno())
        for process in busy:
            if process.pipe.poll():
                self._read_line(process)

    def _read_line(self, process: _Process) -> None:
        scenario, process.running = process.running, ""
        try:
            line = process.pipe.recv()
        except (EOFError, OSError):
            self._processes.remove(process)
            line = self.died(scenario, self._reap(process))
        self.learn(line)
        self._lines[scenario] = line
        self._done.add(scenario)

    def _reap(self, process: _Process) -> str:
        """How a process ended, in words."""
        process.pipe.close()
        status = 0
        with contextlib.suppress(ChildProcessError):
            _, status = os.waitpid(process.pid, 0)
        process.output.seek(0)
        words = without_folders(process.output.read().decode(errors="replace").strip())
        process.output.close()
        if os.WIFSIGNALED(status):
            how = f"died of {signal.Signals(os.WTERMSIG(status)).name}"
        else:
            how = f"ended with {os.waitstatus_to_exitcode(status)}"
        return f"the process that ran it {how}{': ' if words else ''}{words}"

    def _fork(self, databases: list[CellDatabase]) -> _Process:
        here, there = Pipe()
        output = tempfile.TemporaryFile()  # noqa: SIM115 - closed when the process is buried
        sys.stdout.flush()
        sys.stderr.flush()
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            here.close()
            self._child(databases, there, output, parent)
        there.close()
        return _Process(pid, here, output)

    # -- there -----------------------------------------------------------------------------------------------------
    def _child(self, databases: list[CellDatabase], pipe: Connection, output: IO[bytes], parent: int) -> None:
        """The life of a process; never returns. What it holds of its parent's it leaves alone."""
        status = 1
        try:
            end_with(parent)  # where the kernel does not see to that, the pipe's end does
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # its parent decides
            os.dup2(output.fileno(), 1)
            os.dup2(output.fileno(), 2)
            for process in self._processes:
                process.pipe.close()
            asyncio._set_running_loop(None)
            faulthandler.enable(output.fileno())
            # Not dump_traceback_later: its thread, which pytest has started, is not here, and would be waited for.
            faulthandler.register(signal.SIGALRM, output.fileno(), all_threads=True, chain=True)
            self.cell.switch_to(databases)
            gc.freeze()
            for scenario, given in _asked(pipe):
                signal.alarm(JOB_SECONDS)
                line = self.work(self.cell, scenario, given)
                signal.alarm(0)
                pipe.send(line)
            status = 0
        except BaseException as error:
            os.write(output.fileno(), f"{type(error).__name__}: {error}".encode())
        finally:
            os._exit(status)


def _asked(pipe: Connection) -> Iterator[tuple[str, Any]]:
    while True:
        try:
            yield pipe.recv()
        except EOFError:
            return

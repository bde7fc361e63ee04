"""A plugin for pytest: it collects the tests once, and runs those that reach a mutant in a fork for each. Which ones
reach what, and how long they take, is seen in a first fork, in which nothing is mutated and all must pass.

What it is told stands in the file of $MUTATION: ``mutants`` (of each at least its ``name``), how many at a time
(``slots``), and two more files: ``reached``, which is written where it is missing, and ``record``, to which a line is
added for each mutant as it ends. Tests of it have less patience (``spare``).
"""

from __future__ import annotations

import collections
import contextlib
import gc
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any

import pytest
from mutmut.mutation.trampoline import set_mutant_under_test
from mutmut.state import state

from matrix.parent import end_with
from tests.unit.mutation.apart import ENDED_BY, go_apart

PASSED, FAILED, NOT_PREPARED = 0, 1, 2
OVER = {signal.SIGPROF, signal.SIGALRM}
# A test may take some times what it took, and some seconds more: a mutant that goes round and round is known by its
# processor's time. Waiting is looked at with more patience, as the machine may be busy.
CPU, WAIT, SPARE = 3, 4, (2.0, 10.0)
FIRST = 5  # tests that ended most mutants of a function are asked first about the next one


Started = tuple[dict[str, Any], float, IO[bytes]]  # a mutant, when, and where it writes which tests it was asked by


def function_of(mutant: str) -> str:
    return mutant.partition("__mutmut_")[0]


class Calls(set[str]):
    """The functions that are called in this process and in forks of it."""

    def __init__(self) -> None:
        super().__init__()
        self._owner = os.getpid()
        self._of_forks = tempfile.TemporaryFile()  # noqa: SIM115 - as long as we are there
        self._read = 0

    def add(self, name: str) -> None:
        if name not in self and os.getpid() != self._owner:
            os.write(self._of_forks.fileno(), f"{name}\n".encode())
        super().add(name)

    def take(self) -> set[str]:
        """Those since the last time."""
        size = os.fstat(self._of_forks.fileno()).st_size
        said = os.pread(self._of_forks.fileno(), size - self._read, self._read)
        self._read = size
        taken = {*self, *said.decode().split()}
        self.clear()
        return taken


class Looks:
    """What each test reaches, by itself or by the fixtures that it shares with others, and what it takes."""

    def __init__(self) -> None:
        self.calls = state()._stats = Calls()
        self.of_fixture: dict[str, set[str]] = collections.defaultdict(set)
        self.took: dict[str, tuple[float, float]] = {}  # by fixtures that tests share
        self.of_test: dict[str, dict[str, Any]] = {}

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: Any, request: Any) -> Any:
        before = self.calls.take()
        seconds, cpu = time.monotonic(), time.process_time()
        try:
            return (yield)
        finally:
            if fixturedef.scope != "function":
                took = time.monotonic() - seconds, time.process_time() - cpu
                self.took[fixturedef.argname] = max(took, self.took.get(fixturedef.argname, took))
            made = self.calls.take()
            self.of_fixture[fixturedef.argname] |= made
            for name in before | made:
                self.calls.add(name)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: Any) -> Any:
        seconds, cpu = time.monotonic(), time.process_time()
        try:
            return (yield)
        finally:
            self.of_test[item.nodeid] = {
                "seconds": time.monotonic() - seconds,
                "cpu": time.process_time() - cpu,
                "reaches": self.calls.take(),
            }

    def found(self, items: Iterable[Any]) -> dict[str, dict[str, Any]]:
        """As if each test had to make all that it shares with others itself: in a fork it may be alone."""
        for item in items:
            found = self.of_test[item.nodeid]
            for seconds, cpu in (self.took[each] for each in item.fixturenames if each in self.took):
                found["seconds"] += seconds
                found["cpu"] += cpu
            found["reaches"] = sorted(found["reaches"].union(*(self.of_fixture[each] for each in item.fixturenames)))
        return self.of_test


class Forks:
    def __init__(self, told: dict[str, Any]) -> None:
        self.mutants: list[dict[str, Any]] = told["mutants"]
        self.slots: int = told["slots"]
        self.spare: tuple[float, float] = told.get("spare", SPARE)
        self.reached, self.record = Path(told["reached"]), Path(told["record"])
        self.failed: Any = None
        self.tests: dict[str, dict[str, Any]] = {}
        self.reaching: dict[str, list[str]] = collections.defaultdict(list)
        self.killers: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.failed and self.failed is None:
            self.failed = report

    def pytest_runtestloop(self, session: Any) -> bool:
        self.session = session
        self.items = {item.nodeid: item for item in session.items}
        gc.freeze()
        if session.testsfailed or not (self.reached.exists() or self._look()):
            session.testsfailed += 1
            return True
        self.tests = json.loads(self.reached.read_text("utf-8"))
        for test, found in sorted(self.tests.items(), key=lambda each: each[1]["seconds"]):
            for function in found["reaches"]:
                self.reaching[function].append(test)
        self._run_all()
        return True

    def _look(self) -> bool:
        def look() -> None:
            looks = Looks()
            self.session.config.pluginmanager.register(looks)
            for report in self._run([*self.items.values()], lambda _: None):
                sys.stderr.write(f"\n{report.longreprtext}\nwithout any mutant {report.nodeid} fails\n")
                os._exit(FAILED)
            self.reached.write_text(json.dumps(looks.found(self.items.values())), "utf-8")

        looks = self._fork("stats", look, quiet=False)
        try:
            return os.waitpid(looks, 0)[1] == PASSED
        finally:
            shutil.rmtree(self._folder(looks), ignore_errors=True)

    def _run_all(self) -> None:
        running: dict[int, Started] = {}
        for number, mutant in enumerate(self.mutants):
            function = function_of(mutant["name"])
            tests = self.reaching[function]
            if not tests:
                self._write(mutant, "no tests", [], 0.0, 0.0)
                continue
            while len(running) >= self.slots:
                self._end_one(running)
            first = [test for test, _ in self.killers[function].most_common(FIRST)]
            tests = [*first, *(test for test in tests if test not in first)]
            said = tempfile.TemporaryFile()  # noqa: SIM115 - until the mutant has ended
            pid = self._fork(mutant["name"], lambda tests=tests, said=said: self._try(tests, said))
            running[pid] = mutant, time.monotonic(), said
            if number % 50 == 0:
                sys.stderr.write(f"{number} of {len(self.mutants)}\n")
        while running:
            self._end_one(running)

    def _end_one(self, running: dict[int, Started]) -> None:
        pid, status, usage = os.wait4(-1, 0)
        mutant, began, said = running.pop(pid)
        with said:
            said.seek(0)
            asked = said.read().decode().splitlines()
        code = os.waitstatus_to_exitcode(status)
        number = code - ENDED_BY if code > ENDED_BY else -code
        ended = "survived" if code == PASSED else "timeout" if number in OVER else "killed"
        self._write(mutant, ended, asked, usage.ru_utime + usage.ru_stime, time.monotonic() - began)
        if ended != "survived":
            self.killers[function_of(mutant["name"])].update(asked[-1:])
        shutil.rmtree(self._folder(pid), ignore_errors=True)

    def _write(self, mutant: dict[str, Any], ended: str, asked: list[str], cpu: float, seconds: float) -> None:
        line = {**mutant, "state": ended, "tests": len(asked), "last": asked[-1] if asked else ""}
        with self.record.open("a", encoding="utf-8") as record:
            record.write(json.dumps({**line, "cpu": round(cpu, 3), "seconds": round(seconds, 3)}) + "\n")

    def _fork(self, active: str, run: Callable[[], None], *, quiet: bool = True) -> int:
        parent = os.getpid()
        if pid := os.fork():
            return pid
        try:
            end_with(parent)
            folder = self._folder(os.getpid())
            if quiet:
                null = os.open(os.devnull, os.O_RDWR)
                for number in (0, 1, 2):
                    os.dup2(null, number)
            set_mutant_under_test(active)
            go_apart()
            folder.mkdir()
            os.environ["TMPDIR"] = tempfile.tempdir = str(folder)
            run()
            os._exit(PASSED)
        finally:
            os._exit(FAILED)

    def _folder(self, pid: int) -> Path:
        return Path(tempfile.gettempdir()) / f"mutant-{pid}"

    def _try(self, tests: list[str], asked: IO[bytes]) -> None:
        def begins(test: str) -> None:
            os.write(asked.fileno(), f"{test}\n".encode())
            took = self.tests[test]
            signal.setitimer(signal.ITIMER_PROF, took["cpu"] * CPU + self.spare[0])
            signal.setitimer(signal.ITIMER_REAL, took["seconds"] * WAIT + self.spare[1])

        for _ in self._run([self.items[test] for test in tests], begins):
            os._exit(FAILED)

    def _run(self, items: list[Any], begins: Callable[[str], None]) -> Iterator[Any]:
        """The report of one that fails, when it has."""
        for item, following in zip(items, [*items[1:], None], strict=True):
            begins(item.nodeid)
            item.ihook.pytest_runtest_protocol(item=item, nextitem=following)
            if self.failed is not None:
                with contextlib.suppress(Exception):
                    self.session._setupstate.teardown_exact(None)
                yield self.failed
                return


def pytest_configure(config: Any) -> None:
    config.pluginmanager.register(Forks(json.loads(Path(os.environ["MUTATION"]).read_text("utf-8"))))

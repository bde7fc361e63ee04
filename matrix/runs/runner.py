"""Runs jobs: environments by uv, one server per version, cells side by side.

First the store is asked: a cell whose inputs are unchanged is taken from there. A cell that cannot be had (does not
install, does not import) is a result as well. What has been done stays done, whenever the run is interrupted.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from matrix import files, servers
from matrix.harness import known_schedules
from matrix.harness.cell_name import UVLOOP as uvloop_reason
from matrix.harness.drivers import drivers
from matrix.lines import Axes, Header
from matrix.results.following import Follower, ScenarioDone
from matrix.results.read import CellResult, ResultError, read_cell
from matrix.results.write import ResultWriter, WriteError, utc_now
from matrix.runs import RunError, cells, environments, process, registry, releases
from matrix.runs.children import Children
from matrix.runs.inputs import digest, of_suite
from matrix.runs.jobs import DEEPEN, Done, Job
from matrix.runs.shared_servers import Servers
from matrix.runs.store import Store
from matrix.servers.builds import belongs
from matrix.words import FULL, RECORD, SCHEMA

UVLOOP = "does not apply: " + uvloop_reason
FOLLOWED = 0.5  # seconds between two looks at what a cell says of itself
LOOKUPS = 4  # jobs for each worker that are looked up in the store at a time: that is waiting for files and for uv


@dataclass(frozen=True)
class Ready:
    """A job that has to run: what it installs, on which Python, and the digest of all that decides its result."""

    job: Job
    python: environments.Python
    locked: tuple[str, ...]
    inputs: str


class JobRunner:
    """Runs jobs; ``results`` is the folder that gets ``<cell>.jsonl``. ``jobs`` are all that it will be given.

    ``environments_at``: the folder of the cells' environments, which somebody else has made (tox). Then nothing is
    resolved, installed or stored, and servers are those that a cell finds by itself.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        results: Path,
        *,
        fresh: bool = False,
        resolve_again: bool = False,
        environments_at: Path | None = None,
    ) -> None:
        self.later = {job.cell: job for job in jobs if DEEPEN in job.arguments}
        self.environments_at = environments_at
        self.results = results
        self.fresh = fresh
        self.resolve_again = resolve_again
        self.axes = releases.load()
        self.store = Store(environments.state_folder() / "store")
        self.logs = environments.state_folder() / "logs"
        self.servers = Servers(Counter(spec for job in jobs for spec in self.specs(job)))
        self.processes = 1  # of each cell
        self.deciding = of_suite()
        self._known_schedules = (
            json.loads(known_schedules.FILE.read_text(encoding="utf-8")) if known_schedules.FILE.exists() else {}
        )
        self._children = Children()
        self._stopping = False
        self.scenario: Callable[[Job, ScenarioDone], None] = lambda job, fact: None  # hears of each that is through

    def specs(self, job: Job) -> list[str]:
        """The servers of a job: where its name says no version, the newest of the axis, on every machine."""
        return cells.server_specs(job.name, None if self.environments_at else self.axes.servers)

    def _path(self, job: Job) -> Path:
        return self.results / f"{job.cell}.jsonl"

    # -- all jobs --------------------------------------------------------------------------------------------------
    def run(
        self,
        jobs: Sequence[Job],
        workers: int,
        on_done: Callable[[Done], None],
        began: Callable[[Job], None] = lambda job: None,
    ) -> None:
        """These jobs, ``workers`` at a time: first what the store has, then the others, the newest releases and the
        costliest first. ``on_done`` hears of each as it is done. Servers that later jobs need stay.

        A KeyboardInterrupt ends the cells that run and is raised again; what is done is kept.
        """
        self.results.mkdir(parents=True, exist_ok=True)
        self.processes = max(1, (os.cpu_count() or 1) // workers)
        with ThreadPoolExecutor(workers * LOOKUPS) as threads:
            try:
                waiting = self._from_the_store(jobs, threads, on_done)
                running: set[Future[Done]] = set()
                while waiting or running:
                    while waiting and len(running) < workers:
                        ready = waiting.pop(0)
                        began(ready.job)
                        running.add(threads.submit(self._guarded, ready.job, self._run, ready))
                    done, running = wait(running, return_when=FIRST_COMPLETED)
                    for each in done:
                        on_done(each.result())
            except BaseException:
                threads.shutdown(wait=False, cancel_futures=True)
                self.end_children()
                raise

    def _from_the_store(
        self, jobs: Sequence[Job], threads: ThreadPoolExecutor, on_done: Callable[[Done], None]
    ) -> list[Ready]:
        """Tells of the jobs that need not run. Returns the others in the order in which they begin."""
        waiting = []
        for future in [threads.submit(self._guarded, job, self._look_up, job) for job in jobs]:
            found = future.result()
            if isinstance(found, Ready):
                waiting.append(found)
            else:
                on_done(found)
        return sorted(waiting, key=lambda ready: (not ready.job.name.default, -ready.job.seconds, ready.job.cell))

    def end_children(self) -> None:
        self._stopping = True
        self._children.end()

    # -- one job ---------------------------------------------------------------------------------------------------
    def one(self, job: Job) -> Done:
        """One cell from beginning to end. Never raises: what goes wrong is in what it returns."""
        found = self._guarded(job, self._look_up, job)
        return self._guarded(job, self._run, found) if isinstance(found, Ready) else found

    def _guarded(self, job: Job, do: Callable[[Any], Any], what: Job | Ready) -> Any:
        """What a step of a job returns. Never raises; when the job is through, its servers hear of it."""
        found: Done | Ready
        try:
            found = do(what)
        except (RunError, servers.ServerError, ResultError, WriteError) as problem:
            found = Done(job, "failed", None, str(problem))  # says nothing of the driver: an older result stays
        except (OSError, ValueError) as problem:
            found = Done(job, "failed", None, f"{type(problem).__name__}: {problem}")
        if isinstance(found, Done):
            self.servers.through(self.specs(job))
        return found

    def _look_up(self, job: Job) -> Done | Ready:
        """The result from the store, or that the cell cannot be had; else what is needed to run it."""
        if job.name.loop == "uvloop":
            return self._absent(job, UVLOOP)
        if self.environments_at is not None:
            made = self.environments_at / job.cell / "bin" / "python"
            if not made.exists():
                return Done(job, "failed", None, f"no environment: make it with tox -e {job.cell} --notest")
            return Ready(job, environments.Python("", "", made.absolute()), (), "")
        try:
            python = environments.interpreter(job.name.python)
            wanted = cells.requirements(job.name, self.axes, job.places)
            locked = environments.resolve(wanted, python, again=self.resolve_again)
        except environments.NotInstallable as problem:
            return self._absent(job, f"does not install: {problem}")
        digests = {}
        for each in (self.later.get(job.cell, job), job):  # all orders first: they say all that the record does
            digests[each] = self.inputs(each, python, locked, self.specs(job))
            if not self.fresh and (kept := self.store.find(self._path(job), digests[each])):
                return Done(job, "kept", kept)
        return Ready(job, python, locked, digests[job])

    def _run(self, ready: Ready) -> Done:
        """Run the cell in its environment, made if need be."""
        job, locked, inputs = ready.job, ready.locked, ready.inputs
        began = time.monotonic()
        try:
            python = ready.python.path
            if self.environments_at is None:  # made if need be
                python = cells.environment(job.name, locked, ready.python)
        except environments.NotImportable as problem:
            return self._absent(job, f"does not import: {problem}", locked)
        installed = time.monotonic()
        with contextlib.ExitStack() as stack:
            addresses = dict(stack.enter_context(self.servers.address(spec)) for spec in self.specs(job))
            served = time.monotonic()
            result, said = self._process(job, python, inputs, addresses)
        if result is None:
            return Done(job, "failed", None, said)
        shares = {"install": installed - began, "server": served - installed, "scenarios": time.monotonic() - served}
        done = Done(job, "ran", result.without_evidence(), "", shares)
        if result.header.get("depth", FULL) != job.depth:
            return replace(done, how="failed", said=f"all orders were not run to the end: {said}")
        if inputs and not done.errors:  # an error says nothing of the driver: it is tried again the next time
            self.store.keep(result, inputs)
        return done

    def inputs(self, job: Job, python: environments.Python, locked: Sequence[str], specs: Sequence[str]) -> str:
        """The digest of everything that decides the result of a job."""
        sources = [environments.content(line) for line in locked]
        parts = [job.cell, python.version, sys.platform, self.deciding, *locked, *sources, *job.only, *job.deciding]
        parts += [self.servers.known_as(spec) for spec in (*specs, job.name.pooler_spec) if spec]
        if job.depth == RECORD:
            names = job.name.base, known_schedules.own_name(job.cell, job.name.base, python.version)
            parts += [json.dumps(self._known_schedules.get(name)) for name in names]
        return digest(*parts)

    def _process(
        self, job: Job, python: Path, inputs: str, addresses: Mapping[str, str]
    ) -> tuple[CellResult | None, str]:
        """Run the cell in its environment. Returns its result, or None and what it said last."""
        processes = os.environ.get("MATRIX_PROCESSES") or str(self.processes)
        own = {"MATRIX_INPUTS": inputs, "MATRIX_PROCESSES": processes, "MATRIX_SERVER": "", **addresses}
        if job.own:
            own["MATRIX_SOURCES"] = json.dumps(job.provenance)
        only = ["--only", ",".join(job.only)] if job.only else []
        log = self.logs / f"{job.cell}.txt"
        log.parent.mkdir(parents=True, exist_ok=True)
        with self._children.folder() as folder:
            written = Path(folder) / f"{job.cell}.jsonl"
            if DEEPEN in job.arguments and self._path(job).exists():
                files.copy(self._path(job), written)
            with log.open("wb") as output, Follower(Path(folder) / "facts") as follower:
                child = process.start(
                    python, job.cell, "--results", folder, *job.arguments, *only, variables=own | follower.variables,
                    stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
                )  # fmt: skip  # a session of its own: Ctrl-C reaches it through end_children, once
                with self._children.one(child):
                    if self._stopping:
                        child.terminate()
                    code = self._followed(job, child, follower)
            # One that was killed could not say why: then people see what it printed last.
            why = follower.ended or registry.last_line(log.read_text(encoding="utf-8", errors="replace"))
            said = f"{why} (all of it: {log})"
            if not written.exists():
                return None, f"exit code {code}, no result: {said}"
            result = read_cell(written)
            answered = str(result.axes["server_version"])
            if job.name.server_version and not belongs(answered, job.name.server_version):
                server = result.header["server_string"]
                return None, f"its name says {job.name.server_spec}, and the server at the given address is {server}"
            files.copy(written, self._path(job))
        return replace(result, path=self._path(job)), said

    def _followed(self, job: Job, child: subprocess.Popen[bytes], follower: Follower) -> int:
        """Tell of each scenario as the cell's process does; its exit code."""
        code = None
        while code is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = child.wait(FOLLOWED)
            for fact in follower.read():
                self.scenario(job, fact)
        return code

    def _absent(self, job: Job, why: str, locked: Sequence[str] = ()) -> Done:
        """The result of a cell that cannot be had; kept in the store like any other."""
        inputs = digest("absent", job.cell, why, *locked)
        if not self.fresh and (kept := self.store.find(self._path(job), inputs)):
            return Done(job, "absent", kept, why)
        versions = dict(re.findall(r"^([A-Za-z0-9._-]+)==(\S+)", "\n".join(locked), re.MULTILINE))
        name = job.name
        distribution = drivers()[name.driver].distribution
        tortoise, driver = self.axes.of("tortoise-orm"), self.axes.of(distribution)
        axes: Axes = {
            "driver": name.driver,
            "driver_version": versions.get(distribution) or meant(driver, name.driver_version),
            "tortoise": versions.get("tortoise-orm") or meant(tortoise, name.tortoise),
            "server": name.server,
            "server_version": name.server_version or "",
            "python": name.python or f"{sys.version_info.major}.{sys.version_info.minor}",
            "loop": {"eager": "asyncio, eager tasks"}.get(name.loop, name.loop),
        }
        header: Header = {
            "type": "header",
            "schema": SCHEMA,
            "cell": job.cell,
            "axes": axes,
            "packages": versions,
            "server_string": None,
            "started": utc_now(),
            "planned": [],
        }
        if job.own:
            header["sources"] = job.provenance
        with ResultWriter(self._path(job), header) as writer:
            path = writer.finish(not_installed=why)
        result = read_cell(path)
        self.store.keep(result, inputs)
        return Done(job, "absent", result, why)


def meant(package: releases.Package, label: str | None) -> str:
    """The release that a cell's name means, as far as the axis knows it."""
    if label is None:
        return package.newest
    return label if label.startswith("+") else package.resolve(label) or label

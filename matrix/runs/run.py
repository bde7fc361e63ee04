"""cells -> results: ``python -m matrix run``. Environments by uv, one server per version, cells side by side.

First the store is asked: a cell whose inputs are unchanged is taken from there. A cell that cannot be had (does not
install, does not import) is a result as well. What has been done stays done, whenever the run is interrupted.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from matrix import files, servers
from matrix.harness import record
from matrix.harness.cell_name import UVLOOP as uvloop_reason
from matrix.harness.drivers import TableError, drivers, folders
from matrix.harness.scenario import chosen
from matrix.lines import Axes, Header
from matrix.results import expectations, judging
from matrix.results.cli import unmet_of
from matrix.results.read import CellResult, CellState, ResultError, read_cell
from matrix.results.text import clean
from matrix.results.write import ResultWriter, WriteError, encode, utc_now
from matrix.runs import cells, environments, registry, releases
from matrix.runs.cells import CellName
from matrix.runs.children import Children
from matrix.runs.environments import ROOT
from matrix.runs.plan import (
    OVERHEAD,
    UNKNOWN_COST,
    NoCell,
    PlanError,
    Planned,
    add_choice,
    read_costs,
    read_shard,
    shard,
)
from matrix.runs.plan import chosen as planned_by
from matrix.servers.builds import belongs
from matrix.words import SCHEMA

# What decides a verdict beside versions: the scenarios, the harness, and what wires them to pytest.
DECIDING = (
    "matrix/words.py",
    "matrix/lines.py",
    "matrix/harness",
    "tests/compliance",
    "matrix/generated",
    "matrix/cell/__main__.py",
    "matrix/cell/run.py",
    "conftest.py",
    "pytest.ini",
)
UVLOOP = "does not apply: " + uvloop_reason
KEPT_SECONDS = 30 * 24 * 3600.0  # that a result stays in the store after its last use
LOOKING = 4  # jobs for each worker that are looked up in the store at a time: that is waiting for files and for uv
# A cell gets its server and its folder from the run. Its bytecode is kept apart, whatever the caller says: compiling
# the suite and its environment anew takes longer than many a scenario.
NOT_PASSED = ("MATRIX_SERVER", "MATRIX_RESULTS", "MATRIX_POSITION", "PYTHONDONTWRITEBYTECODE")

SHOWN = 20  # of what is not as expected


class RunError(Exception):
    """The run cannot begin; the message is one line."""


@dataclass(frozen=True)
class Job:
    """One cell to run: perhaps only some scenarios, perhaps with sources of the caller's own."""

    name: CellName
    seconds: float = UNKNOWN_COST
    only: tuple[str, ...] = ()
    own: tuple[tuple[str, str], ...] = ()  # package -> path or git+…
    arguments: tuple[str, ...] = ()  # further ones for pytest, such as --orders 50

    @property
    def cell(self) -> str:
        return str(self.name)


@dataclass(frozen=True)
class Done:
    """What became of a job: ``how`` is ran, kept (from the store), absent (not to be had) or failed."""

    job: Job
    how: str
    result: CellResult | None = None
    said: str = ""
    shares: Mapping[str, float] = field(default_factory=dict)  # seconds in: install, server, scenarios

    @property
    def errors(self) -> int:
        return sum(line["verdict"] == "error" for line in self.result.scenarios) if self.result else 0


@dataclass(frozen=True)
class Ready:
    """A job that has to run: what it installs, on which Python, and the digest of all that decides its result."""

    job: Job
    python: environments.Python
    locked: tuple[str, ...]
    inputs: str


class Servers:
    """One server per version, started when the first cell needs it, stopped when the last one is through."""

    def __init__(self, needs: Counter[str]) -> None:
        self._needs = needs  # by spec: how many jobs will still ask
        self._lock = threading.Lock()
        self._locks: dict[str, threading.Lock] = {}
        self._running: dict[str, servers.Server] = {}
        self._keys: dict[str, str] = {}

    def known_as(self, spec: str) -> str:
        """What decides the result of a server: its exact release and where its programs came from."""
        from matrix.servers import builds
        from matrix.servers.address import given_address
        from matrix.servers.catalogue import kind_of, parse_spec

        wanted = parse_spec(spec)
        address = given_address(kind_of(wanted))
        if address:
            return f"given {address.host}:{address.port}"
        with self._of(spec):
            if spec not in self._keys:
                build = builds.resolve(wanted, servers_quiet)
                self._keys[spec] = f"{build.kind} {build.release} ({build.origin})"
            return self._keys[spec]

    @contextlib.contextmanager
    def address(self, spec: str) -> Iterator[tuple[str, str]]:
        """The variable and the address for a cell's process. Raises ServerError."""
        from matrix.servers.catalogue import kind_of, parse_spec

        kind, key = parse_spec(spec), self.known_as(spec)
        with self._of(key):
            server = self._running.get(key)
            if server is None or not server.alive():
                if server is not None:
                    server.stop()
                server = self._running[key] = servers.acquire(spec)
        yield kind_of(kind).variable, server.url

    def through(self, specs: Sequence[str]) -> None:
        """A job that needs these is through; what nobody needs any more is stopped."""
        with self._lock:
            self._needs.subtract(specs)
            needed = {self._keys.get(spec, spec) for spec, count in self._needs.items() if count > 0}
            idle = [key for key in self._running if key not in needed and not key.startswith("given ")]
            stopping = [self._running.pop(key) for key in idle]
        for server in stopping:
            server.stop()

    def stop(self) -> None:
        with self._lock:
            stopping, self._running = list(self._running.values()), {}
        for server in stopping:
            server.stop()

    def _of(self, key: str) -> threading.Lock:
        with self._lock:
            return self._locks.setdefault(key, threading.Lock())


def servers_quiet(_: str) -> None:
    """Servers say nothing here; the progress is the run's own."""


class Runner:
    """Runs jobs; ``results`` is the folder that gets ``<cell>.jsonl``."""

    def __init__(self, jobs: Sequence[Job], results: Path, *, fresh: bool = False, resolve_again: bool = False) -> None:
        self.jobs = list(jobs)
        self.results = results
        self.fresh = fresh
        self.resolve_again = resolve_again
        self.axes = releases.load()
        self.store = environments.state_folder() / "store"
        self.logs = environments.state_folder() / "logs"
        self.servers = Servers(Counter(spec for job in jobs for spec in self.specs(job)))
        self.processes = 1  # of each cell
        self.deciding = deciding_digest()
        self._on_record = json.loads(record.FILE.read_text(encoding="utf-8")) if record.FILE.exists() else {}
        self._children = Children()
        self._stopping = False

    def specs(self, job: Job) -> list[str]:
        """The servers of a job: where its name says no version, the newest of the axis, on every machine."""
        return cells.server_specs(job.name, self.axes.servers)

    # -- all jobs --------------------------------------------------------------------------------------------------
    def run(self, workers: int, told: Callable[[Done], None], began: Callable[[Job], None] = lambda job: None) -> None:
        """All jobs, ``workers`` at a time: first what the store has, then the others, the costliest first. ``told``
        hears of each as it is done.

        A KeyboardInterrupt ends the cells that run and is raised again; what is done is kept.
        """
        self.results.mkdir(parents=True, exist_ok=True)
        self.processes = max(1, (os.cpu_count() or 1) // workers)
        with ThreadPoolExecutor(workers * LOOKING) as threads:
            try:
                waiting = self._from_the_store(threads, told)
                running: set[Future[Done]] = set()
                while waiting or running:
                    while waiting and len(running) < workers:
                        ready = waiting.pop(0)
                        began(ready.job)
                        running.add(threads.submit(self._guarded, ready.job, self._run, ready))
                    done, running = wait(running, return_when=FIRST_COMPLETED)
                    for each in done:
                        told(each.result())
            except BaseException:
                threads.shutdown(wait=False, cancel_futures=True)
                self.end_children()
                raise
            finally:
                self.servers.stop()

    def _from_the_store(self, threads: ThreadPoolExecutor, told: Callable[[Done], None]) -> list[Ready]:
        """Tells of the jobs that need not run. Returns the others, the costliest first."""
        waiting = []
        for future in [threads.submit(self._guarded, job, self._look, job) for job in self.jobs]:
            found = future.result()
            if isinstance(found, Ready):
                waiting.append(found)
            else:
                told(found)
        return sorted(waiting, key=lambda ready: (-ready.job.seconds, ready.job.cell))

    def end_children(self) -> None:
        self._stopping = True
        self._children.end()

    # -- one job ---------------------------------------------------------------------------------------------------
    def one(self, job: Job) -> Done:
        """One cell from beginning to end. Never raises: what goes wrong is in what it returns."""
        found = self._guarded(job, self._look, job)
        return self._guarded(job, self._run, found) if isinstance(found, Ready) else found

    def _guarded(self, job: Job, do: Callable[[Any], Any], what: Job | Ready) -> Any:
        """What a step of a job returns. Never raises; when the job is through, its servers hear of it."""
        found: Done | Ready
        try:
            found = do(what)
        except (
            registry.RegistryError,
            servers.ServerError,
            releases.ReleasesError,
            ResultError,
            WriteError,
        ) as problem:
            found = Done(job, "failed", None, str(problem))
        except (OSError, ValueError) as problem:
            found = Done(job, "failed", None, f"{type(problem).__name__}: {problem}")
        if isinstance(found, Done):
            self.servers.through(self.specs(job))
        return found

    def _look(self, job: Job) -> Done | Ready:
        """The result from the store, or that the cell cannot be had; else what is needed to run it."""
        if job.name.loop == "uvloop":
            return self._absent(job, UVLOOP)
        try:
            python = environments.interpreter(job.name.python)
            wanted = cells.requirements(job.name, self.axes, dict(job.own))
            locked = environments.resolve(wanted, python, again=self.resolve_again)
        except environments.NoPython as problem:
            return self._absent(job, f"does not run here: {problem}")
        except environments.NotInstallable as problem:
            return self._absent(job, f"does not install: {problem}")
        inputs = self.inputs(job, python, locked, self.specs(job))
        if not self.fresh and (kept := self._from_store(job, inputs)):
            return Done(job, "kept", kept)
        return Ready(job, python, locked, inputs)

    def _run(self, ready: Ready) -> Done:
        """Run the cell in its environment, made if need be."""
        job, locked, inputs = ready.job, ready.locked, ready.inputs
        began = time.monotonic()
        try:
            # What is a C library of a server's maker may stand where only these variables lead.
            needs = servers.odbc(progress=servers_quiet).env if job.name.server == "odbc" else {}
            environment = environments.environment(locked, ready.python, cells.imports(job.name), needs)
        except environments.NotImportable as problem:
            return self._absent(job, f"does not import: {problem}", locked)
        installed = time.monotonic()
        with contextlib.ExitStack() as stack:
            addresses = dict(stack.enter_context(self.servers.address(spec)) for spec in self.specs(job))
            served = time.monotonic()
            result, said = self._process(job, environment.python, inputs, addresses)
        if result is None:
            return Done(job, "failed", None, said)
        done = Done(
            job,
            "ran",
            result.without_evidence(),
            "",
            {"install": installed - began, "server": served - installed, "scenarios": time.monotonic() - served},
        )
        if not done.errors:  # an error says nothing of the driver: it is tried again the next time
            self._keep(result, inputs)
        return done

    def inputs(self, job: Job, python: environments.Python, locked: Sequence[str], specs: Sequence[str]) -> str:
        """The digest of everything that decides the result of a job."""
        sources = [environments._content(line) for line in locked]
        parts = [job.cell, python.version, sys.platform, self.deciding, *locked, *sources, *job.only, *job.arguments]
        parts += [self.servers.known_as(spec) for spec in specs]
        if "--brief" in job.arguments:
            parts += [json.dumps(self._on_record.get(name)) for name in dict.fromkeys((job.name.base, job.cell))]
        return digest(*parts)

    # -- the store: under the digest of its inputs a result, and the same without evidence, which is read at once ----
    def _keep(self, result: CellResult, inputs: str) -> None:
        short = self.store / inputs / "short" / result.path.name
        files.write(short, short_text(result))
        files.copy(result.path, self.store / inputs / result.path.name)

    def _from_store(self, job: Job, inputs: str) -> CellResult | None:
        """The result without its evidence, or None; the whole of it is copied to the results, if it is not there."""
        name = f"{job.cell}.jsonl"
        path, kept = self.results / name, self.store / inputs / name
        with contextlib.suppress(ResultError, FileNotFoundError):
            found = read_cell(kept.parent / "short" / name)
            if not same(path, kept):
                files.copy(kept, path)
            os.utime(kept.parent)  # it was of use
            return replace(found, path=path)
        return None

    def forget(self) -> None:
        """Drop from the store what was of no use for a long time."""
        since = time.time() - KEPT_SECONDS
        for entry in self.store.iterdir() if self.store.is_dir() else ():
            with contextlib.suppress(FileNotFoundError):
                if entry.is_dir() and entry.stat().st_mtime < since:
                    shutil.rmtree(entry, ignore_errors=True)

    def _process(
        self, job: Job, python: Path, inputs: str, addresses: Mapping[str, str]
    ) -> tuple[CellResult | None, str]:
        """Run the cell in its environment. Returns its result, or None and what it said last."""
        own = {name: value for name, value in os.environ.items() if name not in NOT_PASSED}
        own |= {"MATRIX_INPUTS": inputs, "PYTHONPYCACHEPREFIX": str(environments.bytecode_folder())}
        own |= addresses
        own.setdefault("MATRIX_PROCESSES", str(self.processes))
        log = self.logs / f"{job.cell}.txt"
        log.parent.mkdir(parents=True, exist_ok=True)
        with self._children.folder() as folder:
            command = [str(python), "-m", "matrix.cell", job.cell, "--results", folder, *job.arguments]
            command += ["--only", ",".join(job.only)] if job.only else []
            with log.open("wb") as output:
                child = subprocess.Popen(
                    command, cwd=ROOT, env=own, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                    start_new_session=True,
                )  # fmt: skip  # a session of its own: Ctrl-C reaches it through end_children, once
                with self._children.one(child):
                    if self._stopping:
                        child.terminate()
                    code = child.wait()
            written = Path(folder) / f"{job.cell}.jsonl"
            if not written.exists():
                text = log.read_text(encoding="utf-8", errors="replace")
                return None, f"exit code {code}, no result: {registry.last_line(text)} (all of it: {log})"
            result = read_cell(written)
            answered = str(result.axes["server_version"])
            if job.name.server_version and not belongs(answered, job.name.server_version):
                server = result.header["server_string"]
                return None, f"its name says {job.name.server_spec}, and the server at the given address is {server}"
            files.copy(written, self.results / written.name)
        return replace(result, path=self.results / written.name), ""

    def _absent(self, job: Job, why: str, locked: Sequence[str] = ()) -> Done:
        """The result of a cell that cannot be had; kept in the store like any other."""
        inputs = digest("absent", job.cell, why, *locked)
        if not self.fresh and (kept := self._from_store(job, inputs)):
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
        with ResultWriter(self.results / f"{job.cell}.jsonl", header) as writer:
            path = writer.finish(not_installed=why)
        result = read_cell(path)
        self._keep(result, inputs)
        return Done(job, "absent", result, why)


def meant(package: releases.Package, label: str | None) -> str:
    """The release that a cell's name means, as far as the axis knows it."""
    if label is None:
        return package.newest
    return label if label.startswith("+") else package.resolve(label) or label


def digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


def deciding_digest() -> str:
    """A digest of the scenarios and the harness."""
    digest = hashlib.sha256()
    for path in (*(ROOT / name for name in DECIDING), *folders()):
        if path.is_dir():
            digest.update(environments.tree_digest(path).encode() + environments.tree_digest(path, "*.toml").encode())
        else:
            digest.update(path.read_bytes())
    return digest.hexdigest()[:24]


def short_text(result: CellResult) -> str:
    """A result file without its evidence."""
    return b"".join(map(encode, result.without_evidence().lines)).decode("utf-8")


def same(path: Path, other: Path) -> bool:
    """Whether one of two files is the other's untouched copy (``files.copy``). Raises FileNotFoundError for other."""
    theirs = other.stat()
    with contextlib.suppress(FileNotFoundError):
        ours = path.stat()
        return (ours.st_size, ours.st_mtime_ns) == (theirs.st_size, theirs.st_mtime_ns)
    return False


# What is to be run


def jobs_of(options: argparse.Namespace, tell: Callable[[str], None]) -> list[Job]:
    """The jobs that the options ask for. Raises RunError, PlanError or ReleasesError."""
    try:
        only = tuple(chosen(options.only)) if options.only else ()
    except LookupError as problem:
        raise RunError(f"--only: {problem.args[0]}") from None
    arguments = ("--orders", str(options.orders)) if options.orders else ()
    factors = (options.tortoise, options.driver, options.server, options.python)
    if not options.filters and not options.all and not any(factors):
        raise RunError("say which cells to run: names (mysql-aiomysql, mysql-*), axis:tortoise, or --all")
    if not any(factors):
        named = [text for text in options.filters if ":" not in text and "*" not in text]
        if named and len(named) == len(options.filters):
            found = [_planned(cells_read(text)) for text in named]
            found = shard(found, *read_shard(options.shard)) if options.shard else found
        else:
            found = planned_by(options, tell)
        whole = options.orders or options.full
        return [
            Job(each.name, each.seconds, only, (), arguments if whole or not each.is_variant else ("--brief",))
            for each in found
        ]
    if not options.filters:
        raise RunError("say which cells the versions are for, such as: run mysql-aiomysql --tortoise 0.23.0")
    jobs = []
    for text in options.filters:
        name, own = with_factors(cells_read(text), options)
        jobs.append(Job(name, _planned(name).seconds, only, own, arguments))
    return jobs


def cells_read(text: str) -> CellName:
    try:
        return cells.read(text)
    except ValueError as problem:
        raise RunError(str(problem)) from None


def _planned(name: CellName) -> Planned:
    return Planned(name, "asked for", read_costs().get(name.base, UNKNOWN_COST) + OVERHEAD)


def with_factors(name: CellName, options: argparse.Namespace) -> tuple[CellName, tuple[tuple[str, str], ...]]:
    """The cell with the versions or sources that --tortoise, --driver, --server and --python name. Raises RunError."""
    own = []
    for key, package, text in (
        ("tortoise", "tortoise-orm", options.tortoise),
        ("driver_version", drivers()[name.driver].distribution, options.driver),
    ):
        if text:
            label, source = version_or_source(text)
            name = replace(name, **{key: label})
            own += [(package, source)] if source else []
    if options.server:
        kind, dash, version = options.server.partition("-")
        try:
            servers.parse_spec(options.server if dash else f"{name.server}-{options.server}")
        except servers.ServerError as problem:
            raise RunError(str(problem)) from None
        kind, version = (kind, version) if dash else (name.server, options.server)
        name = replace(name, server=kind, server_version=version)
    if options.python:
        name = replace(name, python=options.python)
    return cells_read(str(name)), tuple(own)


def version_or_source(text: str) -> tuple[str, str | None]:
    """``0.23.0`` -> itself; a folder or ``git+…`` -> a label for the cell's name, and where it is. Raises RunError."""
    if re.fullmatch(r"\d+(\.\d+)*((a|b|rc|\.post|\.dev)\d+)?", text):
        return text, None
    if text.startswith("git+"):
        end = re.sub(r"^git\+", "", text).rstrip("/").rsplit("/", 1)[-1]
        return "+" + _label(end), text
    folder = Path(text).expanduser()
    if not (folder / "pyproject.toml").is_file() and not (folder / "setup.py").is_file():
        raise RunError(f"{text!r} is neither a version, a folder with a Python project, nor git+https://…@branch")
    return "+" + _label(folder.resolve().name), folder.resolve().as_uri()


def _label(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", ".", text.lower()).strip(".")[:40] or "own"


# The command


def register(commands: Any) -> None:
    """Adds ``run``."""
    parser = commands.add_parser(
        "run",
        help="run cells: the whole plan, a part of it, or any versions",
        description="Runs cells and writes results/<cell>.jsonl. Names of cells may have factors "
        "(mysql-aiomysql0.2-tortoise0.23-mysql9.7-py312); names with * and key:value choose from the plan.",
    )
    add_choice(parser)
    parser.add_argument("--all", action="store_true", help="the whole plan")
    parser.add_argument("--tortoise", metavar="V", help="a release, a folder with a checkout, or git+https://…@branch")
    parser.add_argument("--driver", metavar="V", help="the same for the driver")
    parser.add_argument("--server", metavar="S", help="a version (10.11) or a server (mariadb-10.11)")
    parser.add_argument("--python", metavar="P", help="such as 3.12")
    parser.add_argument("--only", metavar="ID,ID", help="these scenarios or families only (NST-4,CON)")
    parser.add_argument("--orders", type=int, help="how many orders of a scenario are run at most")
    parser.add_argument(
        "--full",
        action="store_true",
        help="all orders in cells of other releases too; a plan runs the schedules on record of the newest releases "
        "there, and all orders where these give another verdict",
    )
    parser.add_argument(
        "--results", metavar="FOLDER", help="where results go (default: results; with --only: build/selection)"
    )
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="cells at a time (default: the cores)")
    parser.add_argument("--allow-none", action="store_true", help="it is all right when no cell of the plan matches")
    parser.add_argument("--fresh", action="store_true", help="run cells that the store has as well")
    parser.add_argument("--resolve", action="store_true", help="ask the registry again which versions are newest")
    parser.set_defaults(handler=_run)


def interrupt(*_: object) -> None:
    """A run that is told to end, ends its cells as well."""
    raise KeyboardInterrupt


def _run(options: argparse.Namespace) -> int:
    from matrix.runs.progress import Progress

    try:
        jobs = jobs_of(options, lambda text: print(text, file=sys.stderr))
        results = Path(options.results or ("build/selection" if options.only else "results"))
        registry.uv()  # said once, before a whole plan, not by each of its cells
        runner = Runner(jobs, results, fresh=options.fresh, resolve_again=options.resolve)
    except (RunError, TableError, PlanError, releases.ReleasesError, registry.RegistryError) as problem:
        print(problem, file=sys.stderr)
        return 0 if options.allow_none and isinstance(problem, NoCell) else 2
    signal.signal(signal.SIGTERM, interrupt)
    done: list[Done] = []
    with Progress(jobs, max(1, options.jobs)) as progress:

        def told(each: Done) -> None:
            done.append(each)
            progress.done(each)

        try:
            runner.run(max(1, options.jobs), told, progress.began)
        except KeyboardInterrupt:
            progress.say(f"interrupted: {len(done)} of {len(jobs)} cells are done and kept; the same command goes on")
            return 130
        runner.forget()
        progress.summary(done)
        try:
            unmet = [str(each) for each in not_as_expected(done)]
        except expectations.ExpectationError as problem:
            print(problem, file=sys.stderr)
            return 2
        for each in unmet[:SHOWN]:
            progress.say(clean(each))
        if unmet[SHOWN:]:
            progress.say(f"and {len(unmet) - SHOWN} more: python -m matrix results check {results}")
    return 1 if unmet or any(each.how == "failed" for each in done) else 0


def not_as_expected(done: Sequence[Done]) -> list[judging.Unmet]:
    """In what the results differ from what is on record, errors among it. Raises ExpectationError."""
    states = [CellState(each.job.cell, each.result) for each in done if each.result]
    return unmet_of(sorted(states, key=lambda state: state.cell), expectations.FOLDER)

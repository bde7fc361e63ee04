"""Real servers that fail while a cell runs: whatever it is, no line may say anything else than without it, or error."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

from matrix.harness.cell import NAME
from matrix.harness.witness import Address, MySQLWitness, PostgresWitness, Witness, WitnessError
from matrix.servers import ServerError, acquire, mysql
from matrix.servers.server import Server
from tests.attacks import Tried, cells

CELLS = {"postgres": "postgres-asyncpg", "mysql": "mysql-aiomysql", "mariadb": "mariadb-aiomysql"}
SCENARIOS = ("CON-1", "CON-5", "CAN-1", "ORM-1", "TXN-1", "NST-4")
STALL = 12.0  # seconds
DISK = 400  # MB
ADMIN = "admin"


@dataclass
class Target:
    """A private server that an attack has started, and how to come near it."""

    server: Server
    disk: Path | None = None  # a file system of its own, where its data is
    undo: list[Callable[[], Any]] = field(default_factory=list)

    def witness(self, user: str = "", database: str = "") -> Witness:
        server = self.server
        make = PostgresWitness if server.kind == "postgres" else MySQLWitness
        return make(Address(server.kind, server.host, server.port, user or server.user, server.password, database))

    def databases(self) -> list[str]:
        witness = self.witness()
        found = [name for name in witness.databases() if NAME.fullmatch(name)]
        witness.close()
        return found

    def processes(self) -> list[int]:
        """The server's, its own first."""
        found, pid = [], self.server.pid
        for each in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                parent = int((each / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()[1])
                found += [int(each.name)] if parent == pid else []
        return [pid, *found] if pid else []

    def signal(self, number: int) -> None:
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def limit(self, what: int, soft: int) -> None:
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                hard = resource.prlimit(pid, what)[1]
                resource.prlimit(pid, what, (soft, hard))


# -- what is done to them ----------------------------------------------------------------------------------------------


def fill_its_disk(target: Target) -> None:
    assert target.disk is not None
    filler = target.disk / "filler"
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(1 << 16))
    target.undo.append(filler.unlink)


def take_its_connections(target: Target) -> None:
    held = []
    with contextlib.suppress(WitnessError):
        while True:
            held.append(target.witness())
    target.undo.append(lambda: [each.close() for each in held])


def take_its_memory(target: Target) -> None:
    """It may not grow any more."""
    for pid in target.processes():
        with contextlib.suppress(OSError):
            pages = int(Path(f"/proc/{pid}/statm").read_text().split()[0])
            resource.prlimit(pid, resource.RLIMIT_AS, (pages * resource.getpagesize(), resource.RLIM_INFINITY))
    target.undo.append(lambda: target.limit(resource.RLIMIT_AS, resource.RLIM_INFINITY))


def take_its_files(target: Target) -> None:
    target.limit(resource.RLIMIT_NOFILE, 16)
    target.undo.append(lambda: target.limit(resource.RLIMIT_NOFILE, 1024))


def make_it_read_only(target: Target) -> None:
    admin = target.witness(ADMIN if target.server.kind != "postgres" else "")
    if target.server.kind == "postgres":
        for name in target.databases():
            admin.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        admin.close()
        return
    admin.execute("SET GLOBAL read_only = 1")
    target.undo.append(lambda: (admin.execute("SET GLOBAL read_only = 0"), admin.close()))


def stall_it(target: Target) -> None:
    target.signal(signal.SIGSTOP)
    again = threading.Timer(STALL, target.signal, (signal.SIGCONT,))
    again.start()
    target.undo.append(again.join)


def sent(number: signal.Signals) -> Callable[[Target], None]:
    def send(target: Target) -> None:
        os.kill(target.server.pid or 0, number)

    return send


FAILURES: dict[str, Callable[[Target], None]] = {
    "its disk is full": fill_its_disk,
    "all its connections are taken": take_its_connections,
    "it gets no memory any more": take_its_memory,
    "it may open no files any more": take_its_files,
    "it is read-only": make_it_read_only,
    "it is told to shut down (TERM)": sent(signal.SIGTERM),
    "it is told to shut down at once (INT)": sent(signal.SIGINT),
    "it is killed": sent(signal.SIGKILL),
    f"it stalls for {STALL:.0f} s": stall_it,
}
# By nature, or because the server has what it needs already. MySQL and MariaDB are deaf to INT.
NEED_NOT_SHOW = {
    f"it stalls for {STALL:.0f} s",
    "it may open no files any more",
    "it gets no memory any more",
    "its disk is full",
    "it is told to shut down at once (INT)",
}


# -- the tries ---------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[Path | None]:
    """A file system of DISK MB; None where this process may mount none."""
    folder.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK}m,mode=755", "tmpfs", folder], check=False
    ).returncode:
        yield None
        return
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=False)


def with_an_admin(build: Any, path: Path, password: str, write: Callable[..., None] = mysql.write_users_file) -> None:
    write(build, path, password)
    statements = [f"CREATE USER '{ADMIN}'@'%' IDENTIFIED BY '{password}';", f"GRANT ALL ON *.* TO '{ADMIN}'@'%';"]
    path.write_text(path.read_text() + "\n".join(statements) + "\n")


@contextlib.contextmanager
def target_of(kind: str, folder: Path) -> Iterator[Target]:
    with small_disk(folder) as disk, contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.dict(os.environ, {"MATRIX_RUN": str(disk or folder)}))
        stack.enter_context(mock.patch.object(mysql, "write_users_file", with_an_admin))
        target = Target(stack.enter_context(acquire(kind)), disk)
        try:
            yield target
        finally:
            while target.undo:
                target.undo.pop()()


def judged(ran: cells.Ran, plain: cells.Ran, *, must_show: bool) -> str:
    """What is wrong with a run beside a failing server; ``plain`` is one without."""
    if ran.code is None:
        return f"it did not end within {cells.LONGEST:.0f} s"
    for name, verdict in ran.verdicts.items():
        if verdict not in ("error", plain.verdicts[name]):
            return f"{name} is {verdict}, without it {plain.verdicts[name]}: {ran.reasons[name]}"
    for word in ("Traceback", "handle is closed", "INTERNALERROR"):
        if word in ran.said:
            return f"{word}: …{ran.said[-600:]}"
    if must_show and ran.code == 0:
        return "it went by without an error: was it there?"
    return ""


def after_the_next_run(target: Target, url: Mapping[str, str], folder: Path) -> list[str]:
    """The databases that are left when another run has swept: a server that fails may not drop them itself."""
    try:
        if target.databases():
            cells.run(CELLS[target.server.kind], ["CON-1"], folder / "next", url)
        return target.databases()
    except WitnessError:
        return []  # it is gone, and all with it


def attack(
    folder: Path, kinds: Sequence[str] = tuple(CELLS), failures: Sequence[str] = tuple(FAILURES)
) -> Iterator[Tried]:
    for kind in kinds:
        plain = None
        for failure in failures:
            where = folder / f"{kind}{failures.index(failure)}"
            try:
                with target_of(kind, where) as target:
                    if FAILURES[failure] is fill_its_disk and target.disk is None:
                        continue
                    url = {f"MATRIX_{kind.upper()}_URL": target.server.url}
                    plain = plain or cells.run(CELLS[kind], SCENARIOS, folder / "plain", url)
                    results = folder / "results"
                    shutil.rmtree(results, ignore_errors=True)
                    begin = FAILURES[failure]
                    ran = cells.run(CELLS[kind], SCENARIOS, results, url, lambda _: begin(target))  # noqa: B023
                    while target.undo:
                        target.undo.pop()()
                    left = [f"{ran.left} processes"] if ran.left else []
                    left += after_the_next_run(target, url, folder)
                    errors = sum(verdict == "error" for verdict in ran.verdicts.values())
                    last = ran.said.strip().splitlines()[-1][:150] if ran.said.strip() else ""
                    told = f"{kind}, {failure}: {len(ran.verdicts)} lines, {errors} error, exit {ran.code}: {last}"
                    must_show = failure not in NEED_NOT_SHOW
                    yield Tried(told, judged(ran, plain, must_show=must_show), ", ".join(left))
            except ServerError as problem:
                yield Tried(f"{kind}, {failure}", f"no server to attack: {problem}")


# -- drivers whose runs are processes of their own ---------------------------------------------------------------------

OF_ITS_OWN = "odbc-asyncodbc"


def kill_runs(mark: str, count: int = 3) -> None:
    """Kill a few of a cell's runs, as the machine does that is out of memory; as they come, beside the cell."""

    def parent(pid: int) -> int:
        return int(Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()[1])

    def kill() -> None:
        left = count
        until = time.monotonic() + STALL
        while left and time.monotonic() < until:
            with contextlib.suppress(OSError):
                found = cells.running(mark)
                runs = [pid for pid in found if parent(pid) in found and parent(parent(pid)) in found]
                own = [pid for pid in runs if b"witness_sqlite" not in Path(f"/proc/{pid}/cmdline").read_bytes()]
                if own:
                    os.kill(own[0], signal.SIGKILL)
                    left -= 1
            time.sleep(0.2)

    threading.Thread(target=kill, daemon=True).start()


def attack_own_processes(folder: Path, scenarios: Sequence[str] = ("CON-1", "CON-2", "CAN-1")) -> Iterator[Tried]:
    with target_of("postgres", folder / "odbc") as target:
        url = {"MATRIX_POSTGRES_URL": target.server.url}
        plain = cells.run(OF_ITS_OWN, scenarios, folder / "plain", url)
        for what, begin in (("a run of it is killed", kill_runs), ("its server stalls", lambda _: stall_it(target))):
            ran = cells.run(OF_ITS_OWN, scenarios, folder / what.replace(" ", "-"), url, begin)
            while target.undo:
                target.undo.pop()()
            told = f"odbc, {what}: {dict(ran.verdicts)}, exit {ran.code}: {' '.join(ran.reasons.values())[:200]}"
            yield Tried(told, judged(ran, plain, must_show=False), f"{ran.left} processes" if ran.left else "")

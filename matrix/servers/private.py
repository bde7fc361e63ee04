"""Private server processes: their run folders, their supervisor, the registry, and the sweep of what a kill left.

Every run folder has a lock that is held as long as its owner or its supervisor lives; a free lock means dead.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from matrix.maker import start_time
from matrix.servers.errors import ServerError
from matrix.servers.tools import Account, plain_environment

SUPERVISOR = Path(__file__).with_name("_supervisor.py")
LONGEST_SOCKET_PATH = 107  # bytes; the kernel's limit
STOP_SECONDS = 15.0
NO_LOOPBACK = "switch IPv4's loopback on: ip addr add 127.0.0.1/8 dev lo; ip link set lo up"


def run_root(environment: Mapping[str, str] = os.environ) -> Path:
    """The folder of this user's run folders: $MATRIX_RUN, else one in /tmp (short: it holds sockets).

    Raises ServerError if it cannot be made or belongs to somebody else.
    """
    base = environment.get("MATRIX_RUN") or ("/tmp" if os.access("/tmp", os.W_OK) else tempfile.gettempdir())
    root = Path(base).absolute() / f"matrix-servers-{os.getuid()}"
    try:
        Path(base).mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            root.mkdir()
            root.chmod(0o711)  # a server without root's rights must be able to walk through
    except OSError as error:
        raise ServerError(f"cannot make {root}: {error.strerror}; set MATRIX_RUN to a folder to use") from None
    if root.is_symlink() or root.stat().st_uid != os.getuid():
        raise ServerError(f"{root} belongs to somebody else; set MATRIX_RUN to a folder of your own")
    return root


def free_port() -> int:
    """A TCP port on loopback that nobody uses at this moment."""
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", 0))
        except OSError as error:
            raise ServerError(f"no port of 127.0.0.1 can be had: {error.strerror}\n{NO_LOOPBACK}") from None
        return int(probe.getsockname()[1])


@contextmanager
def _root_lock(root: Path) -> Iterator[None]:
    with (root / ".lock").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _try_lock(path: Path) -> IO[str] | None:
    """The open, locked file, or None if somebody holds its lock."""
    stream = path.open("a")
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        stream.close()
        return None
    return stream


def new_run_folder(root: Path) -> tuple[Path, IO[str]]:
    """Make a run folder and take its lock; the sweep of another process cannot come between."""
    with _root_lock(root):
        folder = Path(tempfile.mkdtemp(dir=root, prefix="s"))
        folder.chmod(0o711)
        held = _try_lock(folder / "lock")
    if held is None:
        raise ServerError(f"{folder} was locked by somebody else")
    if len(os.fsencode(folder / "socket" / ".s.PGSQL.65535")) > LONGEST_SOCKET_PATH:
        held.close()
        shutil.rmtree(folder, ignore_errors=True)
        raise ServerError(f"the path {folder} is too long for a socket: set MATRIX_RUN to a shorter folder")
    return folder, held


def read_state(folder: Path) -> dict[str, Any]:
    """What the supervisor wrote about its server; empty when it came to nothing."""
    try:
        state = json.loads((folder / "server.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return state if isinstance(state, dict) else {}


def _kill_if_same(state: Mapping[str, Any], pid_name: str, started_name: str, number: int) -> bool:
    """Signal the recorded process unless its pid now belongs to another one."""
    pid, started = state.get(pid_name), state.get(started_name)
    if not isinstance(pid, int) or not started or start_time(pid) != started:
        return False
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)
        return True
    return False


def _clear_dead(folder: Path) -> None:
    if _kill_if_same(read_state(folder), "pid", "started", signal.SIGKILL):
        time.sleep(0.2)
    shutil.rmtree(folder, ignore_errors=True)


def sweep(root: Path) -> list[Path]:
    """Remove the run folders that killed runs left. A live one's lock is held, so it is never touched."""
    swept = []
    with _root_lock(root):
        for folder in sorted(root.glob("s*")):
            try:
                held = _try_lock(folder / "lock")
            except OSError:  # just being removed by its supervisor
                continue
            if held is not None:
                _clear_dead(folder)
                held.close()
                swept.append(folder)
    return swept


def running(root: Path) -> list[dict[str, Any]]:
    """The records of this user's live private servers."""
    states = [{**read_state(folder), "folder": folder} for folder in sorted(root.glob("s*"))]
    return [r for r in states if r.get("started") and start_time(r["pid"]) == r["started"]]


def stop_all(root: Path) -> list[dict[str, Any]]:
    """Stop every private server that this user's runs started, and return their records."""
    stopped = []
    for state in running(root):
        if _kill_if_same(state, "supervisor", "supervisor_started", signal.SIGTERM):
            deadline = time.monotonic() + STOP_SECONDS
            while start_time(state["pid"]) == state["started"] and time.monotonic() < deadline:
                time.sleep(0.01)
        else:
            _kill_if_same(state, "pid", "started", signal.SIGKILL)
        stopped.append(state)
    sweep(root)
    return stopped


@dataclass(frozen=True)
class Order:
    """What a supervisor is to run. ``signal`` stops the server; nothing in here is secret."""

    command: Sequence[str]
    signal: int
    account: Account | None
    state: Mapping[str, Any]


class ServerProcess:
    """A server under its supervisor, in a run folder. Made by `launch`."""

    def __init__(self, folder: Path, held: IO[str], order: Order) -> None:
        self.folder = folder
        self.log = folder / "log"
        self._held = held
        self._stopping = threading.Lock()
        self._stopped = False
        message = {
            "command": list(order.command),
            "signal": int(order.signal),
            "account": [order.account.uid, order.account.gid] if order.account else None,
            "environment": plain_environment(),
            "folder": str(folder),
            "log": str(self.log),
            "state": dict(order.state),
        }
        self._supervisor = subprocess.Popen(
            [sys.executable, "-I", "-S", str(SUPERVISOR)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            pass_fds=[held.fileno()],
            start_new_session=True,
            cwd="/",
        )
        try:
            self.pid = self._begin(message)
        except BaseException:
            self.stop()
            raise

    def _begin(self, message: Mapping[str, Any]) -> int:
        assert self._supervisor.stdin and self._supervisor.stdout
        self._supervisor.stdin.write(json.dumps(message).encode() + b"\n")
        self._supervisor.stdin.flush()
        answer = json.loads(self._supervisor.stdout.readline() or b'{"error": "its supervisor died"}')
        if "error" in answer:
            raise ServerError(f"cannot start {message['command'][0]}: {answer['error']}")
        return int(answer["pid"])

    def alive(self) -> bool:
        """Whether the server process runs: its supervisor ends as soon as it does."""
        return not self._stopped and self._supervisor.poll() is None

    def log_tail(self, count: int) -> str:
        """The last lines of the server's log; empty when there is none."""
        try:
            lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return ""
        return "\n".join(lines[-count:])

    def stop(self) -> None:
        """Stop the server and remove its folder. May be called again, and from several threads."""
        with self._stopping:
            if self._stopped:
                return
            self._stopped = True
            assert self._supervisor.stdin and self._supervisor.stdout
            with contextlib.suppress(OSError):
                self._supervisor.stdin.close()
            # its stdout ends with it; waiting for the process itself would mean polling
            select.select([self._supervisor.stdout], [], [], STOP_SECONDS)
            self._supervisor.stdout.close()
            try:
                self._supervisor.wait(1.0)
            except subprocess.TimeoutExpired:
                self._supervisor.kill()
                self._supervisor.wait()
            shutil.rmtree(self.folder, ignore_errors=True)
            self._held.close()

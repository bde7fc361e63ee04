"""The processes of a run: ended with it, also where it is killed and can do nothing any more.

Started as a program, this is the watchman: it reads the ids of processes from its input, and when that ends without a
farewell, it ends those that are left and removes the run's temporary folder. Standard library only.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

GRACE = 10.0  # seconds that a process gets to clean up, after it was told to end


class Children:
    """Processes, and the folder in which they write until their results are whole. Safe for threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._watchman: subprocess.Popen[bytes] | None = None

    @contextlib.contextmanager
    def one(self, child: subprocess.Popen[bytes]) -> Iterator[None]:
        """While it runs it is ended with the run."""
        self._tell(f"+{child.pid}")
        with self._lock:
            self._running.add(child)
        try:
            yield
        finally:
            with self._lock:
                self._running.discard(child)
            self._tell(f"-{child.pid}")

    @contextlib.contextmanager
    def folder(self) -> Iterator[str]:
        """A temporary folder that goes in any case."""
        with tempfile.TemporaryDirectory(prefix="matrix-run-") as name:
            self._tell(f">{name}")
            try:
                yield name
            finally:
                self._tell(f"<{name}")

    def end(self) -> None:
        """Tell all to end, and kill those that do not."""
        with self._lock:
            ending = list(self._running)
        for child in ending:
            with contextlib.suppress(ProcessLookupError):
                child.send_signal(signal.SIGINT)
        deadline = time.monotonic() + GRACE
        for child in ending:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(max(0.1, deadline - time.monotonic()))
            child.kill()

    def _tell(self, text: str) -> None:
        with self._lock:
            if self._watchman is None:
                self._watchman = subprocess.Popen(
                    [sys.executable, "-I", __file__],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    start_new_session=True,
                    cwd=Path.cwd().anchor,
                )
            said = self._watchman.stdin
            assert said is not None
            with contextlib.suppress(BrokenPipeError):  # somebody killed it: then nobody watches
                said.write(text.encode() + b"\n")
                said.flush()


def watch(said: IO[str]) -> None:
    """Until it ends: ``+PID`` began, ``-PID`` is over, ``>FOLDER`` is in use, ``<FOLDER`` is not any more."""
    processes: set[int] = set()
    folders: set[str] = set()
    for line in said:
        kind, what = line[0], line[1:].rstrip("\n")
        if kind in "+-":
            (processes.add if kind == "+" else processes.discard)(int(what))
        else:
            (folders.add if kind == ">" else folders.discard)(what)
    deadline = time.monotonic() + GRACE
    for number in (signal.SIGINT, signal.SIGKILL):
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process, number)  # each is the first of a session of its own
        while time.monotonic() < deadline and any(map(_alive, processes)):
            time.sleep(0.05)
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


if __name__ == "__main__":
    watch(sys.stdin)

"""A private program on a free port of loopback: started in a run folder of its own, waited for, and tried again where
another program takes the port meanwhile."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from matrix.servers import private, tools
from matrix.servers.builds import Build
from matrix.servers.errors import ServerError
from matrix.servers.private import Order, ServerProcess

START_SECONDS = 60.0
POLL_SECONDS = 0.005
PORT_ATTEMPTS = 5
PORT_TAKEN = ("Address already in use", "Bind on TCP/IP port", "could not bind")


@dataclass(frozen=True)
class Prepared:
    """What to run, and whether it is ready. ``secret``: a file with a password, gone when the program has read it."""

    order: Order
    ready: Callable[[ServerProcess], bool]
    secret: Path


def launch(build: Build, root: Path, prepare: Callable[[Path, int], Prepared]) -> tuple[ServerProcess, int]:
    """A running program and its port. ``prepare`` fills a run folder for a port. Raises ServerError."""
    for _ in range(PORT_ATTEMPTS):
        port = private.free_port()
        process = _launch_once(build, root, port, prepare)
        if process:
            return process, port
    raise ServerError(f"{build.kind} {build.release} found no free port in {PORT_ATTEMPTS} attempts")


def _launch_once(build: Build, root: Path, port: int, prepare: Callable[[Path, int], Prepared]) -> ServerProcess | None:
    """None when another program took the port in the meantime."""
    folder, held = private.new_run_folder(root)
    process: ServerProcess | None = None
    prepared: Prepared | None = None
    ready = False
    try:
        prepared = prepare(folder, port)
        process = ServerProcess(folder, held, prepared.order)
        ready = _wait_until_ready(build, process, prepared.ready)
        return process if ready else None
    finally:
        if prepared:
            prepared.secret.unlink(missing_ok=True)
        if not ready:
            if process:
                process.stop()
            held.close()
            shutil.rmtree(folder, ignore_errors=True)


def _wait_until_ready(build: Build, process: ServerProcess, ready: Callable[[ServerProcess], bool]) -> bool:
    """True when ready, False when its port was taken. Raises ServerError when it died or took too long."""
    deadline = time.monotonic() + START_SECONDS
    name = f"{build.kind} {build.release} ({build.origin})"
    while time.monotonic() < deadline:
        if ready(process):
            return True
        if not process.alive():
            said = process.log_tail(50)
            if any(words in said for words in PORT_TAKEN):
                return False
            if tools.NO_SPACE in said:
                raise tools.NoSpaceError(f"starting {name}: {tools.NO_SPACE}")
            raise ServerError(f"{name} ended while it started: {tools.last_lines(said)}")
        time.sleep(POLL_SECONDS)
    raise ServerError(f"{name} was not ready after {START_SECONDS:g} s: {tools.last_lines(process.log_tail(20))}")

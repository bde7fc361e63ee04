"""PgBouncer in front of a PostgreSQL server, in transaction mode: a private one, as servers are."""

from __future__ import annotations

import os
import shutil
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from matrix.servers import builds, cache, private, tools
from matrix.servers.catalogue import parse_spec
from matrix.servers.errors import ServerError
from matrix.servers.private import Order, ServerProcess
from matrix.servers.server import Server
from matrix.servers.tools import Progress, quiet

START_SECONDS = 20.0
PORT_ATTEMPTS = 5
# Pools are as large as they are by default. The console says which session of the server a client has, and lets
# go of those that are left.
SETTINGS = """\
[databases]
* = host={host} port={port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {own}
unix_socket_dir =
auth_type = plain
auth_file = {users}
pool_mode = transaction
max_client_conn = 400
admin_users = {user}
log_connections = 0
log_disconnections = 0
log_stats = 0
"""


@dataclass(frozen=True)
class Pooler:
    """A running pooler: where it listens on loopback, and its exact release. ``stop`` may be called again."""

    port: int
    release: str
    process: ServerProcess

    def stop(self) -> None:
        self.process.stop()


def start(spec: str, server: Server, *, progress: Progress = quiet) -> Pooler:
    """A pooler in front of a server, for all of its databases and its user. Raises ServerError."""
    build = builds.resolve(parse_spec(spec), progress)
    progress(f"starting {build.kind} {build.release}")
    root = private.run_root()
    cache.check_enterable(root.parent, "MATRIX_RUN")
    for _ in range(PORT_ATTEMPTS):
        pooler = _start_once(build, server, root)
        if pooler:
            return pooler
    raise ServerError(f"{build.kind} {build.release} found no free port in {PORT_ATTEMPTS} attempts")


def _start_once(build: builds.Build, server: Server, root: Path) -> Pooler | None:
    """None when another program took the port in the meantime."""
    folder, held = private.new_run_folder(root)
    process: ServerProcess | None = None
    pooler: Pooler | None = None
    users, settings = folder / "users", folder / "pgbouncer.ini"
    try:
        account, port = cache.server_account(), private.free_port()
        # Readable by the pooler alone, and gone when it has read it.
        _write(users, f'"{_quoted(server.user)}" "{_quoted(server.password)}"\n', account)
        _write(
            settings,
            SETTINGS.format(host=server.host, port=server.port, own=port, users=users, user=server.user),
            account,
        )
        state = {"kind": build.kind, "version": build.version, "port": port, "owner": os.getpid()}
        order = Order([*build.command(), str(settings)], signal.SIGKILL, account, state)
        process = ServerProcess(folder, held, order)
        if _is_ready(process, port, build.release):
            pooler = Pooler(port, build.release, process)
        return pooler
    finally:
        users.unlink(missing_ok=True)
        if pooler is None:
            if process:
                process.stop()
            held.close()
            shutil.rmtree(folder, ignore_errors=True)


def _quoted(text: str) -> str:
    return text.replace('"', '""')


def _write(path: Path, text: str, account: tools.Account | None) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as stream:
        stream.write(text)
    if account:
        os.chown(path, account.uid, account.gid)


def _is_ready(process: ServerProcess, port: int, release: str) -> bool:
    """True when it listens, False when its port was taken. Raises ServerError when it died or took too long."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        said = process.log_tail(50)
        if f"listening on 127.0.0.1:{port}" in said:
            return True
        if not process.alive():
            if "in use" in said:
                return False
            raise ServerError(f"PgBouncer {release} ended while it started: {tools.last_lines(said)}")
        time.sleep(0.005)
    raise ServerError(f"PgBouncer {release} was not ready after {START_SECONDS:g} s")

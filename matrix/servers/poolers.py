"""PgBouncer in front of a PostgreSQL server, in transaction mode: a private one, as servers are."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from pathlib import Path

from matrix.servers import builds, cache, private, tools
from matrix.servers.catalogue import parse_spec
from matrix.servers.launch import Prepared, launch
from matrix.servers.private import Order, ServerProcess
from matrix.servers.server import Server
from matrix.servers.tools import Progress, no_progress

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


def start(spec: str, server: Server, *, progress: Progress = no_progress) -> Pooler:
    """A pooler in front of a server, for all of its databases and its user. Raises ServerError."""
    build = builds.resolve(parse_spec(spec), progress)
    progress(f"starting {build.kind} {build.release}")
    root = private.run_root()
    cache.check_enterable(root.parent, "MATRIX_RUN")
    process, port = launch(build, root, lambda folder, port: _prepare(build, server, folder, port))
    return Pooler(port, build.release, process)


def _prepare(build: builds.Build, server: Server, folder: Path, port: int) -> Prepared:
    users, settings, account = folder / "users", folder / "pgbouncer.ini", cache.server_account()
    tools.write_secret(users, f'"{_quoted(server.user)}" "{_quoted(server.password)}"\n', account)
    text = SETTINGS.format(host=server.host, port=server.port, own=port, users=users, user=server.user)
    tools.write_secret(settings, text, account)
    state = {"kind": build.kind, "version": build.version, "port": port, "owner": os.getpid()}
    order = Order([*build.command(), str(settings)], signal.SIGKILL, account, state)
    listening = f"listening on 127.0.0.1:{port}"
    return Prepared(order, lambda process: listening in process.log_tail(50), users)


def _quoted(text: str) -> str:
    return text.replace('"', '""')

"""The witness of a cell whose driver comes through PgBouncer. It reads the database past it, and asks its console which
of the server's sessions a client has at the moment."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from typing import Any

from .witness import Address, LockWaits, PostgresWitness, WitnessError, _first_line

AT_WORK = """
SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
    AND state = 'active' AND coalesce(wait_event_type, '') NOT IN ('Lock', 'Client')
"""
SETTLES_SECONDS = 10.0


class PooledWitness(PostgresWitness):
    """Where the driver comes through PgBouncer, whose ``console`` says which session of the server a client has now.
    Sessions are named by the port of that client, since those of the server belong to nobody for long."""

    def __init__(self, address: Address, console: Address) -> None:
        super().__init__(address)
        self.console = console
        self._asked: Any = None  # the connection to it

    def lock_waits(self) -> LockWaits:
        waits = super().lock_waits()
        if not waits:
            return {}
        servers = {server["ptr"]: int(server["remote_pid"]) for server in self._ask("SHOW SERVERS")}
        clients = [client for client in self._ask("SHOW CLIENTS") if client["link"] in servers]
        ports = {servers[client["link"]]: int(client["port"]) for client in clients}
        return {
            ports.get(pid, -pid): frozenset(ports.get(holder, -holder) for holder in holders)
            for pid, holders in waits.items()
        }

    def begin(self) -> None:
        with contextlib.suppress(WitnessError):  # it has not heard of this database yet
            self._ask(f"RECONNECT {self.address.database}")

    def _ask(self, command: str) -> list[dict[str, str]]:
        """What the console says: it knows the simple protocol only. Raises WitnessError."""
        import pg8000.native

        at = self.console
        try:
            if self._asked is None:
                self._asked = pg8000.native.Connection(
                    at.user, host=at.host, port=at.port, password=at.password, database="pgbouncer", timeout=30
                )
            said: Any = self._asked.execute_simple(command)
        except self._errors as error:
            raise WitnessError(f"PgBouncer says: {_first_line(error)}") from None
        names = [column["name"] for column in said.columns or ()]
        return [dict(zip(names, row, strict=True)) for row in said.rows or ()]

    def close(self) -> None:
        if self._asked is not None:
            with contextlib.suppress(Exception):
                self._asked.close()
        super().close()

    def stored(self, tokens: Sequence[str]) -> frozenset[str]:
        """What a driver asked before it hung up may reach the server after the pooler has let go of it."""
        until = time.monotonic() + SETTLES_SECONDS
        while self.execute(AT_WORK)[0][0] and time.monotonic() < until:
            time.sleep(0.001)
        return super().stored(tokens)

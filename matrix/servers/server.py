"""A running server as its users see it: where it is and how to log in. How it came to run is not known here."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from urllib.parse import quote

from matrix.servers.address import ServerAddress, reachable
from matrix.servers.catalogue import Spec, kind_of
from matrix.servers.private import ServerProcess

ALIVE_SECONDS = 1.0


@dataclass(frozen=True)
class Server(AbstractContextManager["Server"]):
    """A server to connect to; a context manager that stops a private one at the end.

    `version` is what was asked for, or chosen when nothing was (None with a given address: ask the server itself).
    `release` is the exact release of a private server's programs, `origin` where they came from. `socket` is what the
    client libraries of the kind want: the path of the socket, for PostgreSQL its folder. `database` and `query` are
    those of a given address. Only `password` and `url` show the password.
    """

    kind: str
    version: str | None
    host: str
    port: int
    user: str
    password: str = field(repr=False)
    socket: str | None = None
    given: bool = False
    release: str = ""
    origin: str = ""
    database: str = ""
    query: str = field(default="", repr=False)
    process: ServerProcess | None = field(default=None, repr=False, compare=False)

    def _address(self, credentials: str) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        scheme = kind_of(Spec(self.kind)).schemes[0]
        return f"{scheme}://{credentials}@{host}:{self.port}/{quote(self.database)}"

    @property
    def url(self) -> str:
        """The address with the password, as ``MATRIX_…_URL`` and Tortoise take it. Not for logs."""
        credentials = f"{quote(self.user, safe='')}:{quote(self.password, safe='')}"
        return self._address(credentials) + (f"?{self.query}" if self.query else "")

    @property
    def public_url(self) -> str:
        """The address without password and options, fit for logs and pages."""
        return self._address(quote(self.user, safe=""))

    def __str__(self) -> str:
        return f"{Spec(self.kind, self.version)} at {self.public_url}"

    @property
    def pid(self) -> int | None:
        """The server's process id; None if it is not ours."""
        return self.process.pid if self.process else None

    def alive(self) -> bool:
        """Whether it still runs; for a given address, whether it accepts connections (within a second)."""
        if self.process:
            return self.process.alive()
        address = ServerAddress(self.host, self.port, self.user, "", socket=self.socket)
        return self.given and reachable(address, ALIVE_SECONDS) is None

    def log_tail(self, count: int = 20) -> str:
        """The last lines of a private server's log; empty for a given address."""
        return self.process.log_tail(count) if self.process else ""

    def stop(self) -> None:
        """Stop a private server and remove its data; leaves a server of a given address alone. May be called again."""
        if self.process:
            self.process.stop()

    def __exit__(self, *_: object) -> None:
        self.stop()

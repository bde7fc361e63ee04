"""The servers of a run: one per version, for all of its cells."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Iterator, Sequence

from matrix import servers
from matrix.servers import builds
from matrix.servers.address import given_address
from matrix.servers.catalogue import kind_of, parse_spec
from matrix.servers.tools import no_progress


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
        wanted = parse_spec(spec)
        address = given_address(kind_of(wanted))
        if address:
            return f"given {address.host}:{address.port}"
        with self._of(spec):
            if spec not in self._keys:
                build = builds.resolve(wanted, no_progress)  # the progress is the run's own
                self._keys[spec] = f"{build.kind} {build.release} ({build.origin})"
            return self._keys[spec]

    @contextlib.contextmanager
    def address(self, spec: str) -> Iterator[tuple[str, str]]:
        """The variable and the address for a cell's process. Raises ServerError."""
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
        self._stop(idle)

    def stop(self) -> None:
        self._stop(list(self._running))

    def _stop(self, keys: Sequence[str]) -> None:
        with self._lock:
            stopping = [self._running.pop(key) for key in keys if key in self._running]
        for server in stopping:
            server.stop()

    def _of(self, key: str) -> threading.Lock:
        with self._lock:
            return self._locks.setdefault(key, threading.Lock())

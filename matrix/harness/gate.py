"""The wire gate: a TCP relay between driver and server that holds answers and releases them.

It runs in the loop of the program under test, so that "the loop is idle" includes the gate. Each connection of the
driver is a ``Wire`` (relayed.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import socket
from collections.abc import Callable, Iterator
from typing import Any

from .channel import Timeline
from .relayed import Wire
from .sockets import ListeningSocket, aside, relay_until
from .warm import Kept, Login, WarmConnections


class _ClientSide(asyncio.Protocol):
    wire: Wire

    def __init__(self, gate: Gate) -> None:
        self.gate = gate

    def connection_made(self, transport: Any) -> None:
        self.wire = self.gate.accept(transport)

    def data_received(self, data: bytes) -> None:
        self.wire.arrived(data)

    def connection_lost(self, error: Exception | None) -> None:
        self.wire.client_lost()


class _ServerSide(asyncio.Protocol):
    def __init__(self, wire: Wire) -> None:
        self.wire = wire

    def connection_made(self, transport: Any) -> None:
        self.wire.reached(transport)

    def data_received(self, data: bytes) -> None:
        self.wire.from_server(data)

    def connection_lost(self, error: Exception | None) -> None:
        self.wire.server_lost()


@functools.cache
def _addresses(host: str, port: int) -> list[Any]:
    """Where a server is, asked for once: in a loop it takes a thread each time."""
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)


class Gate:
    """The relay in front of one server. ``port`` is where drivers connect, on 127.0.0.1, once it has started."""

    port: int
    _addresses: list[Any]

    def __init__(self, kind: str, host: str, port: int, timeline: Timeline, number: Callable[[], int]) -> None:
        self.kind = kind
        self.upstream = (host, port)
        self.timeline = timeline
        self._number = number
        self.hold = False
        self.hold_login = False
        self.by_frame = False  # held answers are let through frame by frame, not whole
        self.refuse_connections = False
        self.silent = False  # new connections get no answer, and no end
        self.pooled = False  # the server is a pooler, and its sessions are known by the port of who uses them
        self.tls = False  # the driver comes by TLS, which ends here
        self.warm: WarmConnections | None = None  # where the server's connections are taken from, and kept
        self.wires: list[Wire] = []
        self._server: asyncio.AbstractServer | None = None
        self._connecting: set[asyncio.Task[None]] = set()
        self._unseen = False  # there were requests beside the loop: whom they cancelled is not known

    async def start(self) -> None:
        listening = ListeningSocket()
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(("127.0.0.1", 0))
        self.port = listening.getsockname()[1]
        loop = asyncio.get_running_loop()
        self._addresses = _addresses(*self.upstream)
        self._server = await loop.create_server(lambda: _ClientSide(self), sock=listening)

    def accept(self, transport: asyncio.Transport) -> Wire:
        wire = Wire(
            self.kind,
            self._number(),
            self.timeline,
            holding=self.hold,
            hold_login=self.hold_login,
            by_frame=self.by_frame,
        )
        wire.pooled, wire.peers = self.pooled, self.wires
        wire.connected(transport, tls=self.tls)
        self.wires.append(wire)
        if self.refuse_connections:
            wire.cut()
        elif self.silent:
            wire.fall_silent()
        if wire.closed or wire.silent:
            return wire
        if self.warm is None:
            self._reach(wire)
        else:
            wire.login = Login(self.warm, functools.partial(self._reach, wire))
        return wire

    def _reach(self, wire: Wire, kept: Kept | None = None) -> None:
        """Begin to connect a wire with the server, by a connection that was kept or by a new one."""
        task = asyncio.get_running_loop().create_task(self._connect(wire, kept))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    async def _connect(self, wire: Wire, kept: Kept | None) -> None:
        loop = asyncio.get_running_loop()
        if kept is not None:
            await loop.create_connection(lambda: _ServerSide(wire), sock=kept.connection)
            return
        reason = "its name has no address"
        for family, kind, protocol, _, address in self._addresses:
            upstream: socket.socket | None = None
            try:
                upstream = aside(socket.socket(family, kind, protocol))
                upstream.setblocking(False)
                await loop.sock_connect(upstream, address)
                await loop.create_connection(lambda: _ServerSide(wire), sock=upstream)
            except OSError as error:
                reason = str(error)
                if upstream is not None:
                    upstream.close()
            else:
                return
        self.timeline.failures.append(f"the gate does not reach the server: {reason}")
        wire.cut()

    def end_silence(self) -> None:
        """The network is there again, and knows nothing of the connections that had fallen silent."""
        self.silent = False
        for wire in self.wires:
            if wire.silent:
                wire.cut()

    def connecting(self) -> bool:
        return bool(self._connecting)

    @contextlib.contextmanager
    def beside_the_loop(self) -> Iterator[None]:
        """Around a call of a driver that connects and blocks the loop's own thread until it is answered.

        The gate runs in that loop, and the call may even hold the interpreter's lock: a forked child takes the call's
        connection and relays it as it comes, ungated.
        """
        self._unseen = True
        server: Any = self._server
        ended, ending = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                os.close(ending)
                relay_until(server.sockets[0].dup(), self.upstream, ended)
            finally:
                os._exit(0)
        os.close(ended)
        try:
            yield
        finally:
            os.close(ending)
            os.waitpid(child, 0)

    async def close(self) -> None:
        """Cut what is left and stop listening."""
        for wire in self.wires:
            wire.cut()
        if self.warm is not None:
            self.warm.end_run([wire.tracker.cancels for wire in self.wires])
            if self._unseen:
                self.warm.close()
        if self._server is not None:
            self._server.close()

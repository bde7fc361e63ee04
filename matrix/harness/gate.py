"""The wire gate: a TCP relay between driver and server that understands frames, holds answers and releases them.

It runs in the loop of the program under test, so that "the loop is idle" includes the gate. Each connection of the
driver is a ``Wire``. What counts as an answer is decided by the sans-IO trackers in ``wire/``.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import fcntl
import os
import re
import select
import socket
import struct
import termios
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from .wire import tracker_for
from .wire.frames import Frame, Piece

TOKEN = re.compile(rb"(?:w|n|c)-[0-9a-z]+-[0-9]+")
ASIDE = 512  # the gate's own sockets have numbers from here on
FAREWELLS = ("Terminate", "COM_QUIT", "CancelRequest")
_BEGIN = re.compile(r"\s*(begin|start\s+transaction)\b", re.IGNORECASE)
_SAVEPOINT = re.compile(r"\s*(?P<verb>savepoint|release)\s+(?:savepoint\s+)?(?P<name>\w+)", re.IGNORECASE)
_END = re.compile(r"\s*(commit|end|rollback(?!\s+(work\s+)?to\b))\b", re.IGNORECASE)


@dataclass
class FrameRecord:
    """One frame as the evidence shows it. ``seconds`` since the start of the run."""

    sequence: int
    seconds: float
    wire: int
    direction: str
    kind: str
    length: int
    text: str
    overlap: bool = False
    held: bool = False


@dataclass
class Recorder:
    """The one numbering and the one clock of a run; history and frames share it."""

    started: float = field(default_factory=time.monotonic)
    sequence: int = 0
    frames: list[FrameRecord] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)  # workers and other threads' loops number too

    def next(self) -> int:
        with self._lock:
            self.sequence += 1
            return self.sequence

    def elapsed(self) -> float:
        return time.monotonic() - self.started


class Segments:
    """Which server transaction each token travelled in, read off the statements on one connection.

    ``placed`` maps a token to its transaction: a tuple of wire number and ordinal, or None for outside of any.
    """

    def __init__(self, wire: int, *, begin_commits: bool = False, savepoint_begins: bool = False) -> None:
        self.wire = wire
        self.begin_commits = begin_commits  # MySQL: BEGIN ends the transaction that is open; others refuse it or warn
        self.savepoint_begins = savepoint_begins  # SQLite: outside of a transaction a savepoint is one, until released
        self._ordinal = 0
        self._outermost = ""
        self.open = False
        self.placed: dict[str, tuple[int, int] | None] = {}

    def statement(self, text: str) -> None:
        if _BEGIN.match(text):
            self._ordinal += not self.open or self.begin_commits
            self.open = True
        elif _END.match(text):
            self.open = False
            self._outermost = ""
        elif self.savepoint_begins and (savepoint := _SAVEPOINT.match(text)):
            self._savepoint(savepoint["verb"].lower(), savepoint["name"])

    def _savepoint(self, verb: str, name: str) -> None:
        if verb == "savepoint" and not self.open:
            self._ordinal += 1
            self.open = True
            self._outermost = name
        elif verb == "release" and name == self._outermost:
            self.open = False
            self._outermost = ""

    def token(self, token: str) -> None:
        self.placed[token] = (self.wire, self._ordinal) if self.open else None


class Channel:
    """What the scheduler sees of a connection: the wires of the gate and the worker threads look alike."""

    number: int
    label: str
    segments: Segments

    def busy(self) -> bool:
        """Something moves on it: bytes are in flight, the server or the worker owes an answer."""
        raise NotImplementedError

    def deliverable(self) -> bool:
        """At least one complete answer is held."""
        raise NotImplementedError

    def deliver(self) -> str:
        """Let the next held answer (or frame of it) through; says in words what it was."""
        raise NotImplementedError

    def in_flight(self) -> str:
        """What is held or due on it, in words; empty for nothing."""
        raise NotImplementedError

    def release(self) -> None:
        """Hold nothing any more; everything held goes through."""
        raise NotImplementedError

    def cut(self) -> None:
        """End it from outside, as a network failure would."""
        raise NotImplementedError

    def session(self) -> int | None:
        """The server's own id of the session, where there is a server."""
        return None

    def expect_end(self) -> None:
        """The server is about to end the session: what is in flight is lost, the end itself is held like an answer."""
        raise NotImplementedError

    def in_transaction(self) -> bool:
        """Whether a transaction is open on it, by the server's last word, or by the statements where there is none."""
        return self.segments.open


class _End:
    """The server closed the connection; held back behind the answers before it."""


class Wire(Channel):
    """One connection of the driver, relayed."""

    def __init__(self, gate: Gate, number: int) -> None:
        self.gate = gate
        self.number = number
        self.label = f"connection {number}"
        self.tracker = tracker_for(gate.kind)
        self.segments = Segments(number, begin_commits=gate.kind in ("mysql", "mariadb"))
        self.holding = gate.hold
        self.held: collections.deque[Piece | type[_End]] = collections.deque()
        self.client: asyncio.Transport | None = None
        self.server: asyncio.Transport | None = None
        self.closed = False
        self._farewell = False  # the driver has said goodbye: what the server still owes is the end of the connection
        self._ending = False  # the server was told to end the session
        self._left = False  # the driver has hung up, and the server is to notice
        self._lost = False  # the server has closed the connection: what the driver still sends goes nowhere
        self._early = bytearray()
        self._driver_descriptor: tuple[int, int] | None = None

    # -- from the driver -------------------------------------------------------------------------------------------
    def from_client(self, data: bytes) -> None:
        waiting = self.tracker.owed > 0 or bool(self.held)
        login = not self.tracker.ready
        placed: set[bytes] = set()
        for frame in self.tracker.client(data):
            self._record(frame, overlap=waiting and not login)
            self._farewell = self._farewell or frame.kind in FAREWELLS
            if frame.text:
                self.segments.statement(frame.text)
                for token in TOKEN.findall(frame.text.encode()):  # before the next statement of the same chunk
                    placed.add(token)
                    self.segments.token(token.decode())
        for token in set(TOKEN.findall(data)) - placed:
            self.segments.token(token.decode())
        if self._lost:
            return
        if self.server is None:
            self._early += data
        elif not self.server.is_closing():
            self.server.write(data)

    # -- from the server -------------------------------------------------------------------------------------------
    def from_server(self, data: bytes) -> None:
        hold = self.holding and (self.tracker.ready or self.gate.hold_login)
        through = []
        for piece in self.tracker.server(data):
            self._record(piece.frame, held=hold)
            if hold:
                self.held.append(piece)
            else:
                through.append(piece.data)
        if through and self.client is not None:
            self.client.write(b"".join(through))
        if hold and self.tracker.owed == 0 and not self._ending and not self._complete():
            self._flush()  # unasked news (notices) are nobody's answer

    def server_lost(self) -> None:
        self.server = None
        self._lost = True
        if self.held or (self._ending and self.holding):
            self.held.append(_End)
        else:
            self._close_client()

    def client_lost(self) -> None:
        self.client = None
        self.closed = True
        if self.server is not None and not self.server.is_closing():
            # Not closed here: the server does first what it was asked before, a COMMIT perhaps, and then hangs up.
            self.server.write_eof()
            self._left = True

    # -- the scheduler's side --------------------------------------------------------------------------------------
    def busy(self) -> bool:
        if self.closed:
            return self._left and self.server is not None
        if self.server is None and self._early:
            return True
        if self.server is not None and (self.tracker.owed > 0 or self._farewell or self._ending):
            return True
        return not self._all_arrived()

    def deliverable(self) -> bool:
        return not self.closed and bool(self.held) and (self.tracker.owed == 0 or self._complete())

    def _complete(self) -> bool:
        return any(piece is _End or (isinstance(piece, Piece) and piece.ends_answer) for piece in self.held)

    def deliver(self) -> str:
        kinds = []
        through = []
        ends = False
        while self.held:
            piece = self.held.popleft()
            if not isinstance(piece, Piece):
                ends = True
                kinds.append("the end of the connection")
                break
            through.append(piece.data)
            kinds.append(piece.frame.kind + (f" {piece.frame.text!r}" if piece.frame.text else ""))
            if piece.ends_answer or self._ending or self.gate.by_frame:  # last words and the end may come apart
                break
        if through and self.client is not None:
            self.client.write(b"".join(through))
        if ends:
            self._close_client()
        return ", ".join(kinds[:1] + kinds[-1:] if len(kinds) > 1 else kinds)

    def in_flight(self) -> str:
        if self.closed:
            return ""
        kinds = [piece.frame.kind if isinstance(piece, Piece) else "the end of the connection" for piece in self.held]
        if kinds:
            return f"{self.label} holds {', '.join(kinds)}"
        return f"{self.label} waits for the server" if self.tracker.owed > 0 else ""

    def release(self) -> None:
        self.holding = False
        self._flush()

    def pump(self) -> None:
        """Relay what lies in the sockets now; only for a thread that stands in for a loop that is stuck."""
        self.release()
        for transport, handle in ((self.client, self.from_client), (self.server, self.from_server)):
            if transport is None:
                continue
            with contextlib.suppress(OSError):
                data = os.read(transport.get_extra_info("socket").fileno(), 1 << 16)
                if data:
                    handle(data)

    def _flush(self) -> None:
        while self.held:
            self.deliver()

    def cut(self) -> None:
        self.closed = True
        self._left = False
        self.held.clear()
        for transport in (self.client, self.server):
            if transport is not None:
                transport.abort()

    def session(self) -> int | None:
        return self.tracker.session

    def expect_end(self) -> None:
        self._ending = True
        self.held.clear()

    def in_transaction(self) -> bool:
        return not self.closed and not self._lost and bool(self.tracker.in_transaction)

    def _close_client(self) -> None:
        self.closed = True
        if self.client is not None:
            self.client.close()

    def _record(self, frame: Frame, *, overlap: bool = False, held: bool = False) -> None:
        recorder = self.gate.recorder
        recorder.frames.append(
            FrameRecord(
                recorder.next(),
                recorder.elapsed(),
                self.number,
                frame.direction,
                frame.kind,
                frame.length,
                frame.text,
                overlap,
                held,
            )
        )

    # -- the fence: bytes in flight, exactly -----------------------------------------------------------------------
    def find_driver_socket(self) -> None:
        """Remember the driver's end of this connection (same process), to compare what both kernels counted."""
        if self.client is None:
            return
        theirs, ours = (self.client.get_extra_info(name) for name in ("peername", "sockname"))
        self._driver_descriptor = _descriptor_between(theirs, ours)

    def unread(self) -> int:
        """Bytes that were delivered to the driver's socket and that it has not read, 0 where that is not known."""
        if self._driver_descriptor is None or self.closed:
            return 0
        descriptor, inode = self._driver_descriptor
        try:
            if os.fstat(descriptor).st_ino != inode:
                return 0
            waiting = fcntl.ioctl(descriptor, termios.FIONREAD, b"\0\0\0\0")
        except OSError:
            return 0
        return int(struct.unpack("i", waiting)[0])

    def _all_arrived(self) -> bool:
        """All that one end has sent is in the other end's queue, by the kernel's own counters."""
        if self._driver_descriptor is None or self.client is None:
            return True
        descriptor, inode = self._driver_descriptor
        try:
            if os.fstat(descriptor).st_ino != inode:
                raise OSError
            driver = socket.socket(fileno=descriptor)
        except OSError:
            self._driver_descriptor = None
            return True
        try:
            theirs = _counters(driver)
        finally:
            driver.detach()
        ours = _counters(self.client.get_extra_info("socket"))
        if theirs is None or ours is None:
            return True
        return theirs[0] == ours[1] and ours[0] == theirs[1]


def _counters(connection: Any) -> tuple[int, int] | None:
    """Bytes sent and bytes received, from TCP_INFO; None where the platform does not say."""
    try:
        info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 232)
    except (OSError, AttributeError):
        return None
    if len(info) < 216:
        return None
    received = struct.unpack_from("=Q", info, 128)[0]
    sent, again = struct.unpack_from("=QQ", info, 200)
    return sent - again, received


def _descriptor_between(own: tuple[str, int], peer: tuple[str, int]) -> tuple[int, int] | None:
    """This process's socket with these two addresses. Both count: a connection that an earlier run has lost may have
    had the same port."""
    try:
        names = os.listdir("/proc/self/fd")  # noqa: PTH208 - for every connection: quicker than pathlib
    except OSError:
        return None
    for name in sorted(names, key=int, reverse=True):  # the newest descriptors first: it was just opened
        with contextlib.suppress(OSError):
            if int(name) >= ASIDE or not os.readlink(f"/proc/self/fd/{name}").startswith("socket:"):  # noqa: PTH115
                continue
            candidate = socket.socket(fileno=int(name))
            try:
                if candidate.family != socket.AF_INET or candidate.getsockname()[:2] != own[:2]:
                    continue
                if candidate.getpeername()[:2] == peer[:2]:
                    return int(name), os.fstat(int(name)).st_ino
            finally:
                candidate.detach()
    return None


def _aside(connection: socket.socket) -> socket.socket:
    """The same connection under a number that no driver's socket will get.

    A driver that uses a loop from a foreign thread can leave the number of a closed socket registered there; whoever
    gets the number next is deaf. That may be a connection of the driver, but not one of the gate.
    """
    try:
        descriptor = fcntl.fcntl(connection.fileno(), fcntl.F_DUPFD_CLOEXEC, ASIDE)
    except OSError:  # the limit of open files is lower
        return connection
    connection.close()
    return socket.socket(fileno=descriptor)


class _Listening(socket.socket):
    """A listening socket whose connections are set aside."""

    def accept(self) -> tuple[socket.socket, Any]:
        connection, address = super().accept()
        return _aside(connection), address


class _ClientSide(asyncio.Protocol):
    def __init__(self, gate: Gate) -> None:
        self.gate = gate
        self.wire: Wire | None = None

    def connection_made(self, transport: Any) -> None:
        self.wire = self.gate.accept(transport)

    def data_received(self, data: bytes) -> None:
        assert self.wire is not None
        self.wire.from_client(data)

    def connection_lost(self, error: Exception | None) -> None:
        if self.wire is not None:
            self.wire.client_lost()


class _ServerSide(asyncio.Protocol):
    def __init__(self, wire: Wire) -> None:
        self.wire = wire

    def connection_made(self, transport: Any) -> None:
        if self.wire.closed:
            transport.abort()  # the driver has given up meanwhile
            return
        self.wire.server = transport
        if self.wire._early:
            transport.write(bytes(self.wire._early))
            self.wire._early.clear()

    def data_received(self, data: bytes) -> None:
        self.wire.from_server(data)

    def connection_lost(self, error: Exception | None) -> None:
        self.wire.server_lost()


class Gate:
    """The relay in front of one server. ``port`` is where drivers connect, on 127.0.0.1."""

    def __init__(self, kind: str, host: str, port: int, recorder: Recorder, number: Callable[[], int]) -> None:
        self.kind = kind
        self.upstream = (host, port)
        self.recorder = recorder
        self._number = number
        self.hold = False
        self.hold_login = False
        self.by_frame = False  # held answers are let through frame by frame, not whole
        self.refuse_connections = False
        self.wires: list[Wire] = []
        self.port = 0
        self._server: asyncio.AbstractServer | None = None
        self._addresses: list[Any] = []
        self._connecting: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        listening = _Listening()
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(("127.0.0.1", 0))
        self.port = listening.getsockname()[1]
        loop = asyncio.get_running_loop()
        self._addresses = await loop.getaddrinfo(*self.upstream, type=socket.SOCK_STREAM)
        self._server = await loop.create_server(lambda: _ClientSide(self), sock=listening)

    def accept(self, transport: asyncio.Transport) -> Wire:
        wire = Wire(self, self._number())
        wire.client = transport
        wire.find_driver_socket()
        self.wires.append(wire)
        if self.refuse_connections:
            wire.cut()
            return wire
        loop = asyncio.get_running_loop()
        task = loop.create_task(self._connect(wire))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)
        return wire

    async def _connect(self, wire: Wire) -> None:
        loop = asyncio.get_running_loop()
        for family, kind, protocol, _, address in self._addresses:
            upstream = _aside(socket.socket(family, kind, protocol))
            upstream.setblocking(False)
            try:
                await loop.sock_connect(upstream, address)
                await loop.create_connection(lambda: _ServerSide(wire), sock=upstream)
            except OSError:
                upstream.close()
            else:
                return
        wire.cut()

    def connecting(self) -> bool:
        return bool(self._connecting)

    @contextlib.contextmanager
    def beside_the_loop(self) -> Iterator[None]:
        """Around a call of a driver that connects and blocks the loop's own thread until it is answered.

        The gate runs in that loop, and the call may even hold the interpreter's lock: a forked child takes the call's
        connection and relays it as it comes, ungated.
        """
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
        if self._server is not None:
            self._server.close()


def relay_until(listening: socket.socket, upstream: tuple[str, int], ended: int) -> None:
    """Take one connection and pass bytes on both ways, until both ends are through or the pipe ``ended`` is closed."""
    first: list[Any] = [listening, ended]
    if ended in select.select(first, [], [])[0]:
        return
    near, _ = listening.accept()
    near.setblocking(True)
    far = socket.create_connection(upstream)
    other = {near: far, far: near}
    while other:
        waiting: list[Any] = [*other, ended]
        ready = select.select(waiting, [], [])[0]
        if ended in ready:
            return
        for one in ready:
            data = one.recv(65536)
            if data:
                other[one].sendall(data)
            else:
                other.pop(one).shutdown(socket.SHUT_WR)

"""A channel with a wire: one connection of the driver, relayed. What counts as an answer is decided by the sans-IO
trackers in ``wire/``."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import os
import socket
import struct
from typing import Any

from . import server_failures
from .channel import TOKEN, Channel, FrameRecord, Segments, Timeline
from .sockets import DriverSocket
from .tls import FRONTS, Front
from .warm import Login
from .wire import tracker_for
from .wire.frames import Frame, Piece

ERRORS = ("ERR", "ErrorResponse")
FAREWELLS = ("Terminate", "COM_QUIT", "CancelRequest")


class _End:
    """The server closed the connection; held back behind the answers before it."""


class Wire(Channel):
    """One connection of the driver, relayed."""

    client: asyncio.Transport | None
    driver_socket: DriverSocket
    peers: list[Wire]  # all connections with this server
    pooled: bool

    def __init__(
        self, kind: str, number: int, timeline: Timeline, *, holding: bool, hold_login: bool, by_frame: bool
    ) -> None:
        self.kind = kind
        self.number = number
        self.timeline = timeline
        self.label = f"connection {number}"
        self.tracker = tracker_for(kind)
        self.segments = Segments(number, begin_commits=kind in ("mysql", "mariadb"))
        self.holding = holding
        self.hold_login = hold_login  # answers to the login as well
        self.by_frame = by_frame  # held answers are let through frame by frame, not whole
        self.held: collections.deque[Piece | type[_End]] = collections.deque()
        self.server: asyncio.Transport | None = None
        self.closed = False
        self._farewell = False  # the driver has said goodbye: what the server still owes is the end of the connection
        self._ending = False  # the server was told to end the session
        self._left = False  # the driver has hung up, and the server is to notice
        self.silent = False  # bytes vanish both ways, and neither side hears that the other has gone
        self.logged_in = False  # the driver knows that its login is through: it has asked for something
        self._lost = False  # the server has closed the connection: what the driver still sends goes nowhere
        self.listens = False
        self.news_due = 0  # notifications that the server has still to send it, as soon as nothing is under way
        self._between = False  # nothing is: its last word was that it is ready
        self._lately = False  # it has asked since the world was quiet: the server may not have begun with it
        self._request = b""  # to cancel what was asked just now; the server hears of it when it has begun
        self._early = bytearray()
        self._late = bytearray()  # of the login's answers, what waits for an earlier connection's
        self.login: Login | None = None  # where connections of the server are kept
        self._front: Front | None = None  # where the driver comes by TLS
        self._port: int | None = None  # of this end of the connection to the server

    def connected(self, transport: asyncio.Transport, *, tls: bool = False) -> None:
        """The driver is there; ``tls``: it will come by TLS."""
        self.client = transport
        if tls:
            self._front = FRONTS[self.kind](transport, self._encrypts, self.timeline.failures)
        self.driver_socket = DriverSocket(transport, self.timeline.failures)

    def reached(self, transport: asyncio.Transport) -> None:
        """The server is there: it gets what the driver has said meanwhile."""
        if self.closed and not self._early:
            transport.abort()  # the driver has given up meanwhile
            return
        self.server = transport
        self._port = transport.get_extra_info("sockname")[1]
        if self._early:
            transport.write(bytes(self._early))
            self._early.clear()
        if self.closed:
            self._leave()

    def _encrypts(self, transport: Any) -> None:
        self.client = transport

    # -- from the driver -------------------------------------------------------------------------------------------
    def arrived(self, data: bytes) -> None:
        """Bytes of the driver, as they are on the wire."""
        plain = data if self._front is None else self._front.received(data)
        if plain:
            self.from_client(plain)

    def from_client(self, data: bytes) -> None:
        if self.silent:
            return
        waiting = self.tracker.owed > 0 or bool(self.held)
        login = not self.tracker.ready
        self.logged_in = self.logged_in or not login
        placed: set[bytes] = set()
        for frame in self.tracker.client(data):
            self._record(frame, overlap=waiting and not login)
            self._farewell = self._farewell or frame.kind in FAREWELLS
            self._between = False
            if frame.text:
                self._hear(frame.text)
                self.segments.statement(frame.text)
                if self.login is not None:
                    self.login.hear(frame.text)
                for token in TOKEN.findall(frame.text.encode()):  # before the next statement of the same chunk
                    placed.add(token)
                    self.segments.token(token.decode())
        for token in set(TOKEN.findall(data)) - placed:
            self.segments.token(token.decode())
        self._lately = self._lately or not login
        if any(wire._lately and not wire.tracker.at_rest for wire in self._cancelled()):
            self._request = data
        else:
            self._send(data, login)

    def _cancelled(self) -> list[Wire]:
        """Whom it asks the server to cancel."""
        asked = self.tracker.cancels
        return [] if asked is None else [wire for wire in self.peers if wire.tracker.backend_id == asked]

    def heard(self) -> bool:
        """The world is quiet: the server has answered what it was asked, or waits for a lock. Returns whether a request
        to cancel has gone to it now. Sent at the same time as what it cancels, it would reach another of the server's
        processes, and which of them is the quicker would be nobody's choice."""
        self._lately = False
        request, self._request = self._request, b""
        if request:
            self._send(request, login=True)
            if self.closed:
                self._leave()  # its driver has left meanwhile
        return bool(request)

    def _send(self, data: bytes, login: bool) -> None:
        if self._lost or (self.login is not None and self._warm(self.login, data, login)):
            return
        if self.server is None:
            self._early += data
        elif not self.server.is_closing():
            self.server.write(data)

    def _hear(self, statement: str) -> None:
        """A notification is in flight to whoever listens from when it is sent, outside of a transaction."""
        if statement.startswith("LISTEN"):
            self.listens = True
        elif statement.startswith("NOTIFY"):
            for wire in self.peers:
                wire.news_due += wire.listens

    def _warm(self, login: Login, data: bytes, logging_in: bool) -> bool:
        """Whether the server need not hear this: it is a login that it has heard before, or a goodbye on a connection
        that is kept."""
        if logging_in:
            try:
                answer = login.ask(data)
            except LookupError as error:
                self.timeline.failures.append(f"{error}, on {self.label}")
                self.cut()
                return True
            if answer is not None:
                self.from_server(answer)
            return answer is not None
        server = self.server
        if not (self._farewell and login.can_be_kept() and self.tracker.at_rest):
            return False
        if self.held or self._ending or server is None or server.is_closing() or server.get_write_buffer_size():
            return False
        requests = [wire for wire in self.peers if wire.tracker.cancels == self.tracker.backend_id]
        if not all(wire._lost for wire in requests):
            return False  # the server may still come to one of them
        login.keep(server, self.tracker.backend_id, len(requests))
        self.server_lost()
        return True

    # -- from the server -------------------------------------------------------------------------------------------
    def from_server(self, data: bytes) -> None:
        if self.silent:
            return
        if self.login is not None and not self.tracker.ready:
            self.login.say(data)
        hold = self.holding and (self.tracker.ready or self.hold_login)
        through = []
        login = not self.tracker.ready
        for piece in self.tracker.server(data):
            if login and self._front is not None:
                piece = self._front.answer(piece)
            self._record(piece.frame, held=hold)
            self.news_due -= piece.frame.kind == "NotificationResponse"
            self._between = self._between or piece.frame.kind == "ReadyForQuery"
            if piece.frame.kind in ERRORS:
                failed = server_failures.on_the_wire(self.kind, piece.data, ended=self._ending)
                self.timeline.failures += [f"{failed}, on {self.label}"] if failed else []
            # Behind its last words the server hangs up: that is due like an answer, and held like one.
            self._ending = self._ending or self.tracker.ended
            if hold:
                self.held.append(piece)
            else:
                through.append(piece.data)
        if login and not hold:
            self._late += b"".join(through)
            self._let_logins_through()
        elif through and self.client is not None:
            self.client.write(b"".join(through))
        if hold and self.tracker.owed == 0 and not self._ending and not self._complete():
            self._flush()  # unasked news (notices) are nobody's answer

    def _logs_in(self) -> bool:
        """The server owes it an answer of its login. A request to cancel gets none."""
        gone = self.closed or self.silent or self._lost or self.tracker.cancels is not None
        return not gone and not self.tracker.ready and self.tracker.owed > 0

    def _let_logins_through(self) -> None:
        """Answers of logins reach the driver in the order of their connections, where no schedule decides: which of the
        server's processes is the quicker would be nobody's choice."""
        for wire in self.peers:
            wire._let_login_through()
            if wire._logs_in():
                return

    def _let_login_through(self) -> None:
        if self._late and self.client is not None:
            self.client.write(bytes(self._late))
            self._late.clear()
            if self._lost and not self.held:
                self._close_client()

    def server_lost(self) -> None:
        self.server = None
        self._lost = True
        self._let_logins_through()
        if self.silent:
            return
        if self.held or (self._ending and self.holding):
            self.held.append(_End)
        elif not self._late:
            self._close_client()

    def client_lost(self) -> None:
        self.client = None
        self.closed = True
        self._let_logins_through()
        if self.tracker.cancels is None:
            self._early.clear()  # it has given up before there was anybody; a request to cancel waits for no answer
        if not self.silent and not self._request:
            self._leave()

    def _leave(self) -> None:
        """Not closed here: the server does first what it was asked before, a COMMIT perhaps, and then hangs up."""
        if self.server is not None and not self.server.is_closing():
            self.server.write_eof()
            self._left = True

    # -- the scheduler's side --------------------------------------------------------------------------------------
    def due(self) -> bool:
        if self.closed:
            return self._left and self.server is not None
        if self.silent or self._request:
            return False
        if self.server is None:
            return bool(self._early)
        owed = self.tracker.owed > 0 or (self.news_due > 0 and self._between and not self.tracker.in_transaction)
        return owed or self._farewell or self._ending

    def busy(self) -> bool:
        return self.due() or not (self.closed or self._all_arrived())

    def deliverable(self) -> bool:
        return not self.closed and bool(self.held) and (self.tracker.owed == 0 or self._complete())

    def _complete(self) -> bool:
        return any(piece is _End or (isinstance(piece, Piece) and piece.ends_answer) for piece in self.held)

    def deliver(self) -> dict[str, Any]:
        pieces = []
        through = []
        ends = False
        while self.held:
            piece = self.held.popleft()
            if not isinstance(piece, Piece):
                ends = True
                break
            through.append(piece.data)
            pieces.append({"kind": piece.frame.kind, "text": piece.frame.text})
            if piece.ends_answer or self._ending or self.by_frame:  # last words and the end may come apart
                break
        if through and self.client is not None:
            self.client.write(b"".join(through))
        if ends:
            self._close_client()
        return {"pieces": pieces[:1] + pieces[1:][-1:], "ends": ends}

    def in_flight(self) -> str:
        if self.closed or self.silent:
            return ""
        kinds = [piece.frame.kind if isinstance(piece, Piece) else "the end of the connection" for piece in self.held]
        if kinds:
            return f"{self.label} holds {', '.join(kinds)}"
        return f"{self.label} waits for the server" if self.tracker.owed > 0 else ""

    def release(self) -> None:
        self.holding = False
        self._let_login_through()
        self._flush()

    def pump(self) -> None:
        """Relay what lies in the sockets now; only for a thread that stands in for a loop that is stuck. Raises OSError
        where that cannot be done without the loop."""
        self.release()
        self.heard()
        sides = (self.client, self.arrived, self.server), (self.server, self.from_server, self.client)
        for transport, handle, other in sides:
            if transport is None:
                continue
            if transport.is_closing():
                _hang_up(transport)  # the loop would, in its next round
                continue
            try:
                data = os.read(transport.get_extra_info("socket").fileno(), 1 << 16)
            except BlockingIOError:
                continue
            except ConnectionError:
                data = b""
            if data:
                handle(data)
            elif other is not None:
                _hang_up(other)
            if other is not None and other.get_write_buffer_size():
                raise BlockingIOError(f"{self.label}: more is due than a socket takes while the loop is stuck")

    def _flush(self) -> None:
        while self.held:
            self.deliver()

    def fall_silent(self) -> None:
        """From now on nothing passes, and nothing closes: what is held is lost too."""
        self.silent = True
        self._lose()

    def _lose(self) -> None:
        """What is on its way to either side does not arrive."""
        self.held.clear()
        self._late.clear()
        self._early.clear()
        self._request = b""
        self._let_logins_through()

    def reset(self) -> None:
        """The driver gets TCP's RST, not an end."""
        if self.client is not None and not self.client.is_closing():
            linger = struct.pack("ii", 1, 0)
            self.client.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.cut()

    def cut(self) -> None:
        self.closed = True
        self._left = False
        self._lose()
        for transport in (self.client, self.server):
            if transport is not None:
                transport.abort()

    def backend_id(self) -> int | None:
        return self._port if self.pooled else self.tracker.backend_id

    def expect_end(self) -> None:
        self._ending = True
        self.held.clear()

    def in_transaction(self) -> bool:
        return not self.closed and not self._lost and not self.silent and bool(self.tracker.in_transaction)

    def _close_client(self) -> None:
        self.closed = True
        if self.client is not None:
            self.client.close()

    def _record(self, frame: Frame, *, overlap: bool = False, held: bool = False) -> None:
        timeline = self.timeline
        timeline.frames.append(
            FrameRecord(
                timeline.next(),
                timeline.elapsed(),
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
    def unread(self) -> int:
        """Bytes that were delivered to the driver's socket and that it has not read, 0 where that is not known."""
        return 0 if self.closed else self.driver_socket.unread()

    def _all_arrived(self) -> bool:
        return self.client is None or self.driver_socket.all_arrived()


def _hang_up(transport: asyncio.Transport) -> None:
    """Let the other end know that no more comes, without the loop. It may know already."""
    with contextlib.suppress(OSError):
        transport.get_extra_info("socket").shutdown(socket.SHUT_WR)

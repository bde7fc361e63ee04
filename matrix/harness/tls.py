"""TLS between driver and gate. The gate ends it, with a certificate of its own, and speaks to the server as it does
without: what is on the wire is TLS, what is gated and recorded is the protocol inside.

Nothing here opens a socket: bytes of the driver come in, and what the driver is to get is written to its transport.
"""

from __future__ import annotations

import contextlib
import functools
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .wire.frames import Piece

CERTIFICATE = Path(__file__).with_name("gate.pem")
_SSL_REQUEST = b"\0\0\0\x08\x04\xd2\x16\x2f"
_CANCEL_REQUEST = b"\0\0\0\x10\x04\xd2\x16\x2e"
_CLIENT_SSL = 0x0800  # of MySQL's capabilities
_HEADER = 4  # bytes of a MySQL packet before its payload: three of its length, one of its number
_SSL_REQUEST_SIZE = 32
WITHOUT = "the driver speaks without TLS in a cell with it"


@functools.cache
def of_gate() -> ssl.SSLContext:
    """The gate's side."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    context.num_tickets = 0  # a driver that reads when it has asked would leave them in its socket
    return context


@functools.cache
def of_driver() -> ssl.SSLContext:
    """A driver's side: it checks certificate and name as documentation recommends."""
    return ssl.create_default_context(cafile=CERTIFICATE)


class TlsTransport:
    """A transport to the driver whose writes are encrypted; everything else is the socket's transport's."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = of_gate().wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._agreed = False
        self._over = False  # goodbye was said: as after a socket's, what comes goes nowhere

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def receive(self, data: bytes) -> bytes:
        """Take bytes of the driver; what they say. Answers the handshake and the driver's goodbye by itself."""
        self._incoming.write(data)
        plain = b""
        try:
            if not self._agreed:
                self._tls.do_handshake()
                self._agreed = True
            while part := self._tls.read(1 << 16):
                plain += part
            self.close()
        except ssl.SSLWantReadError:
            self._flush()
        except ssl.SSLZeroReturnError:
            self.close()
        except ssl.SSLError:  # no certificate that it trusts, a broken record: as a server does
            self._flush()
            self._transport.abort()
        return plain

    def write(self, data: bytes) -> None:
        if self._over:
            return
        self._tls.write(data)
        self._flush()

    def close(self) -> None:
        """Say goodbye as TLS does, then close."""
        self._over = True
        with contextlib.suppress(ssl.SSLError):
            self._tls.unwrap()
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._outgoing.pending and not self._transport.is_closing():
            self._transport.write(self._outgoing.read())


class Front:
    """What stands before a wire in a cell with TLS: it gives the wire plain bytes, and ``upgraded`` the transport that
    encrypts. Subclasses know how TLS begins in their protocol."""

    def __init__(self, transport: Any, upgraded: Callable[[TlsTransport], None], failures: list[str]) -> None:
        self._transport = transport
        self._upgraded = upgraded
        self._failures = failures
        self._tls: TlsTransport | None = None
        self._plain = False  # it goes on without
        self._begun = b""

    def received(self, data: bytes) -> bytes:
        """Take bytes of the driver; what of them the server is to get."""
        if self._tls is not None:
            return self.inside(self._tls.receive(data))
        if self._plain:
            return data
        self._begun += data
        return self.begin()

    def begin(self) -> bytes:
        """See from ``_begun`` whether TLS begins; what the server is to get."""
        raise NotImplementedError

    def inside(self, data: bytes) -> bytes:
        """Bytes that came encrypted."""
        return data

    def answer(self, piece: Piece) -> Piece:
        """A message of the server's during the login, as the driver is to get it."""
        return piece

    def _encrypt(self, rest: bytes) -> bytes:
        self._tls = TlsTransport(self._transport)
        self._upgraded(self._tls)
        return self.inside(self._tls.receive(rest)) if rest else b""

    def _go_on_plain(self, *, allowed: bool) -> bytes:
        if not allowed:
            self._failures.append(WITHOUT)
        self._plain = True
        return self._begun


class PostgresFront(Front):
    """TLS begins with an SSLRequest, which the gate answers, or at once. A cancel request may come without: so libpq
    sends it before version 17."""

    def begin(self) -> bytes:
        if self._begun[:1] == b"\x16":
            return self._encrypt(self._begun)
        if len(self._begun) < len(_SSL_REQUEST):
            return b""
        if self._begun.startswith(_SSL_REQUEST):
            self._transport.write(b"S")
            return self._encrypt(self._begun[len(_SSL_REQUEST) :])
        return self._go_on_plain(allowed=self._begun.startswith(_CANCEL_REQUEST))


class MySQLFront(Front):
    """TLS begins behind the server's greeting, with a request that is a packet of its own. The server hears nothing of
    it: the packets of the login that follow it have one number less, and their capabilities are without TLS."""

    def __init__(self, transport: Any, upgraded: Callable[[TlsTransport], None], failures: list[str]) -> None:
        super().__init__(transport, upgraded, failures)
        self._greeted = False
        self._responded = False
        self._inside = b""
        self._login = True

    def begin(self) -> bytes:
        whole = _HEADER + _SSL_REQUEST_SIZE
        if len(self._begun) < whole:
            return b""
        if int.from_bytes(self._begun[:3], "little") != _SSL_REQUEST_SIZE:
            return self._go_on_plain(allowed=False)
        return self._encrypt(self._begun[whole:])

    def inside(self, data: bytes) -> bytes:
        if not self._login:
            return data
        self._inside += data
        through = b""
        while len(self._inside) >= _HEADER:
            end = _HEADER + int.from_bytes(self._inside[:3], "little")
            if len(self._inside) < end:
                break
            packet, self._inside = bytearray(self._inside[:end]), self._inside[end:]
            if packet[3] == 0:  # a command: the login is over
                self._login = False
                return through + bytes(packet) + self._inside
            packet[3] -= 1
            if not self._responded:
                packet[_HEADER + 1] &= ~(_CLIENT_SSL >> 8) & 0xFF
                self._responded = True
            through += packet
        return through

    def answer(self, piece: Piece) -> Piece:
        packet = bytearray(piece.data)
        if not self._greeted:
            self._greeted = True
            capabilities = packet.index(0, _HEADER + 1) + 1 + 4 + 8 + 1  # behind version, thread, challenge, a zero
            packet[capabilities + 1] |= _CLIENT_SSL >> 8
        elif self._tls is not None:
            packet[3] += 1
        return Piece(bytes(packet), piece.frame, piece.ends_answer)


FRONTS: dict[str, type[Front]] = {"postgres": PostgresFront, "mysql": MySQLFront, "mariadb": MySQLFront}

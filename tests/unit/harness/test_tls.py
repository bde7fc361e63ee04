"""TLS between driver and gate, without sockets: what the driver says arrives plain, in whatever parts it comes."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Any

import pytest

from matrix.harness import tls
from matrix.harness.wire.frames import Frame, Piece

STARTUP = b"\0\0\0\x08\0\x03\0\0"
CANCEL = b"\0\0\0\x10\x04\xd2\x16\x2e\0\0\0\x07\0\0\0\x09"
SSL_REQUEST = b"\0\0\0\x08\x04\xd2\x16\x2f"


class Socket:
    """The transport to the driver: what it was given, and whether it was closed."""

    def __init__(self) -> None:
        self.sent = b""
        self.ended = ""

    def write(self, data: bytes) -> None:
        assert not self.ended
        self.sent += data

    def close(self) -> None:
        self.ended = self.ended or "closed"

    def abort(self) -> None:
        self.ended = "aborted"

    def is_closing(self) -> bool:
        return bool(self.ended)

    def take(self) -> bytes:
        sent, self.sent = self.sent, b""
        return sent


class Driver:
    """A driver's side of TLS, and the front that it speaks to; ``heard`` is what came out of that."""

    def __init__(self, front: type[tls.Front], context: ssl.SSLContext | None = None) -> None:
        self.socket, self.heard = Socket(), b""
        self.failures: list[str] = []
        self.transport: Any = self.socket
        self.front = front(self.socket, self._upgraded, self.failures)
        self._incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        wrap = (context or tls.of_driver()).wrap_bio
        self._tls = wrap(self._incoming, self.outgoing, server_hostname="127.0.0.1")

    def _upgraded(self, transport: tls.TlsTransport) -> None:
        self.transport = transport

    def send(self, data: bytes, parts: int = 1000) -> None:
        for start in range(0, len(data), parts):
            self.heard += self.front.received(data[start : start + parts])

    def encrypted(self, do: Callable[[], Any], parts: int = 1000) -> Any:
        """Do this by TLS; what it gives."""
        for _ in range(5):
            self._incoming.write(self.socket.take())
            try:
                done = do()
            except ssl.SSLWantReadError:
                self.send(self.outgoing.read(), parts)
            else:
                self.send(self.outgoing.read(), parts)
                return done
        raise AssertionError("the gate does not answer")

    def handshake(self, parts: int = 1000) -> None:
        self.encrypted(self._tls.do_handshake, parts)

    def say(self, data: bytes, parts: int = 1000) -> None:
        self.encrypted(lambda: self._tls.write(data), parts)

    def read(self) -> Any:
        return self.encrypted(lambda: self._tls.read(1 << 16))

    def leave(self) -> None:
        with pytest.raises(ssl.SSLWantReadError):
            self._tls.unwrap()
        self.send(self.outgoing.read())


@pytest.mark.parametrize("parts", [1, 7, 1000])
def test_what_a_driver_says_by_tls_arrives_plain(parts: int) -> None:
    driver = Driver(tls.PostgresFront)
    driver.send(SSL_REQUEST, parts)
    assert driver.socket.take() == b"S"
    driver.handshake(parts)
    driver.say(STARTUP, parts)
    driver.say(b"Q", parts)
    assert driver.heard == STARTUP + b"Q"
    driver.transport.write(b"the answer")
    assert b"the answer" not in driver.socket.sent
    assert driver.read() == b"the answer"
    assert driver.failures == []


def test_tls_may_begin_at_once() -> None:
    driver = Driver(tls.PostgresFront)
    driver.handshake()
    driver.say(STARTUP)
    assert driver.heard == STARTUP


def test_a_driver_that_speaks_without_tls_is_a_failure_but_for_a_cancel_request() -> None:
    plain, cancels = Driver(tls.PostgresFront), Driver(tls.PostgresFront)
    plain.send(STARTUP)
    cancels.send(CANCEL)
    assert (plain.heard, plain.failures) == (STARTUP, [tls.WITHOUT])
    assert (cancels.heard, cancels.failures) == (CANCEL, [])


def test_who_does_not_trust_the_certificate_is_left() -> None:
    driver = Driver(tls.PostgresFront, ssl.create_default_context())
    driver.send(SSL_REQUEST)
    driver.socket.take()
    with pytest.raises(ssl.SSLCertVerificationError):
        driver.handshake()
    driver.send(driver.outgoing.read())
    assert driver.socket.ended == "aborted"


def test_a_goodbye_is_answered_and_what_comes_later_goes_nowhere() -> None:
    driver = Driver(tls.PostgresFront)
    driver.handshake()
    driver.leave()
    assert driver.socket.ended == "closed"
    driver.transport.write(b"late")
    driver.transport.close()


def packet(number: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "little") + bytes([number]) + payload


def server_says(driver: Driver, data: bytes) -> bytes:
    return driver.front.answer(Piece(data, Frame("<-", "AuthData", len(data), ""), True)).data


@pytest.mark.parametrize("parts", [1, 1000])
def test_mysql_s_server_hears_a_login_without_tls(parts: int) -> None:
    driver = Driver(tls.MySQLFront)
    greeting = b"\x0a9.7.4\0" + b"\1\0\0\0" + b"a salt.." + b"\0" + b"\xff\xf7"
    greeted = server_says(driver, packet(0, greeting))
    assert greeted == packet(0, greeting[:-1] + b"\xff")  # the server itself need not have TLS
    capabilities = b"\x05\xae"
    driver.send(packet(1, capabilities + bytes(30)), parts)
    assert driver.heard == b""
    driver.handshake(parts)
    driver.say(packet(2, capabilities + b"me") + packet(4, b"more"), parts)
    assert driver.heard == packet(1, b"\x05\xa6me") + packet(3, b"more")
    assert server_says(driver, packet(2, b"well")) == packet(3, b"well")
    driver.heard = b""
    driver.say(packet(0, b"\3SELECT 1") + packet(0, b"\1"), parts)
    driver.say(packet(2, b"rows"), parts)
    assert driver.heard == packet(0, b"\3SELECT 1") + packet(0, b"\1") + packet(2, b"rows")


def test_a_mysql_driver_that_logs_in_without_tls_is_a_failure() -> None:
    driver = Driver(tls.MySQLFront)
    driver.send(packet(1, bytes(60)))
    assert (driver.heard, driver.failures) == (packet(1, bytes(60)), [tls.WITHOUT])

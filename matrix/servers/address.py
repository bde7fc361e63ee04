"""Addresses of servers that the caller gives in environment variables. A password is never part of a message."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qs, unquote, urlsplit

from matrix.servers.catalogue import Kind
from matrix.servers.errors import ServerError

CONNECT_SECONDS = 5.0
SSL_REQUEST = bytes([0, 0, 0, 8, 4, 210, 22, 47])  # of PostgreSQL: answered with one byte


@dataclass(frozen=True)
class ServerAddress:
    """A parsed ``scheme://user:password@host:port/database?options``."""

    host: str
    port: int
    user: str
    password: str = field(repr=False)
    database: str = ""
    query: str = field(default="", repr=False)
    socket: str | None = None


def parse_address(text: str, kind: Kind) -> ServerAddress:
    """Read an address of this kind of server. Raises ServerError (which never quotes the text)."""
    malformed = ServerError(
        f"{kind.variable} is not an address of the form {kind.example} "
        "(write special characters of the password as %XX)"
    )
    try:
        parts = urlsplit(text.strip())
        host, port = parts.hostname or "", parts.port or kind.port
    except ValueError:
        raise malformed from None
    unix_socket = parse_qs(parts.query).get("socket", [None])[0]
    if parts.scheme not in kind.schemes or parts.fragment or not parts.username or not (host or unix_socket):
        raise malformed
    return ServerAddress(
        host=host or "localhost",
        port=port,
        user=unquote(parts.username),
        password=unquote(parts.password or ""),
        database=unquote(parts.path.strip("/")),
        query=parts.query,
        socket=unix_socket,
    )


def given_address(kind: Kind, environment: Mapping[str, str] = os.environ) -> ServerAddress | None:
    """The address that the caller gave for this kind, or None. Raises ServerError if it is malformed."""
    text = environment.get(kind.variable, "") if kind.variable else ""
    return parse_address(text, kind) if text.strip() else None


def reachable(address: ServerAddress, seconds: float = CONNECT_SECONDS, kind: str = "") -> str | None:
    """None if something accepts connections there within so many seconds, else the reason in a few words. Of a
    ``kind`` of server it has to speak the protocol, by its first bytes alone; there is no login."""
    try:
        if address.socket:
            probe = socket.socket(socket.AF_UNIX)
            probe.settimeout(seconds)
            probe.connect(address.socket)
        else:
            probe = socket.create_connection((address.host, address.port), timeout=seconds)
        with probe:
            return None if _speaks(probe, kind) else f"what listens there is no {kind} server"
    except TimeoutError:
        return f"no answer within {seconds:g} s"
    except OSError as error:
        return error.strerror or str(error)
    except UnicodeError:
        return "not a host name"


def _speaks(probe: socket.socket, kind: str) -> bool:
    if kind == "postgres":
        probe.sendall(SSL_REQUEST)
        return probe.recv(1) in (b"S", b"N", b"E")
    if kind in ("mysql", "mariadb"):  # the server speaks first: its version, or why it lets nobody in
        return probe.recv(5, socket.MSG_WAITALL)[4:] in (b"\x0a", b"\xff")
    return True


def check_reachable(address: ServerAddress, kind: Kind) -> None:
    """Raises ServerError in two lines when nothing listens at the given address, or something else."""
    if reason := reachable(address, kind=kind.name):
        where = address.socket or f"{address.host}:{address.port}"
        raise ServerError(
            f"{kind.variable} names {where}, which cannot be used: {reason}\n"
            f"Give it as {kind.example}, or unset it: then a private server is started."
        )

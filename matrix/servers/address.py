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


@dataclass(frozen=True)
class Address:
    """A parsed ``scheme://user:password@host:port/database?options``."""

    host: str
    port: int
    user: str
    password: str = field(repr=False)
    database: str = ""
    query: str = field(default="", repr=False)
    socket: str | None = None


def parse_address(text: str, kind: Kind) -> Address:
    """Read an address of this kind of server. Raises ServerError (which never quotes the text)."""
    form = f"{kind.schemes[0]}://user:password@host:port/"
    malformed = ServerError(
        f"{kind.variable} is not an address of the form {form} (write special characters of the password as %XX)"
    )
    try:
        parts = urlsplit(text.strip())
        host, port = parts.hostname or "", parts.port or kind.port
    except ValueError:
        raise malformed from None
    unix_socket = parse_qs(parts.query).get("socket", [None])[0]
    if parts.scheme not in kind.schemes or parts.fragment or not parts.username or not (host or unix_socket):
        raise malformed
    return Address(
        host=host or "localhost",
        port=port,
        user=unquote(parts.username),
        password=unquote(parts.password or ""),
        database=unquote(parts.path.strip("/")),
        query=parts.query,
        socket=unix_socket,
    )


def given_address(kind: Kind, environment: Mapping[str, str] = os.environ) -> Address | None:
    """The address that the caller gave for this kind, or None. Raises ServerError if it is malformed."""
    text = environment.get(kind.variable, "") if kind.variable else ""
    return parse_address(text, kind) if text.strip() else None


def reachable(address: Address, seconds: float = CONNECT_SECONDS) -> str | None:
    """None if something accepts connections there within so many seconds, else the reason in a few words."""
    try:
        if address.socket:
            with socket.socket(socket.AF_UNIX) as probe:
                probe.settimeout(seconds)
                probe.connect(address.socket)
        else:
            socket.create_connection((address.host, address.port), timeout=seconds).close()
    except TimeoutError:
        return f"no answer within {seconds:g} s"
    except OSError as error:
        return error.strerror or str(error)
    except UnicodeError:
        return "not a host name"
    return None


def check_reachable(address: Address, kind: Kind) -> None:
    """Raises ServerError in one line when nothing listens at the given address."""
    reason = reachable(address)
    if reason:
        where = address.socket or f"{address.host}:{address.port}"
        raise ServerError(f"{kind.variable} names {where}, which cannot be reached: {reason}")

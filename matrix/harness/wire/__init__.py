"""The wire gate's knowledge of protocols: trackers that read a copy of both directions and know whose turn it is.

Pure functions of bytes; the relay that owns the sockets is not here.
"""

from __future__ import annotations

from matrix.harness.wire.frames import Frame, Piece, Tracker
from matrix.harness.wire.mysql import MySQLTracker
from matrix.harness.wire.postgres import PostgresTracker

__all__ = ["Frame", "MySQLTracker", "Piece", "PostgresTracker", "Tracker", "tracker_for"]

_TRACKERS: dict[str, type[MySQLTracker] | type[PostgresTracker]] = {
    "mysql": MySQLTracker,
    "mariadb": MySQLTracker,
    "postgres": PostgresTracker,
}


def tracker_for(kind: str) -> Tracker:
    """Return a new tracker for one connection to a server of this kind; raises ValueError for an unknown one."""
    try:
        return _TRACKERS[kind]()
    except KeyError:
        raise ValueError(f"no wire tracker for server kind {kind!r}; known: {', '.join(sorted(_TRACKERS))}") from None

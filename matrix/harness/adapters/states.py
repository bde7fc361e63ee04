"""What a server keeps of a session, for drivers whose pools give its connection to the next user: by name, the
statement that changes it and the condition that holds from then on, and in no new session."""

from __future__ import annotations

from collections.abc import Mapping

States = Mapping[str, tuple[str, str]]

# Its rows hide those of the database's own table of that name.
_TEMPORARY_TABLE = (
    "CREATE TEMPORARY TABLE counter AS SELECT 'private' AS name, 77 AS value",
    "EXISTS (SELECT 1 FROM counter WHERE name = 'private')",
)


def _parameter(name: str) -> str:
    return f"EXISTS (SELECT 1 FROM pg_settings WHERE name = '{name}' AND source = 'session')"


POSTGRES: States = {
    "role": ("SELECT set_config('role', current_user, false)", "current_setting('role') <> 'none'"),
    "temporary table": _TEMPORARY_TABLE,
    "isolation level": (
        "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE",
        _parameter("default_transaction_isolation"),
    ),
    "time zone": ("SET TIME ZONE 'Pacific/Chatham'", _parameter("TimeZone")),
    "search path": ("SET search_path = public, pg_catalog", _parameter("search_path")),
    "listener": ("LISTEN matrix", "EXISTS (SELECT 1 FROM pg_listening_channels())"),
    "lock": (
        "SELECT pg_advisory_lock(pg_backend_pid())",
        "EXISTS (SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid())",
    ),
    "prepared statement": (
        "PREPARE matrix_statement AS SELECT 1",
        "EXISTS (SELECT 1 FROM pg_prepared_statements WHERE name = 'matrix_statement')",
    ),
}
# What each of the two calls it; the other takes it for a comment.
_ISOLATION = "@@{}./*!80000 transaction_isolation*//*M! tx_isolation*/"
MYSQL: States = {
    "temporary table": _TEMPORARY_TABLE,
    "isolation level": (
        "SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE",
        f"{_ISOLATION.format('session')} <> {_ISOLATION.format('global')}",
    ),
    "time zone": ("SET time_zone = '+05:45'", "@@session.time_zone <> @@global.time_zone"),
    "lock": (
        "SELECT GET_LOCK(CONCAT('matrix', CONNECTION_ID()), 0)",
        "IS_USED_LOCK(CONCAT('matrix', CONNECTION_ID())) = CONNECTION_ID()",
    ),
}
SQLITE: States = {"temporary table": _TEMPORARY_TABLE}

"""Miniatures that are each wrong in one way about what a session keeps, and about operations left half-way; and right
ones that go about it in an unusual way."""

from __future__ import annotations

from .driver import Connection, Pool, Queueing


class KeepsTheRole(Queueing):
    """Sets back what it calls settings when a connection is given back, and leaves its user's role to the next."""

    expects = ("recovery", "poisons")

    class connection_type(Connection):
        def reset(self) -> None:
            self.changed = self.changed and self.wire.server.setting != "role"
            super().reset()


class LeavesAutocommitOff(Queueing):
    """Gives the next user a connection that the last one has switched autocommit off on."""

    expects = ("durability", "lies")

    class connection_type(Connection):
        def reset(self) -> None:
            self.switched = False
            super().reset()


class CommitsForgottenTransactions(Queueing):
    """Commits what is open on a connection when that is given back."""

    expects = ("atomicity", "lies")

    class connection_type(Connection):
        def reset(self) -> None:
            self.forget("COMMIT")
            super().reset()


class ReplacesChangedConnections(Queueing):
    """Right, and unusual: takes no connection back whose session is not as a new one's, and opens another."""

    class pool_type(Pool):
        async def release(self, connection: Connection) -> None:
            if self.is_lent(connection) and (connection.changed or connection.switched or connection.wire.server.open):
                connection.close()
            await super().release(connection)


RIGHT_AND_UNUSUAL = (ReplacesChangedConnections,)

"""The port through which a session asks the driver for things, on one of its own connections."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .blocks import TransactionBlock
from .history import SEEN, THE_END, UNSEEN, Block, Iteration
from .ports import Port
from .sentences import Fact
from .witness import ENTRY

if TYPE_CHECKING:
    from .session import Session

SETTING = "77"
LONG = 10_000  # characters of an error's text: more than a server takes of one


@dataclass
class Listening:
    """Who listens on a channel: ``rows``, what is going to be sent on it; ``state``, what the driver gave for it."""

    channel: str
    rows: list[str]
    state: Any
    sent: int = 0


class DriverPort(Port):
    """The driver alone, on one of its connections."""

    one_connection = True

    def __init__(self, session: Session, connection: Any, late: bool = False) -> None:
        super().__init__(session)
        self.connection = connection
        self.late = late

    def _place(self) -> tuple[int | None, bool]:
        inside, late = super()._place()
        return inside, late or self.late

    def scope(self, block: int | None) -> str:
        return self.world.scope(self.connection)

    async def _read(self, nonce: str) -> str:
        return await self.world.adapter.read(self.connection, nonce)

    async def _write(self, token: str) -> None:
        await self.world.adapter.write(self.connection, token)

    async def _fail(self) -> None:
        await self.world.adapter.fail(self.connection)

    async def _script(self, text: str) -> None:
        await self.world.adapter.script(self.connection, text)

    async def ping(self) -> None:
        """Look whether the connection is alive."""
        await self._ask("ping", {"kind": "ping"}, lambda: self.world.adapter.ping(self.connection), "")

    async def exists(self, row: str) -> None:
        """Look whether somebody's row is there."""
        found = f"EXISTS (SELECT 1 FROM {ENTRY} WHERE token LIKE '%{row[1:]}')"  # not its whole token, as with Tortoise
        question = f"SELECT CASE WHEN {found} THEN '{SEEN}' ELSE '{UNSEEN}' END"
        look = functools.partial(self.world.adapter.setting, self.connection, question)
        await self._ask("look", {"kind": "look", "row": row}, look, row)

    async def iterate(self, *, streamed: bool, leave: int = 0, copied: bool = False, fails: bool = False) -> None:
        """Walk through a result of three rows, one fetch at a time. Every row must be the one that was asked for, and
        the end must come behind the last. ``leave``: after so many rows; ``copied``: the rows of a COPY, whose loop is
        left without an error, so that the end comes behind those; ``fails``: streamed by a call that is no cursor of
        the server's, and the second row is an error."""
        world, session, scope = self.world, self.session, self.scope(None)
        nonces = [world.nonce() for _ in range(3)]
        rows = world.adapter.rows(self.connection, nonces, streamed=streamed)
        if copied:
            rows = world.adapter.copy_out(self.connection, nonces, leave)
        if fails:
            rows = world.adapter.stream(self.connection, nonces)
        how = {"copied": True} if copied else {"fails": True} if fails else {}
        own = streamed and not copied and not fails and world.adapter.streams_in_transaction

        async def fetch() -> str:
            return await anext(rows, THE_END)

        iteration = None
        try:
            wanted = (*nonces[: leave or None], *[THE_END] * (copied or not leave))
            for nonce in wanted:
                asks = {"kind": "fetch", "row": nonce, **how}
                await session.step(asks)
                if iteration is None:
                    iteration = Iteration(session.name, scope, world.timeline.sequence)
                    world.history.iterations.append(iteration)
                await session.operate("read", asks, fetch, scope=scope, nonce=nonce, turn=False)
                if own and not iteration.transaction:
                    iteration.transaction = True
                    world.recording.note(session.name, "note", {"kind": "cursor_begins"})
        finally:
            await rows.aclose()
            if iteration is not None:
                iteration.ended = world.timeline.sequence
                if iteration.transaction:
                    world.recording.note(session.name, "note", {"kind": "cursor_closed"})

    async def make_table(self) -> tuple[str, str]:
        """Make a table with one row: its name, and the value in it."""
        table, value = self.world.fresh_table(), self.world.nonce()
        await self._run_script(f"CREATE TABLE {table} AS SELECT '{value}' AS nonce")
        return table, value

    async def widen(self, table: str) -> None:
        """Give a table one column more, as a migration does."""
        await self._run_script(f"ALTER TABLE {table} ADD COLUMN more int")

    async def read_from(self, table: str, value: str) -> None:
        """Ask for all columns of a table, by the same statement each time."""
        asks = {"kind": "read", "row": value}
        question = f"SELECT * FROM {table}"
        await self._ask("read", asks, lambda: self.world.adapter.setting(self.connection, question), value)

    async def listen(self, count: int) -> Listening:
        """Listen for notifications, of which so many are going to be sent."""
        channel, rows = self.world.fresh_table(), [self.world.nonce() for _ in range(count)]
        listen = functools.partial(self.world.adapter.listen, self.connection, channel)
        return Listening(channel, rows, await self._ask("listen", {"kind": "listen"}, listen, ""))

    async def notify(self, listening: Listening) -> None:
        """Send who listens the next notification."""
        row = listening.rows[listening.sent]
        listening.sent += 1
        notify = functools.partial(self.world.adapter.script, self.connection, f"NOTIFY {listening.channel}, '{row}'")
        await self._ask("notify", {"kind": "notify", "row": row}, notify, "")

    async def hear(self, listening: Listening) -> None:
        """Wait for all notifications: each must be there, once, in the order in which they are sent."""

        async def hear() -> str:
            return " ".join(await self.world.adapter.hear(listening.state, len(listening.rows)))

        await self._ask("read", {"kind": "hear", "rows": listening.rows}, hear, " ".join(listening.rows))

    @contextlib.asynccontextmanager
    async def pipeline(self) -> AsyncIterator[None]:
        """``async with``: the connection's pipeline mode, by the driver's own call."""
        mode = self.world.adapter.pipeline(self.connection)
        await self._ask("pipeline", {"kind": "pipeline"}, mode.__aenter__, "")
        try:
            yield
        finally:
            error = sys.exc_info()
            await self._ask("pipeline_end", {"kind": "pipeline_end"}, lambda: mode.__aexit__(*error), "")

    async def write_many(self) -> None:
        """Insert three rows by the driver's ``executemany``."""
        await self._write_rows("executemany", self.world.adapter.write_many)

    async def copy_in(self, *, fails: bool = False) -> None:
        """Insert three rows by COPY, from a source that gives each when it is this session's turn. ``fails``: in the
        place of the last row it raises an error of the program's own, with a long text."""
        session = self.session

        async def rows(tokens: Sequence[str]) -> AsyncIterator[str]:
            for token in tokens[:-1] if fails else tokens:
                await session.step({"kind": "row", "row": token})
                yield token
            if fails:
                raise session.deliberate("x" * LONG)

        async def copy_in(connection: Any, tokens: Sequence[str]) -> None:
            await self.world.adapter.copy_in(connection, rows(tokens))

        await self._write_rows("copy_in", copy_in, {"fails": True} if fails else {})

    async def _write_rows(
        self, kind: str, write: Callable[[Any, Sequence[str]], Awaitable[None]], more: Fact | None = None
    ) -> None:
        rows = tuple(self.world.token() for _ in range(3))
        asks = {"kind": kind, "rows": list(rows), **(more or {})}
        await self._ask("write", asks, lambda: write(self.connection, rows), rows[0], rows)

    async def change_setting(self, state: str = "") -> None:
        """Change a setting of the server's session, or another ``state`` of it (Adapter.states)."""
        adapter = self.world.adapter
        statement = adapter.states[state][0] if state else adapter.change_setting.format(SETTING)
        asks = {"kind": "set", "sql": statement}
        await self._ask("set", asks, lambda: adapter.script(self.connection, statement), state or SETTING)

    async def show_setting(self, state: str = "") -> None:
        """Look at that: it must be as in a new session."""
        adapter = self.world.adapter
        question = f"SELECT CASE WHEN {adapter.states[state][1]} THEN '{state}' END" if state else adapter.show_setting
        asks = {"kind": "probe", "sql": question}
        await self._ask("probe", asks, lambda: adapter.setting(self.connection, question), "unset")

    async def switch_autocommit_off(self) -> None:
        """From now on the connection begins transactions by itself (``transaction(implicit=True)``)."""
        adapter = self.world.adapter
        await self._ask("set", {"kind": "no_autocommit"}, lambda: adapter.switch_autocommit_off(self.connection), "off")

    def transaction(self, *, implicit: bool = False) -> TransactionBlock:
        """``async with``: begin, then commit, or roll back when an exception leaves the block. ``implicit``: the
        connection, without autocommit, begins it by itself, and it is ended by the connection's own calls."""
        adapter, connection = self.world.adapter, self.connection

        class ByHand:
            async def __aenter__(self) -> None:
                self.state = None if implicit else await adapter.begin(connection)

            async def __aexit__(self, kind: Any, error: Any, trace: Any) -> None:
                if kind is not None:
                    # What cancelled a statement may have closed the connection; that is no reason to hide why.
                    with contextlib.suppress(*[Exception] * (kind is asyncio.CancelledError)):
                        await adapter.rollback(connection, self.state)
                    return
                try:
                    await adapter.commit(connection, self.state)
                except asyncio.CancelledError:
                    # Nobody knows whether the server saw the commit; no careful program leaves a transaction behind.
                    with contextlib.suppress(Exception):
                        await adapter.rollback(connection, self.state)
                    raise

        return TransactionBlock(self, ByHand, nested=False, begins="implicit" * implicit)

    def implicit(self) -> Block:
        """The connection, without autocommit, begins a transaction by itself that nobody ends: what is written in it
        from now on must not be stored."""
        block = self.world.recording.open_block(self.session, None)
        self.session.blocks = (*self.session.blocks, block.number)
        return block

    async def begin_and_forget(self) -> Block:
        """Begin a transaction that nobody ends: what is written in it from now on must not be stored."""
        session, world = self.session, self.world
        asks = {"kind": "begin_and_forget"}
        await session.step(asks)
        block = world.recording.open_block(session, None)
        await session.operate(
            "begin",
            asks,
            self._begin_and_keep,
            scope=self.scope(block.number),
            block=block.number,
            turn=False,
        )
        session.blocks = (*session.blocks, block.number)
        return block

    async def _begin_and_keep(self) -> None:
        # The driver's transaction object must live on: some end the transaction when it is collected.
        self.world.keep.append(await self.world.adapter.begin(self.connection))

"""Transaction blocks: ``async with`` whose begin and end are operations, and whose end is remembered as it was told."""

from __future__ import annotations

import asyncio
import types
from collections.abc import Callable, Generator
from types import TracebackType
from typing import TYPE_CHECKING, Any

from .history import Block
from .sentences import Fact

if TYPE_CHECKING:
    from .session import Session


class TransactionBlock:
    """An ``async with`` block whose begin and end are operations, and whose end is remembered as it was told."""

    def __init__(self, port: Any, make: Callable[[], Any], *, nested: bool, begins: str = "") -> None:
        self.port = port
        self.make = make
        self.nested = nested
        # ``begins``: ``implicit``, by the next statement; or ``statement``, by one that the program sends itself.
        self.named = {"begins": begins} if begins else port._named()  # as part of what is asked
        self.misuse = False
        self.block: Block | None = None
        self.client: Any = None
        self._inner: Any = None
        self._commit_asked = False  # by hand, and nobody heard yet how it ended

    @property
    def session(self) -> Session:
        """Whose task is in the block now."""
        session: Session = self.port.session
        return session

    async def __aenter__(self) -> TransactionBlock:
        session, world = self.session, self.session.world
        await session.step({"kind": "begin", "nested": self.nested and bool(session.blocks), **self.named})
        parent, late = self.port._place() if self.nested else (None, False)
        self.misuse = late or self.named.get("begins") == "statement"
        asks = {"kind": "begin", "nested": bool(parent), "late": late, **self.named}
        block = self.block = world.recording.open_block(session, parent, getattr(self.port, "alias", ""))
        scope = self.port.scope(block.number) if parent or self.port.one_connection else world.alone()
        try:
            self._inner = self.make()
            self.client = await session.operate(
                "begin",
                asks,
                self._inner.__aenter__,
                scope=scope,
                block=block.number,
                misuse=self.misuse,
                turn=False,
            )
        except BaseException as error:
            world.recording.close_block(block, "never begun", error)
            raise
        world.clients[id(self.client)] = block.number
        session.blocks = (*session.blocks, block.number)
        return self

    async def rollback(self) -> None:
        """``rollback()`` by hand, inside the block."""
        await self._by_hand("rollback", "rolled back")

    async def commit(self, *, turn: bool = True) -> None:
        """``commit()`` by hand, inside the block. Without a ``turn`` it waits for none, so that it can be shielded."""
        await self._by_hand("commit", "committed", turn)

    async def _by_hand(self, kind: str, outcome: str, turn: bool = True) -> None:
        """What was told last counts: a rollback that is told to have worked after a commit must have undone it."""
        session, world, block = self.session, self.session.world, self._open()
        asks = {"kind": kind, "block": block.name, "by_hand": True, "again": False}
        if turn:
            await session.step(asks)
        again = block.outcome != "open"
        self._commit_asked = kind == "commit" and not again
        try:
            await session.operate(
                kind,
                {**asks, "again": again},
                lambda: getattr(self.port._orm, kind)(self.client),
                scope=self.port.scope(block.number),
                block=block.number,
                misuse=self.misuse or again,
                turn=False,
            )
        except Exception:
            self._commit_asked = False
            if not self.port.catching:
                raise
            self.port.catches()
            return
        if again or block.outcome == "open":
            world.recording.close_block(block, outcome, None)

    def _open(self) -> Block:
        assert self.block is not None, "the block has not begun"
        return self.block

    def _crossed(self) -> bool:
        """Whether this block ends in another order than it was opened: before one inside it, or after one around
        it, of the same task."""
        block, history = self._open(), self.session.world.history
        inside = any(
            other.parent == block.number and other.outcome == "open" and other.number in self.session.blocks
            for other in history.blocks
        )
        around = history.block(block.parent)
        return inside or (around is not None and around.session == block.session and around.outcome != "open")

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        session, block = self.session, self._open()
        interrupted: BaseException | None = None
        by_hand = block.outcome != "open"
        ends = "leave" if by_hand else "commit" if kind is None else "rollback"
        if not isinstance(error, (asyncio.CancelledError, GeneratorExit)):
            # A cancelled task unwinds at once; nobody may keep it waiting for a turn.
            try:
                await session.step(self._ends(ends))
            except asyncio.CancelledError as cancelled:
                # Cancelled between the block's last statement and its end: the block ends as any cancelled code does.
                interrupted = cancelled
                kind, error, trace = type(cancelled), cancelled, cancelled.__traceback__
                ends = "rollback"
        try:
            swallowed = await session.operate(
                "leave" if by_hand else ends,
                self._ends(ends),
                lambda: self._inner.__aexit__(kind, error, trace),
                scope=self.port.scope(block.number),
                block=block.number,
                misuse=self.misuse or self._crossed(),
                turn=False,
            )
        except asyncio.CancelledError as cancelled:
            self._close("unknown" if kind is None else "rolled back", cancelled)
            raise
        except BaseException as failure:
            self._close("rolled back" if failure is error else "failed", failure)
            raise
        finally:
            session.blocks = tuple(number for number in session.blocks if number != block.number)
        self._close("committed" if kind is None else "rolled back", error)
        if interrupted is not None:
            raise interrupted
        return bool(swallowed)

    def _ends(self, kind: str) -> Fact:
        return {"kind": kind, "block": self._open().name, "by_hand": False, "again": False}

    def _close(self, outcome: str, error: BaseException | None) -> None:
        """Remember how the block ended, unless it was ended by hand before."""
        block = self._open()
        if block.outcome == "open":
            # A commit by hand was cancelled, or is still under way: nobody knows whether it reached the server.
            unheard = self._commit_asked and outcome != "committed"
            self.session.world.recording.close_block(block, "unknown" if unheard else outcome, error)


class DecoratedBlock:
    """``@atomic`` as a block: the decorated function's coroutine is run up to its body, and later from there on."""

    def __init__(self, decorator: Callable[[Any], Any]) -> None:
        self._coroutine = decorator(self._body)()

    async def _body(self) -> None:
        await _here()

    async def __aenter__(self) -> None:
        await self._run(self._coroutine.send, None)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await (self._run(self._coroutine.send, None) if error is None else self._run(self._coroutine.throw, error))
        except BaseException as raised:
            if raised is not error:
                raise

    @types.coroutine
    def _run(self, move: Callable[[Any], Any], argument: Any) -> Generator[Any, Any, None]:
        """Run the coroutine in this task until its body is reached, or to its end."""
        while True:
            try:
                awaited = move(argument)
            except StopIteration:
                return
            if awaited is DecoratedBlock:
                return
            try:
                argument = yield awaited
                move = self._coroutine.send
            except BaseException as error:
                move, argument = self._coroutine.throw, error


@types.coroutine
def _here() -> Generator[Any, Any, None]:
    yield DecoratedBlock

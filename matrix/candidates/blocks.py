"""The blocks of one connection: one lock and one stack for all levels, and what becomes of who is not innermost."""

from __future__ import annotations

import asyncio
from typing import Any

from tortoise.exceptions import TransactionManagementError

OVER = "Transaction already finalised"
DOOMED = "The transaction can only be rolled back"
OTHER_LOOP = "The transaction belongs to another event loop"
NOT_INNERMOST = "Another block is open inside this one on the same connection"


class Blocks:
    """The open blocks of one connection, the outermost first: only the last one talks to the server.

    ``waits``: who is in another one waits until it is the last; else it gets a TransactionManagementError at once.
    """

    def __init__(self, *, waits: bool) -> None:
        self.waits = waits
        self.lock = asyncio.Lock()  # held by who talks
        self.open: list[Any] = []
        self.loop: asyncio.AbstractEventLoop | None = None
        self.failed = False  # a statement failed since the last rollback: PostgreSQL may have aborted the transaction
        self.doomed = False  # nothing but a rollback is possible any more
        self.unread = False  # an answer was not read to its end: the connection is of no use any more
        self._waiting: list[asyncio.Future[None]] = []

    def begin(self, block: Any) -> None:
        """The outermost block."""
        self.loop = asyncio.get_running_loop()
        self.open = [block]

    async def turn(self, block: Any, *, to_end: bool = False) -> None:
        """Hold the lock for a block that may talk. Raises TransactionManagementError where it may not.

        Where nobody waits, the end of a block needs no more than the lock: it takes the blocks inside with it.
        """
        while True:
            self._check(block, to_end)
            await self.lock.acquire()
            try:
                self._check(block, to_end)
            except TransactionManagementError:
                self.lock.release()
                raise
            if not self.waits or self.open[-1] is block:
                return
            self.lock.release()
            change = asyncio.get_running_loop().create_future()
            self._waiting.append(change)
            await change

    def _check(self, block: Any, to_end: bool) -> None:
        if block._finalized:
            raise TransactionManagementError(OVER)
        if asyncio.get_running_loop() is not self.loop:
            raise TransactionManagementError(OTHER_LOOP)
        if to_end:
            return
        if self.doomed:
            raise TransactionManagementError(DOOMED)
        if not self.waits and self.open[-1] is not block:
            raise TransactionManagementError(NOT_INNERMOST)

    def talked(self, error: type[BaseException] | None, *, reads_in_pieces: bool) -> None:
        """Somebody talked, and this came of it; the lock is given back.

        ``reads_in_pieces``: the driver leaves what is left of an answer on the wire when its reader is cancelled.
        """
        self.failed |= error is not None
        if reads_in_pieces and error is not None and issubclass(error, asyncio.CancelledError):
            self.doomed = self.unread = True
        self.lock.release()

    def inside(self, block: Any) -> list[Any]:
        """The block and those inside it, the innermost first."""
        return self.open[: self.open.index(block) - len(self.open) - 1 : -1] if block in self.open else []

    def ended(self, block: Any) -> None:
        """The block is over, and so are those inside it; whoever waits looks again."""
        for each in self.inside(block):
            each._finalized = True
            self.open.remove(each)
        block._finalized = True
        waiting, self._waiting = self._waiting, []
        for change in waiting:
            if not change.done():
                change.set_result(None)

"""Tortoise's clients while a user's function runs: each call is an operation of the task that makes it.

Behind each statement of the user's that succeeded stands one of the suite's own on the same client: a row that is
written once, or a question that only one answer fits. These show where the statement went, and what became of it.
"""

from __future__ import annotations

import contextvars
import functools
import re
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Protocol

from tortoise import Tortoise
from tortoise.backends.base.client import BaseDBAsyncClient, TransactionalDBClient
from tortoise.exceptions import IntegrityError

from matrix.harness.blocks import TransactionBlock
from matrix.harness.ports import OrmPort
from matrix.harness.session import Session
from matrix.words import ROUTING

from .answers import foreign
from .tasks import UserSession, mark_shielded

BUSY = contextvars.ContextVar("busy", default=False)  # within an operation: what Tortoise calls there is no other one
WRITES = re.compile(r"\s*(INSERT|UPDATE|DELETE|REPLACE|WITH)\b", re.IGNORECASE)
SCRIPT = "execute_script"
STATEMENTS: tuple[str, ...] = ("execute_insert", "execute_many", "execute_query", "execute_query_dict")
STATEMENTS = (*STATEMENTS, "execute_query_dict_with_affected", SCRIPT)
TEXT_LENGTH = 70  # characters of a statement that are shown
Call = Callable[..., Awaitable[Any]]


class Program(Protocol):
    """What is asked here of the function's run (program.py)."""

    blocks: dict[int, TransactionBlock]
    asked: int

    def session(self) -> UserSession | None: ...

    def asking(self) -> UserSession | None: ...

    def may_ask(self) -> bool: ...

    def cannot_own(self, what: str) -> None: ...

    def raised(self, session: Session, error: BaseException) -> None: ...


class ShadowPort(OrmPort):
    """The suite's own statements on the client that the user's statement was given to."""

    def __init__(self, session: UserSession, client: Any) -> None:
        super().__init__(session, client, None, True)

    def _place(self) -> tuple[int | None, bool]:
        """By the code around it; where a client of another open block was passed on, that block."""
        number = self.world.clients.get(id(self.db))
        if number is not None and number not in self.session.blocks:
            block = self.world.history.blocks[number - 1]
            if block.outcome == "open":
                return number, False
        return super()._place()


class UserBlock:
    """What ``_in_transaction`` gives: begin and end are operations where a session of the function enters it."""

    def __init__(self, program: Program, context: Any) -> None:
        self.program = program
        self.context = context
        self.block: TransactionBlock | None = None

    async def __aenter__(self) -> Any:
        session = self.program.asking()
        if session is None:
            return await self.context.__aenter__()
        self.program.asked += 1
        self.block = TransactionBlock(OrmPort(session, None, None, False), lambda: self.context, nested=True)
        token = BUSY.set(True)
        try:
            # The context variable of Tortoise's that the context sets is set in this task, as without the block.
            await self.block.__aenter__()
        finally:
            BUSY.reset(token)
        self.program.blocks[id(self.block.client)] = self.block
        return self.block.client

    async def __aexit__(self, *error: Any) -> Any:
        if self.block is None:
            return await self.context.__aexit__(*error)
        session = self.program.session()
        if session is not None and session is not self.block.session:
            self.block.port.hand_over(session)
        if session is not None and isinstance(error[1], Exception):
            self.program.raised(session, error[1])
        token = BUSY.set(True)
        try:
            return await self.block.__aexit__(*error)
        finally:
            BUSY.reset(token)


def _statement(program: Program, original: Call, *, script: bool = False) -> Call:
    @functools.wraps(original)
    async def execute(client: Any, query: str, *arguments: Any, **named: Any) -> Any:
        session = program.asking()
        if session is None:
            return await original(client, query, *arguments, **named)
        program.asked += 1
        text = " ".join(str(query).split())
        shown = text if len(text) <= TEXT_LENGTH else text[: TEXT_LENGTH - 1] + "…"
        asks: dict[str, Any] = {"kind": "words", "text": shown}
        asks |= {"script": True} if script else {}
        port = ShadowPort(session, client)
        token = BUSY.set(True)
        try:
            await session.step(asks)
            inside, late = port._place()
            if inside and id(client) not in port.world.clients:
                asks["plain"] = True  # it goes past the block around it
            call = lambda: original(client, query, *arguments, **named)  # noqa: E731
            result = await _asked(session, {**asks, "at": session.at, "late": late}, call, port.scope(inside), inside)
            if wrong := foreign(text, next(iter(arguments), named.get("values")), result):
                text = f"{session.name} {wrong}, at {session.at}"
                session.world.recording.claim(ROUTING, False, "words", text=text)
            if WRITES.match(query):
                await port.write()
            elif program.may_ask():
                await port.read()
            return result
        finally:
            BUSY.reset(token)

    return execute


async def _asked(
    session: UserSession, asks: dict[str, Any], call: Callable[[], Awaitable[Any]], scope: str, block: int | None
) -> Any:
    """A statement of the user's. One that broke a rule of the tables asked for its error."""
    number = len(session.world.history.operations)
    late = asks["late"]
    try:
        return await session.operate("query", asks, call, scope=scope, block=block, misuse=late, turn=False)
    except IntegrityError:
        session.world.history.operations[number].kind = "fail"
        raise


def _by_hand(program: Program, name: str, original: Call) -> Call:
    @functools.wraps(original)
    async def end(client: Any, *arguments: Any, **named: Any) -> Any:
        block = program.blocks.get(id(client))
        if program.asking() is None or block is None:
            return await original(client, *arguments, **named)
        token = BUSY.set(True)
        try:
            return await getattr(block, name)()
        finally:
            BUSY.reset(token)

    return end


def _classes(owner: type) -> Iterator[type]:
    yield owner
    each: type
    for each in owner.__subclasses__():
        yield from _classes(each)


def install(program: Program) -> None:
    """Put them in place, once for this process. The driver's backend must have been imported."""
    mark_shielded()
    classes: list[type] = list(dict.fromkeys(_classes(BaseDBAsyncClient)))
    for owner in classes:
        own = vars(owner)
        if owner in (BaseDBAsyncClient, TransactionalDBClient):
            continue
        for name in STATEMENTS:
            if name in own:
                setattr(owner, name, _statement(program, own[name], script=name == SCRIPT))
        if "_in_transaction" in own:
            setattr(owner, "_in_transaction", _beginning(program, own["_in_transaction"]))  # noqa: B010
        for name in ("commit", "rollback"):
            if name in own:
                setattr(owner, name, _by_hand(program, name, own[name]))
    original = Tortoise.init

    @functools.wraps(original)
    async def init(*arguments: Any, **named: Any) -> Any:
        if program.asking() is not None:
            program.cannot_own("calls Tortoise.init: the check has done it, leave it out of the function")
        return await original(*arguments, **named)

    setattr(Tortoise, "init", init)  # noqa: B010


def _beginning(program: Program, original: Callable[[Any], Any]) -> Callable[[Any], UserBlock]:
    return lambda client: UserBlock(program, original(client))

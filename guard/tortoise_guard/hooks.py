"""Hooks into asyncio and Tortoise that tell a ``Guard`` what happens: only while ``watching()`` is active, and all of
them are taken out again at its end."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

from tortoise.backends.base import client as base
from tortoise.backends.base.executor import BaseExecutor
from tortoise.backends.sqlite import client as sqlite

from .guard import Guard
from .happened import NOWHERE, Finding, clock
from .lines import here

_undo: list[tuple[Any, str, Any]] = []
_MISSING = object()


def _patch(owner: Any, name: str, hook: Callable[..., Any]) -> None:
    """From now on ``hook`` is called in the method's place, with what was there before and what the method is given."""
    before = getattr(owner, name, None)
    if before is not None:
        _undo.append((owner, name, vars(owner).get(name, _MISSING)))

        @functools.wraps(before)
        def hooked(*given: Any, **named: Any) -> Any:
            return hook(before, *given, **named)

        setattr(owner, name, hooked)


@contextlib.contextmanager
def watching(tell: Callable[[Finding], None] | None = None) -> Iterator[Guard]:
    """Watch everything that this process does with Tortoise meanwhile. ``tell`` is called with each finding as it is
    made, in the task that made it. Raises RuntimeError inside another ``watching()``."""
    if _undo:
        raise RuntimeError("tortoise_guard is watching already")
    guard = Guard(tell)
    _hook_tasks(guard)
    _hook_blocks(guard)
    _hook_queries(guard)
    try:
        yield guard
    finally:
        for owner, name, before in reversed(_undo):
            if before is _MISSING:
                delattr(owner, name)
            else:
                setattr(owner, name, before)
        _undo.clear()
        guard.settle()


def _hook_tasks(guard: Guard) -> None:
    def create(before: Any, loop: Any, coroutine: Any, **options: Any) -> Any:
        parent, born = asyncio.current_task(loop), next(clock)
        task = before(loop, coroutine, **options)
        guard.started(task, born, parent, options.get("context"))
        return task

    async def acquire(before: Any, lock: Any) -> Any:
        got = await before(lock)
        # A semaphore that lets several in is no lock: what it leaves says that it was its last place.
        if getattr(lock, "_value", 0) == 0 and getattr(lock, "_guard_places", 1) == 1:
            guard.took(lock)
        return got

    def release(before: Any, lock: Any) -> Any:
        guard.gave(lock)
        return before(lock)

    def create_in_group(before: Any, group: Any, *given: Any, **options: Any) -> Any:
        task = before(group, *given, **options)
        guard.grouped(group, task)
        return task

    def places(before: Any, semaphore: Any, value: int = 1, **options: Any) -> None:
        semaphore._guard_places = value
        before(semaphore, value, **options)

    _patch(asyncio.BaseEventLoop, "create_task", create)
    if hasattr(asyncio, "TaskGroup"):  # Python 3.11
        _patch(asyncio.TaskGroup, "create_task", create_in_group)
    _patch(asyncio.Semaphore, "__init__", places)
    for lock in (asyncio.Lock, asyncio.Semaphore):
        _patch(lock, "acquire", acquire)
        _patch(lock, "release", release)


def _client(context: Any) -> Any:
    return getattr(context, "client", None) or context.connection  # Tortoise before 0.25, and its SQLite


def _hook_blocks(guard: Guard) -> None:
    async def enter(before: Any, context: Any) -> Any:
        client = _client(context)
        transaction = guard.entering(client)
        try:
            got = await before(context)
        except asyncio.CancelledError:
            guard.report("cancelled-begin", transaction.place)
            raise
        guard.entered(transaction, client)
        _hook_text(type(client), guard)
        return got

    async def leave(before: Any, context: Any, kind: Any, error: Any, trace: Any) -> Any:
        transaction = _client(context).__dict__.get("_guard")
        if transaction is not None:
            guard.leaving(transaction, kind is not None)
        try:
            return await before(context, kind, error, trace)
        except asyncio.CancelledError:
            if transaction is not None:
                guard.report("cancelled-end", transaction.place, within="transaction")
            raise

    async def enter_nested(before: Any, context: Any) -> Any:
        client = _client(context)
        guard.opening(client)
        try:
            return await before(context)
        except BaseException:
            guard.closing(client, True)
            raise

    async def leave_nested(before: Any, context: Any, kind: Any, error: Any, trace: Any) -> Any:
        guard.closing(_client(context), kind is not None)
        try:
            return await before(context, kind, error, trace)
        except asyncio.CancelledError:
            guard.report("cancelled-end", here() or NOWHERE, within="nested block")
            raise

    for context in (base.TransactionContextPooled, sqlite.SqliteTransactionContext):
        _patch(context, "__aenter__", enter)
        _patch(context, "__aexit__", leave)
    _patch(base.NestedTransactionContext, "__aenter__", enter_nested)
    _patch(base.NestedTransactionContext, "__aexit__", leave_nested)


def _hook_queries(guard: Guard) -> None:
    def take(before: Any, wrapper: Any, *given: Any) -> None:
        before(wrapper, *given)
        guard.used(wrapper.client)

    def give_back(before: Any, wrapper: Any, kind: Any, error: Any, trace: Any) -> Any:
        if kind is not None:
            guard.failed(wrapper.client, kind)
        return before(wrapper, kind, error, trace)

    def insert(before: Any, executor: Any, instance: Any) -> Any:
        guard.inserted(executor, instance)
        return before(executor, instance)

    def change(before: Any, executor: Any, instance: Any, *rest: Any, **named: Any) -> Any:
        guard.changed(executor, instance)
        return before(executor, instance, *rest, **named)

    for wrapper in (base.ConnectionWrapper, base.PoolConnectionWrapper):
        _patch(wrapper, "__init__", take)
    _patch(base.ConnectionWrapper, "__aexit__", give_back)
    _patch(BaseExecutor, "execute_insert", insert)
    _patch(BaseExecutor, "execute_update", change)
    _patch(BaseExecutor, "execute_delete", change)


def _hook_text(kind: Any, guard: Guard) -> None:
    """The methods of a transaction's client that are given SQL as text, or end it; once per class."""
    if any(owner is kind for owner, _, _ in _undo):
        return

    def text(script: bool, before: Any, client: Any, query: Any, *rest: Any, **named: Any) -> Any:
        guard.statement(client, query, script)
        return before(client, query, *rest, **named)

    def end(name: str, before: Any, client: Any) -> Any:
        guard.by_hand(client, name)
        return before(client)

    _patch(kind, "execute_script", functools.partial(text, True))
    _patch(kind, "execute_query", functools.partial(text, False))
    for name in ("commit", "rollback"):
        _patch(kind, name, functools.partial(end, name))

"""Keeps what tasks do with transactions as it is told of it (hooks.py), and reports what breaks a rule."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import re
import weakref
from collections.abc import Callable
from typing import Any

from .happened import NOWHERE, Finding, Life, Place, Savepoint, Transaction, clock
from .lines import at, here, ours

# The open transactions of a context, outermost first. A task started inside has a copy, as it has of Tortoise's own.
INSIDE: contextvars.ContextVar[tuple[Transaction, ...]] = contextvars.ContextVar("tortoise_guard", default=())
DDL = re.compile(r"\s*(?:CREATE|ALTER|DROP|TRUNCATE|RENAME)\s+(?!TEMP)(?:\w+)", re.IGNORECASE)
# By rule what has happened; {0}, {1} … are the lines that the finding names, in their order.
SENTENCES = {
    "past-the-block": "{0} asks the plain connection of {alias!r} inside the transaction of {1}: by using_db, or by a "
    "query that was first run outside (it keeps its connection)",
    "other-loop": "{0} uses the transaction of {1} on another event loop",
    "late-block": "{0} (task {task}) opens a block in the transaction of {1}, which has ended",
    "late-query": "{0} (task {task}) queries in the transaction of {1}, which has ended",
    "script": "{0} {does}, inside the transaction of {1}",
    "cancelled-query": "{0} was cancelled in a query of the transaction of {within}",
    "cancelled-begin": "{0} was cancelled while its transaction began",
    "cancelled-end": "{0} was cancelled while its {within} ended",
    "crossed-blocks": "the transaction of {0} ends at {end} before that of {1}, which began inside it",
    "left-elsewhere": "the transaction that {0} enters in task {owner} is left by task {task} in another context",
    "group-fails": "task {failed} of a TaskGroup failed in the transaction of {2}: for that the query of {1} (task "
    "{task}) is cancelled wherever it is",
    "gather-fails": "task {failed} failed in the transaction of {2}, which ends while task {task}, started at {1}, "
    "goes on: gather() waits for nobody after an error",
    "empty-block": "the transaction of {0} on {alias!r} had no statement; {1} inside it asked another connection",
    "caught-error": "the statement of {0} failed in the transaction of {1}, its error was caught without a nested "
    "block around it, and the transaction goes to its commit",
    "by-hand": "{0} calls {what}() on a nested block: it ends the whole transaction of {1}",
    "object-of-a-transaction": "{0} uses a {model} whose row was inserted in the transaction of {1}, which {fate}",
    "outlives-block": "task {task}, started at {0} in the transaction of {1}, goes on when that ends",
}
AT_ONCE = "{0} (task {task}) {does} in the transaction of {2} while {1} (task {other}) {also} there too, without a "
SENTENCES |= dict.fromkeys(("sibling-blocks", "block-beside-query", "two-clients"), f"{AT_ONCE}common lock")
CONTROL = re.compile(r"(?:^|;)\s*(?:BEGIN|START\s+TRANSACTION|COMMIT|ROLLBACK(?!\s+TO))\b", re.IGNORECASE)


class Guard:
    """What was seen. ``findings`` grows as things happen; ``settle()`` adds what only the end can tell."""

    def __init__(self, tell: Callable[[Finding], None] | None = None) -> None:
        self.findings: list[Finding] = []
        self._tell = tell
        self._known: set[tuple[str, tuple[Place, ...]]] = set()
        self._lives: weakref.WeakKeyDictionary[asyncio.Task[Any], Life] = weakref.WeakKeyDictionary()
        self._locks: dict[Any, asyncio.Task[Any] | None] = {}  # held ones and who holds them
        self._open: weakref.WeakSet[Transaction] = weakref.WeakSet()
        self._outlived: list[tuple[Transaction, Life, Life | None]] = []
        self._objects: dict[int, tuple[Any, Transaction, bool]] = {}  # id -> reference, transaction, rolled back

    def report(self, rule: str, *places: Place, **facts: str) -> None:
        """Report a broken rule once for these lines; ``facts`` are what its sentence says beside them."""
        if (rule, places) in self._known:
            return
        self._known.add((rule, places))
        finding = Finding(rule, SENTENCES[rule].format(*map(at, places), **facts), places)
        self.findings.append(finding)
        if self._tell is not None:
            self._tell(finding)

    # -- tasks and locks -------------------------------------------------------------------------------------------

    def life(self, task: asyncio.Task[Any]) -> Life:
        """Of a task that uses a transaction, or was started in one: its end is noted from now on."""
        life = self._lives.get(task)
        if life is None:  # it is older than the guard, or its loop is not asyncio's own
            life = self._lives[task] = Life(_name(task), 0, None, here() or NOWHERE)
        life.name = life.name or _name(task)  # of one that was started outside of any transaction
        if not life.watched:
            life.watched = True
            task.add_done_callback(functools.partial(_died, life))
        return life

    def started(self, task: asyncio.Task[Any], born: int, parent: asyncio.Task[Any] | None, context: Any) -> None:
        around = [one for one in (context.get(INSIDE) if context else INSIDE.get()) or () if not one.ended]
        known = self._lives.get(parent) if parent is not None else None
        if not around:
            self._lives[task] = Life("", born, known if known and known.watched else None, NOWHERE)
            return
        eager = self._lives.get(task)  # it ran before it was told of
        life = eager or Life("", born, None, NOWHERE)
        life.name, life.born, life.place = _name(task), born, here() or NOWHERE
        code = getattr(task.get_coro(), "cr_code", None)
        life.own = code is not None and ours(code.co_filename)
        life.parent = self.life(parent) if parent is not None else None
        self._lives[task] = life
        life = self.life(task)
        for transaction in around:
            transaction.alone = False
            transaction.epoch += 1
            transaction.children.append((weakref.ref(task), life))
            task.add_done_callback(functools.partial(_tick, transaction))

    def grouped(self, group: Any, task: asyncio.Task[Any]) -> None:
        if task in self._lives:
            self._lives[task].group = group

    def took(self, lock: Any) -> None:
        self._locks[lock] = _current()

    def gave(self, lock: Any) -> None:
        self._locks.pop(lock, None)

    # -- what is asked ---------------------------------------------------------------------------------------------

    def used(self, client: Any) -> None:
        """A query takes the client's connection."""
        around = INSIDE.get()
        transaction = client.__dict__.get("_guard")
        if transaction is None:
            if around:
                self._plain(client, around)
            return
        if around and around[-1] is not transaction and around[-1].alias != transaction.alias:
            around[-1].elsewhere = around[-1].elsewhere or here()
        self._asks(transaction, client, block=False)

    def _plain(self, client: Any, around: tuple[Transaction, ...]) -> None:
        inner = around[-1]
        if inner.alias != getattr(client, "connection_name", inner.alias):
            inner.elsewhere = inner.elsewhere or here()
        for transaction in around:
            if transaction.plain is client and not transaction.ended:
                self.report("past-the-block", here() or NOWHERE, transaction.place, alias=transaction.alias)

    def _asks(self, transaction: Transaction, client: Any, block: bool) -> None:
        task = _current()
        if task is None:
            return
        life = self.life(task)
        transaction.statements += not block
        if transaction.alone and life is transaction.owner and not transaction.ended and not block:
            return  # nobody else is there whom it could disturb
        place = here() or life.place
        if transaction.loop is not task.get_loop():
            self.report("other-loop", place, transaction.place)
        elif transaction.ended:
            life.late = True
            self.report("late-block" if block else "late-query", place, transaction.place, task=life.name)
        else:
            transaction.alone = transaction.alone and life is transaction.owner
            transaction.askers.add(life)
            locks = frozenset(id(lock) for lock, holder in self._locks.items() if holder is task)
            inside = any(each.life is life for each in transaction.open)
            transaction.add(life, block, id(client), place, locks, inside)

    def statement(self, client: Any, sql: str, script: bool) -> None:
        """A statement, or a script of several, that was given as text."""
        transaction = client.__dict__.get("_guard")
        if transaction is None or transaction.ended or not isinstance(sql, str):
            return
        if CONTROL.search(sql):
            does = "ends or begins a transaction by SQL (every driver)"
        elif DDL.match(sql):
            does = "changes the schema, which commits what was done so far (MySQL, MariaDB, Oracle)"
        elif script:
            does = "runs a script, before which sqlite3 commits what was done so far (SQLite)"
        else:
            return
        place = here() or NOWHERE
        if place == transaction.place:
            return  # both stand behind one line: it is Tortoise's own block (its migrations), not the user's
        self.report("script", place, transaction.place, does=does)

    def failed(self, client: Any, error: type[BaseException]) -> None:
        """A query leaves its connection with an error."""
        transaction, task = client.__dict__.get("_guard"), _current()
        if transaction is None or transaction.ended or task is None:
            return
        place, life = here() or NOWHERE, self.life(task)
        if issubclass(error, asyncio.CancelledError):
            self.report("cancelled-query", place, within=at(transaction.place))
        elif (
            error.__module__ != "builtins"  # of a driver, and after the server was asked
            and error.__name__ != "InterfaceError"
            and not any(each.life is life for each in transaction.open)
        ):
            transaction.caught.append(place)

    # -- blocks ----------------------------------------------------------------------------------------------------

    def entering(self, client: Any) -> Transaction:
        place, task = here() or NOWHERE, asyncio.current_task()
        assert task is not None  # an async with runs in a task
        return Transaction(client.connection_name, self.life(task), place, client._parent, task.get_loop())

    def entered(self, transaction: Transaction, client: Any) -> None:
        client._guard = transaction
        transaction.token = INSIDE.set((*INSIDE.get(), transaction))
        self._open.add(transaction)

    def leaving(self, transaction: Transaction, failed: bool) -> None:
        task, place, around = asyncio.current_task(), here() or transaction.place, INSIDE.get()
        if around and around[-1] is not transaction and transaction in around and not around[-1].ended:
            self.report("crossed-blocks", transaction.place, around[-1].place, end=at(place))
        try:
            INSIDE.reset(transaction.token)
        except ValueError:  # the token was made in another context: so is Tortoise's own
            names = {"owner": transaction.owner.name, "task": _name(task)}
            self.report("left-elsewhere", transaction.place, place, **names)
        except RuntimeError:  # left twice
            return
        self._end(transaction, failed, task)

    def _end(self, transaction: Transaction, failed: bool, task: asyncio.Task[Any] | None) -> None:
        known = self._lives.get(task) if task is not None else None
        mine = {known, *known.ancestors()} if known is not None else set()
        why = next((life for _, life in transaction.children if life.failed), None) if failed else None
        for reference, life in transaction.children:
            child = reference()
            if child is not None and not child.done() and life not in mine:
                self._outlived.append((transaction, life, why))
        self._pairs(transaction)
        for failed_one, use in transaction.failures():
            names = {"failed": failed_one.name, "task": use.life.name}
            self.report("group-fails", failed_one.place, use.place, transaction.place, **names)
        if transaction.elsewhere is not None and not transaction.statements:
            self.report("empty-block", transaction.place, transaction.elsewhere, alias=transaction.alias)
        if transaction.caught and not failed:
            self.report("caught-error", transaction.caught[0], transaction.place)
        self._settle_objects(transaction.inserted, failed)
        transaction.ended = True
        transaction.uses.clear()
        transaction.children.clear()
        self._sweep(final=False)

    def _pairs(self, transaction: Transaction) -> None:
        for rule, one, other in transaction.conflicts():
            does = "opens or ends a block" if one.block else "queries"
            also = "does so" if other.block == one.block else "queries"
            names = {"task": one.life.name, "other": other.life.name}
            self.report(rule, one.place, other.place, transaction.place, does=does, also=also, **names)

    def opening(self, client: Any) -> None:
        """A nested block's savepoint is about to be made; ``client`` is its own, a child of the transaction's."""
        parent = client if "_guard" in client.__dict__ else client._parent
        transaction = parent.__dict__.get("_guard")
        if transaction is None:
            return
        if client is not parent:  # Tortoise's ODBC clients have one for all levels
            client._guard, client._guard_nested = transaction, True
        self._asks(transaction, client, block=True)
        task = _current()
        if task is not None:
            transaction.open.append(Savepoint(self.life(task), id(client), here() or NOWHERE))

    def closing(self, client: Any, failed: bool) -> None:
        transaction = client.__dict__.get("_guard")
        if transaction is None:
            return
        for each in reversed(transaction.open):
            if each.client == id(client):
                transaction.open.remove(each)
                if failed:
                    self._settle_objects(each.inserted, True)
                else:
                    transaction.inserted.extend(each.inserted)
                break
        if not transaction.ended:
            self._asks(transaction, client, block=True)

    def by_hand(self, client: Any, what: str) -> None:
        if client.__dict__.get("_guard_nested"):
            self.report("by-hand", here() or NOWHERE, client._guard.place, what=what)

    # -- model objects ---------------------------------------------------------------------------------------------

    def inserted(self, executor: Any, instance: Any) -> None:
        if self._objects:
            for name in (*instance._meta.fk_fields, *instance._meta.o2o_fields):
                related = instance.__dict__.get(f"_{name}")
                if related is not None:
                    self.changed(executor, related)
        transaction, task = executor.db.__dict__.get("_guard"), _current()
        if transaction is None or task is None:
            return
        key = id(instance)
        self._objects[key] = weakref.ref(instance, lambda _: self._objects.pop(key, None)), transaction, False
        life = self.life(task)
        nested = next((each for each in reversed(transaction.open) if each.life is life), None)
        (transaction if nested is None else nested).inserted.append(key)

    def changed(self, executor: Any, instance: Any) -> None:
        """An object's row is changed, deleted or referred to."""
        known = self._objects.get(id(instance))
        if known is None or known[0]() is not instance:
            return
        _, transaction, gone = known
        if not gone and executor.db.__dict__.get("_guard") is transaction:
            return
        names = {"model": type(instance).__name__, "fate": "was rolled back" if gone else "is not committed yet"}
        self.report("object-of-a-transaction", here() or NOWHERE, transaction.place, **names)

    def _settle_objects(self, keys: list[int], failed: bool) -> None:
        for key in keys:
            known = self._objects.pop(key, None)
            if known is not None and failed:
                self._objects[key] = (known[0], known[1], True)

    # -- the end ---------------------------------------------------------------------------------------------------

    def settle(self) -> None:
        """Add what only the end can tell; to be called when what was watched is over."""
        for transaction in list(self._open):
            if not transaction.ended:
                self._pairs(transaction)
        self._sweep(final=True)

    def take(self) -> list[Finding]:
        """The findings since the last time, such as those of one test. What is found again later counts again."""
        self.settle()
        findings, self.findings = self.findings, []
        self._known.clear()
        return findings

    def _sweep(self, final: bool) -> None:
        """Tasks that outlived their block: what they did since decides, or that they still are there at the end. One
        that never asks anything of the database harms nobody."""
        waiting, self._outlived = self._outlived, []
        for transaction, life, why in waiting:
            asks = life in transaction.askers
            if life.died is None and not final:
                self._outlived.append((transaction, life, why))
            elif why is not None and (asks or life.late):
                names = {"failed": why.name, "task": life.name}
                self.report("gather-fails", why.place, life.place, transaction.place, **names)
            elif not life.late and (asks or (life.own and (life.died is None or life.cancelled))):
                self.report("outlives-block", life.place, transaction.place, task=life.name)


def _died(life: Life, task: asyncio.Task[Any]) -> None:
    life.died = next(clock)
    life.cancelled = task.cancelled()
    # Not exception(): that would tell asyncio that somebody has looked at it.
    life.failed = getattr(task, "_exception", None) is not None


def _tick(transaction: Transaction, task: asyncio.Task[Any]) -> None:
    transaction.epoch += 1


def _current() -> asyncio.Task[Any] | None:
    try:
        return asyncio.current_task()
    except RuntimeError:  # no event loop runs in this thread
        return None


def _name(task: asyncio.Task[Any] | None) -> str:
    return f"{task.get_name()} {getattr(task.get_coro(), '__qualname__', '')}".strip() if task else "?"

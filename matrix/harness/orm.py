"""Tortoise as scenarios use it: init per run, models, ``in_transaction``. One module for all supported releases."""

from __future__ import annotations

import inspect
import sys
from dataclasses import dataclass
from typing import Any

from tortoise import Tortoise, connections
from tortoise.expressions import F
from tortoise.transactions import atomic, in_transaction

from .history import CREATED, FOUND, IGNORED, SEEN, UNSEEN
from .models import Counter, Entry, Seed
from .scenario import OrmSetup
from .witness import ORPHAN
from .world import World


@dataclass
class Taken:
    """A counter as ``values()`` gives it."""

    name: str
    value: int


class Orm:
    """One ``Tortoise.init``. ``size`` is the pools' ``maxsize``; ``aliases`` are the named connections."""

    def __init__(self, world: World, setup: OrmSetup) -> None:
        self.world = world
        self.setting = setup.setting
        self.size = setup.size if "tortoise pool" in world.adapter.capabilities else 1
        self.aliases = setup.aliases
        self.fallback = setup.fallback
        self.reads_elsewhere = setup.reads_elsewhere
        self._context: Any = None

    async def init(self) -> None:
        """``Tortoise.init``; connects to nothing (that is ORM-3's claim)."""
        adapter = self.world.adapter
        address = self.world.address()
        settings = adapter.pool_settings[self.setting] if self.setting else {}
        credentials = adapter.credentials(address, self.size)
        for name, value in settings.items():  # what is a table of settings itself is added to
            credentials[name] = {**credentials.get(name, {}), **value} if isinstance(value, dict) else value
        connection = {"engine": adapter.engine, "credentials": credentials}
        config: dict[str, Any] = {
            "connections": {alias: dict(connection) for alias in self.aliases},
            "apps": self.apps(),
        }
        if self.reads_elsewhere:
            config["routers"] = [self.router()]
        options: dict[str, Any] = {}
        # Without it Tortoise 1.x finds no context at all in an empty contextvars.Context (FIX-3c is that).
        if self.fallback and "_enable_global_fallback" in inspect.signature(Tortoise.init).parameters:
            options["_enable_global_fallback"] = True
        self._context = await Tortoise.init(config=config, **options)

    def apps(self) -> dict[str, Any]:
        """The models, as ``Tortoise.init`` takes them."""
        return {"models": {"models": ["matrix.harness.models"], "default_connection": self.aliases[0]}}

    def router(self) -> type:
        """A router as Tortoise's documentation shows it: it writes here and reads there."""
        first, *_, last = self.aliases

        class Router:
            def db_for_read(self, model: type) -> str:
                return last

            def db_for_write(self, model: type) -> str:
                return first

        return Router

    def client(self, alias: str | None = None) -> Any:
        """The current client of a named connection: inside a transaction on it, the transaction's."""
        return connections.get(alias or self.aliases[0])

    def using(self, db: Any) -> Any:
        """What ``using_db`` takes, for a connection's name or a client; None for the model's default."""
        return connections.get(db) if isinstance(db, str) else db

    def _on(self, query: Any, db: Any) -> Any:
        return query if db is None else query.using_db(self.using(db))

    # ``db``: None for the model's default connection, a connection's name, or a client.
    async def read(self, nonce: str, db: Any) -> str:
        row = await self._on(Seed.filter(nonce=nonce), db).first()
        return row.nonce if row is not None else "no row"

    async def read_and_leave(self, nonces: list[str], db: Any) -> str:
        """Iterate over several rows and leave after the first."""
        async for row in self._on(Seed.filter(nonce__in=nonces).order_by("id"), db):
            return row.nonce
        return "no row"

    async def exists(self, token: str, db: Any) -> str:
        """Whether a row is there."""
        # Not by the whole token: the gate takes a statement that names it for the one that writes it.
        found = await self._on(Entry.filter(token__endswith=token[1:]), db).first()
        return SEEN if found is not None else UNSEEN

    async def write(self, token: str, db: Any) -> None:
        await Entry.create(token=token, using_db=self.using(db))

    async def write_many(self, tokens: list[str], db: Any) -> None:
        await self.build_write_many(tokens, db)

    def build_write_many(self, tokens: list[str], db: Any) -> Any:
        entries = [Entry(token=token) for token in tokens]
        if "using_db" not in inspect.signature(Entry.bulk_create).parameters:  # Tortoise 0.19.0
            return self._on(Entry.all(), db).bulk_create(entries)
        return Entry.bulk_create(entries, using_db=self.using(db))

    def build_look(self, token: str, bound: bool, db: Any, *, whole: bool = False) -> Any:
        """As ``look``; ``bound``: by a call of the model itself, else by a filter."""
        wanted: dict[str, Any] = {"token": token} if whole else {"token__endswith": token[1:]}
        if bound:
            own = {} if db is None else {"using_db": self.using(db)}  # which Tortoise 0.19.0 takes for a filter
            return Entry.get_or_none(**own, **wanted)
        return self._on(Entry.filter(**wanted), db)

    async def run(self, query: Any) -> str:
        """Await a query that was built before; of a look, what it has found."""
        return SEEN if await query else UNSEEN

    async def change(self, query: Any, token: str) -> None:
        """Give the row that a query looks for another token."""
        await query.update(token=token)

    async def delete(self, token: str, db: Any) -> None:
        await self._on(Entry.filter(token=token), db).delete()

    async def fetch(self, token: str, db: Any) -> Entry:
        return await self._on(Entry.filter(token=token), db).get()

    def make(self) -> Entry:
        return Entry()

    async def save(self, entry: Entry, token: str, db: Any) -> None:
        entry.token = token
        await entry.save(using_db=self.using(db))

    async def save_unchanged(self, entry: Entry, db: Any) -> None:
        await entry.save(force_update=True, using_db=self.using(db))

    async def change_many(self, spare: list[str], tokens: list[str], db: Any) -> None:
        """Give stored rows other tokens, all by one ``bulk_update``."""
        rows = await self._on(Entry.filter(token__in=spare).order_by("id"), db)
        for row, token in zip(rows, tokens, strict=True):
            row.token = token
        await Entry.bulk_update(rows, fields=["token"], using_db=self.using(db))

    async def get_or_create(self, token: str, db: Any) -> str:
        _, created = await Entry.get_or_create(token=token, using_db=self.using(db))
        return CREATED if created else FOUND

    async def update_or_create(self, token: str, value: int, db: Any) -> str:
        row, created = await Entry.update_or_create(defaults={"value": value}, token=token, using_db=self.using(db))
        return IGNORED if row.value != value else CREATED if created else FOUND

    async def lock(self, name: str, db: Any, *, nowait: bool = False, values: bool = False) -> Any:
        """A counter, locked for update; ``values``: as what ``values()`` gives."""
        query = self._on(Counter.select_for_update(nowait=nowait).filter(name=name), db).get()
        return Taken(**await query.values("name", "value")) if values else await query

    async def put(self, counter: Any, db: Any) -> None:
        """Store a counter that was taken, one higher."""
        counter.value += 1
        if isinstance(counter, Taken):
            await self._on(Counter.filter(name=counter.name), db).update(value=counter.value)
        else:
            await counter.save(update_fields=["value"], using_db=self.using(db))

    async def view(self, name: str, db: Any) -> int:
        counter = await self._on(Counter.filter(name=name), db).get()
        return int(counter.value)

    async def count_up(self, name: str, db: Any) -> None:
        """One statement that adds 1 to a counter."""
        await self._on(Counter.filter(name=name), db).update(value=F("value") + 1)

    def _raw(self, db: Any) -> Any:
        """The client on which statements are run as they are."""
        return db if db is not None and not isinstance(db, str) else self.client(db)

    async def fail(self, db: Any) -> None:
        await self._raw(db).execute_query("SELECT nothing_at_all FROM no_such_table")

    async def statement(self, text: str, db: Any) -> None:
        """One statement as it is."""
        await self._raw(db).execute_query(text)

    async def script(self, text: str, db: Any) -> None:
        await self._raw(db).execute_script(text)

    async def orphan(self, db: Any) -> None:
        await self._raw(db).execute_query(f"INSERT INTO {ORPHAN} (seed) VALUES (-1)")

    async def fail_undoing(self, db: Any) -> None:
        await self._raw(db).execute_query("INSERT OR ROLLBACK INTO seed (id, nonce) VALUES (-1, ''), (-1, '')")

    async def serializable(self, db: Any) -> None:
        await self.statement("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE", db)

    def in_transaction(self, alias: str | None) -> Any:
        return in_transaction(self._named(alias))

    def atomic(self, alias: str | None) -> Any:
        """Tortoise's decorator."""
        return atomic(self._named(alias))

    def _named(self, alias: str | None) -> str | None:
        return alias or (self.aliases[0] if len(self.aliases) > 1 else None)

    async def commit(self, client: Any) -> None:
        """The ``commit()`` of what ``async with in_transaction() as client`` gives."""
        await client.commit()

    async def rollback(self, client: Any) -> None:
        await client.rollback()

    async def close(self, *, discard: bool = True) -> None:
        """Close every connection of this init. ``discard``: and forget their clients."""
        await connections.close_all(discard=discard)

    def discard(self) -> None:
        """Forget this init, even if it could not be closed: Tortoise 1.x allows one global fallback at a time, and
        before that all clients and their settings were global."""
        module: Any = sys.modules.get("tortoise.context")
        if module is not None and hasattr(module, "_global_context"):
            module._global_context = None
        elif module is None:
            everything: Any = connections
            everything._clear_storage()
            everything._db_config = None
            tortoise: Any = Tortoise
            tortoise._inited = False

"""Tortoise as scenarios use it: init per run, models, ``in_transaction``. One module for all supported releases."""

from __future__ import annotations

import inspect
import sys
from typing import Any

from tortoise import Tortoise, connections
from tortoise.transactions import in_transaction

from .models import Entry, Seed
from .world import World

DEFAULT = "conn_1"


class Orm:
    """One ``Tortoise.init``. ``size`` is the pools' ``maxsize``; ``aliases`` are the named connections."""

    def __init__(self, world: World, *, size: int, aliases: tuple[str, ...], fallback: bool) -> None:
        self.world = world
        self.size = size if "tortoise pool" in world.adapter.capabilities else 1
        self.aliases = aliases
        self.fallback = fallback
        self._context: Any = None

    async def init(self) -> None:
        """``Tortoise.init``; connects to nothing (that is ORM-3's claim)."""
        adapter = self.world.adapter
        address = self.world.address()
        connection = {"engine": adapter.engine, "credentials": adapter.credentials(address, self.size)}
        config = {
            "connections": {alias: dict(connection) for alias in self.aliases},
            "apps": {"models": {"models": ["tests.harness.models"], "default_connection": self.aliases[0]}},
        }
        options: dict[str, Any] = {}
        # Without it Tortoise 1.x finds no context at all in an empty contextvars.Context (FIX-3b).
        if self.fallback and "_enable_global_fallback" in inspect.signature(Tortoise.init).parameters:
            options["_enable_global_fallback"] = True
        self._context = await Tortoise.init(config=config, **options)

    def using(self, alias: str | None) -> Any:
        """The current client of a named connection, as ``using_db`` takes it; None for the model's default."""
        return None if alias is None else connections.get(alias)

    async def read(self, nonce: str, alias: str | None) -> str:
        query = Seed.filter(nonce=nonce)
        row = await (query.using_db(self.using(alias)) if alias else query).first()
        return row.nonce if row is not None else "no row"

    async def write(self, token: str, alias: str | None) -> None:
        await Entry.create(token=token, using_db=self.using(alias))

    async def fail(self, alias: str | None) -> None:
        await connections.get(alias or self.aliases[0]).execute_query("SELECT nothing_at_all FROM no_such_table")

    def in_transaction(self, alias: str | None) -> Any:
        return in_transaction(alias or (self.aliases[0] if len(self.aliases) > 1 else None))

    async def close(self) -> None:
        """Close every connection of this init."""
        await connections.close_all()

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
            Tortoise._inited = False

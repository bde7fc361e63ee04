"""What an adapter is: the only place where a driver's name, its calls and its exception types are known.

One file per driver. Scenarios ask for capabilities, never for a driver.
"""

from __future__ import annotations

import importlib
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any

from ..history import ABORTED, DOCUMENTED, INTERNAL
from ..witness import ENTRY, SEED, Address

if TYPE_CHECKING:
    from ..scenario import OrmSetup
    from ..world import World

# Capabilities that scenarios may need, with the reason that ``n/a`` shows where one is missing.
CAPABILITIES = {
    "connection": "the driver has no connection of its own to share",
    "pool": "the driver has no connection pool",
    "server cursor": "the driver gives no choice between buffered results and results that stay with the server",
    "queue": "the driver does not queue what several coroutines ask on one connection",
    "server": "SQLite is a library: there is no server that could end or refuse a connection",
    "tortoise": "Tortoise has no client for this driver and these databases",
    "tortoise pool": "Tortoise's client for this driver keeps a single connection, no pool",
    "row locks": "the database locks no single rows (SELECT ... FOR UPDATE)",
}


class Adapter:
    """One driver. Subclasses name the exception types and make the calls as the driver's documentation shows them.

    ``documented``: the exception types that the driver documents for its users. ``aborted``: those of them which say
    that the transaction had been aborted before. ``internal_types`` and ``internal_texts``: documented types that say
    that the driver lost its own state (a protocol error); they count as internal.
    """

    name: str
    engine: str = ""
    capabilities: frozenset[str] = frozenset(CAPABILITIES)
    documented: tuple[type[BaseException], ...] = ()
    aborted: tuple[type[BaseException], ...] = ()
    internal_types: tuple[type[BaseException], ...] = ()
    internal_texts: tuple[str, ...] = ()
    isolated = False  # run scenarios in a child process: the driver can crash it or block a thread for good
    orders = 1_000_000  # how many orders of a scenario are run at most
    steps: int | None = None  # no further order is begun when all together took as many steps
    select = f"SELECT nonce FROM {SEED} WHERE nonce = %s"
    insert = f"INSERT INTO {ENTRY} (token) VALUES (%s)"
    select_rows = f"SELECT nonce FROM {SEED} WHERE nonce IN (%s, %s, %s) ORDER BY id"
    refused = "SELECT nothing_at_all FROM no_such_table"
    change_setting, show_setting = "", ""  # a setting of the session; {} stands for its value, a number

    def classify(self, error: BaseException) -> str:
        """How an exception counts: documented, aborted or internal."""
        inner = error.args[0] if error.args else None
        if isinstance(inner, BaseException) and inner is not error and self.classify(inner) != DOCUMENTED:
            return self.classify(inner)  # Tortoise wraps the driver's error: what counts is what happened
        if isinstance(error, self.aborted):
            return ABORTED
        if isinstance(error, self.internal_types) or any(text in str(error) for text in self.internal_texts):
            return INTERNAL
        return DOCUMENTED if isinstance(error, (*self.documented, *_orm_errors())) else INTERNAL

    # -- the driver alone ------------------------------------------------------------------------------------------
    async def connect(self, address: Address) -> Any:
        raise NotImplementedError

    async def close(self, connection: Any) -> None:
        raise NotImplementedError

    async def read(self, connection: Any, nonce: str) -> str:
        """The value of the seed row with this nonce."""
        raise NotImplementedError

    async def write(self, connection: Any, token: str) -> None:
        raise NotImplementedError

    async def fail(self, connection: Any) -> None:
        """A statement that the server refuses."""
        raise NotImplementedError

    def rows(self, connection: Any, nonces: Sequence[str], *, streamed: bool) -> AsyncIterator[str]:
        """Iterate over a result of three seed rows, one fetch at a time. ``streamed``: through a cursor whose rows
        stay with the server until they are asked for, else through one that has got them all."""
        raise NotImplementedError

    async def change(self, connection: Any, value: str) -> None:
        """Change a setting of the session (``change_setting``)."""
        raise NotImplementedError

    async def setting(self, connection: Any) -> str:
        """The session's value of that setting, ``unset`` in a new session."""
        raise NotImplementedError

    def identity(self, connection: Any) -> Any:
        """What stays the same when a pool hands the same connection out in another wrapper."""
        return connection

    async def begin(self, connection: Any) -> Any:
        """Begin a transaction; what it returns is given to commit and rollback."""
        raise NotImplementedError

    async def commit(self, connection: Any, state: Any) -> None:
        raise NotImplementedError

    async def rollback(self, connection: Any, state: Any) -> None:
        raise NotImplementedError

    async def create_pool(self, address: Address, size: int) -> Any:
        raise NotImplementedError

    async def acquire(self, pool: Any) -> Any:
        raise NotImplementedError

    async def release(self, pool: Any, connection: Any) -> None:
        raise NotImplementedError

    async def close_pool(self, pool: Any) -> None:
        raise NotImplementedError

    # -- Tortoise --------------------------------------------------------------------------------------------------
    def credentials(self, address: Address, size: int) -> dict[str, Any]:
        """Tortoise's ``credentials`` for a pool of 1 to ``size`` connections."""
        return {
            "host": address.host,
            "port": address.port,
            "user": address.user,
            "password": address.password,
            "database": address.database,
            "minsize": 1,
            "maxsize": size,
        }

    def make_orm(self, world: World, setup: OrmSetup) -> Any:
        """Tortoise for one run, not yet initialised."""
        from ..orm import Orm

        return Orm(world, size=setup.size, aliases=setup.aliases, fallback=setup.fallback)

    # -- the harness's hooks ---------------------------------------------------------------------------------------
    def install(self, world: World) -> None:
        """Put what the gate needs in place for one run; nothing where the driver speaks over a socket."""

    def remove(self) -> None:
        """Undo ``install``."""


def _orm_errors() -> tuple[type[BaseException], ...]:
    try:
        from tortoise.exceptions import BaseORMException
    except ImportError:
        return ()
    return (BaseORMException,)


def load(name: str) -> Adapter:
    """The adapter of an adapter file (``Driver.adapter``). Raises LookupError where it has no ``ADAPTER``."""
    module = importlib.import_module(f"matrix.harness.adapters.{name}")
    adapter = getattr(module, "ADAPTER", None)
    if not isinstance(adapter, Adapter):
        raise LookupError(f"{module.__file__} has no ADAPTER: end it with ADAPTER = YourAdapter()")
    return adapter

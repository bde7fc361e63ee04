"""What an adapter is: the only place where a driver's name, its calls and its exception types are known.

One file per driver. Scenarios ask for capabilities, never for a driver. Each hook says when it is called and what it
must not do; CONTRIBUTING.md says how a wrong adapter shows.
"""

from __future__ import annotations

import contextlib
import importlib
import ssl
import sys
import traceback
from collections.abc import AsyncIterator, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

from ..history import ABORTED, DOCUMENTED, INTERNAL
from ..witness import ENTRY, SEED, Address
from .states import States

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
    "network": "the harness does not lie between this driver and a network, so it cannot let one fall silent",
    "tortoise": "Tortoise has no client for this driver and these databases",
    "tortoise pool": "Tortoise's client for this driver keeps a single connection, no pool",
    "copy": "the driver has no calls for COPY",
    "notifications": "the database sends no notifications, or the driver has no call for them",
    "pipeline": "the driver has no pipeline mode",
    "stream": "no call streams what the server sends at once, or an error ends no transaction there",
    "copied rows": "the driver has no loop over the rows of a COPY that could be left",
    "no autocommit": "the driver has autocommit and no other mode",
    "switched autocommit": "the driver has no call that switches autocommit off",
    "ping": "the driver has no call that looks whether a connection is alive, and connects anew where it is not",
    "connect limit": "the driver has no time limit of its own for connecting",
    "query limit": "the driver has no time limit of its own for what is asked",
    "recycling": "the driver's pool has no setting that replaces connections which were not used for a while",
    "check": "the driver's pool has no setting that looks at each connection before it hands it out",
    "close limit": "the driver has no time limit of its own for closing a connection",
    "deferred constraints": "the database checks each constraint at once, so that it refuses no commit for one",
    "serialization": "the database has no transactions that it refuses to commit because others ran beside them",
    "isolation levels": "the database has one isolation level, which is serializable",
    "serializable": "the driver's connections take no setting of the isolation level",
    "lock limit": "the driver's connections take no setting of the server's limit for a lock",
    "undoing errors": "the database has no statement that can ask for its transaction to be undone with its error",
    "row locks": "the database locks no single rows (SELECT ... FOR UPDATE)",
}
# What an adapter has to bring for a capability. Without it a hook that is missing would look like the driver's error.
HOOKS = {
    "connection": (
        "connect",
        "close",
        "read",
        "write",
        "fail",
        "script",
        "rows",
        "setting",
        "write_many",
        "begin",
        "commit",
        "rollback",
    ),
    "copy": ("copy_in",),
    "stream": ("stream",),
    "copied rows": ("copy_out",),
    "notifications": ("listen", "hear"),
    "pipeline": ("pipeline",),
    "pool": ("create_pool", "acquire", "release", "close_pool", "read", "write"),
    "switched autocommit": ("switch_autocommit_off",),
    "ping": ("ping",),
    "close limit": ("close_within",),
    "tortoise": ("engine",),
}


class Adapter:
    """One driver. Subclasses name the exception types and make the calls as the driver's documentation shows them.

    One instance serves all runs of a process: it keeps nothing of a run, but what ``remove`` takes back.
    A hook makes the driver's calls and no other: it catches nothing, repeats nothing, starts no task, thread or timer,
    looks at no clock, and draws no random number. What the driver raises is what the verdict is made of.

    ``documented``: the exception types that the driver documents for its users. ``aborted``: those of them which say
    that the transaction had been aborted before. ``internal_types`` and ``internal_texts``: documented types that say
    that the driver lost its own state (a protocol error); they count as internal.
    """

    name: str
    engine: str = ""
    capabilities: frozenset[str] = frozenset(CAPABILITIES)
    reasons: Mapping[str, str] = {}  # capability -> why this one lacks it, where CAPABILITIES says another reason
    documented: tuple[type[BaseException], ...] = ()
    aborted: tuple[type[BaseException], ...] = ()
    internal_types: tuple[type[BaseException], ...] = ()
    internal_texts: tuple[str, ...] = ()
    isolated = False  # run scenarios in a child process: the driver can crash it or block a thread for good
    streams_in_transaction = False  # ``rows`` opens a transaction for a streamed result, and ends it with it
    orders = 1_000_000  # how many orders of a scenario are run at most
    steps: int | None = None  # no further order is begun when all together took as many steps
    limit_settings: ClassVar[dict[str, str]] = {}  # connecting, asking -> the driver's own setting of that limit
    # What people set to get over lost connections, by the capability that it takes -> Tortoise's ``credentials``.
    pool_settings: ClassVar[dict[str, dict[str, Any]]] = {}
    select = f"SELECT nonce FROM {SEED} WHERE nonce = %s"
    insert = f"INSERT INTO {ENTRY} (token) VALUES (%s)"
    select_rows = f"SELECT nonce FROM {SEED} WHERE nonce IN (%s, %s, %s) ORDER BY id"
    refused = "SELECT nothing_at_all FROM no_such_table"
    settings: Mapping[str, Mapping[str, Any]] = {}  # arguments by the words of words.SETTINGS that the driver has
    chosen: Mapping[str, Any] = {}  # those of the cell, for connect, pool and Tortoise
    tls: ssl.SSLContext | None = None  # what the driver is to connect with, in a cell with TLS
    change_setting, show_setting = "", ""  # a setting of the session; {} stands for its value, a number
    states: States = MappingProxyType({})  # what else the server keeps of a session

    def classify(self, error: BaseException) -> str:
        """How an exception counts: documented, aborted or internal."""
        inner = error.args[0] if error.args else None
        if isinstance(inner, BaseException) and inner is not error and self.classify(inner) != DOCUMENTED:
            return self.classify(inner)  # Tortoise wraps the driver's error: what counts is what happened
        if isinstance(error, self.aborted):
            return ABORTED
        if isinstance(error, self.internal_types) or any(text in str(error) for text in self.internal_texts):
            return INTERNAL
        known = isinstance(error, (*self.documented, *_orm_errors())) or _not_initialised(error)
        return DOCUMENTED if known else INTERNAL

    def server_code(self, error: BaseException) -> str | int | None:
        """The server's own code in one of the driver's exceptions: a SQLSTATE or an error number; None in others."""
        code = getattr(error, "sqlstate", None)
        return code if isinstance(code, str) else None

    # -- the driver alone ------------------------------------------------------------------------------------------
    async def connect(self, address: Address, **limits: float) -> Any:
        """A connection to this address, which is the gate's where the driver speaks over a socket: by ``tls`` where it
        is there, else without, with autocommit, without the driver's own reconnecting. Called before a program's tasks
        begin, and by the next user afterwards. It runs no statement of the adapter's own. ``limits``, in seconds, by
        the driver's own settings (``limit_settings``): of ``connecting``, where it has the capability "connect limit",
        and of what is asked (``asking``), where it has "query limit"."""
        raise NotImplementedError

    def limits(self, limits: dict[str, float]) -> dict[str, Any]:
        """Limits as the driver's ``connect`` takes them."""
        return {self.limit_settings[name]: seconds for name, seconds in limits.items()}

    async def close(self, connection: Any) -> None:
        """Close it as a user would who says goodbye. Called by scenarios that close in mid-use, and at the end of each
        run, when the connection may be in any state."""
        raise NotImplementedError

    async def close_within(self, connection: Any, seconds: float) -> None:
        """The same with the driver's own limit."""
        raise NotImplementedError

    async def read(self, connection: Any, nonce: str) -> str:
        """The value of the seed row with this nonce (``select``); "no row" where the driver gave none. One statement.
        It returns what the driver gave, and never what the caller would like: this is what shows a foreign answer."""
        raise NotImplementedError

    async def write(self, connection: Any, token: str) -> None:
        """Insert this token (``insert``). One statement, in whatever transaction the connection is in: it neither
        begins nor commits one. It returns when the driver says that the row is written."""
        raise NotImplementedError

    async def fail(self, connection: Any) -> None:
        """A statement that the server refuses (``refused``); the driver's error comes out as it is."""
        raise NotImplementedError

    async def script(self, connection: Any, text: str) -> None:
        """Run a script, which a statement is as well, by the driver's own call for one where it has such a call."""
        raise NotImplementedError

    async def ping(self, connection: Any) -> None:
        """The driver's own call that looks whether the connection is alive and may connect anew, with its defaults."""
        raise NotImplementedError

    def rows(self, connection: Any, nonces: Sequence[str], *, streamed: bool) -> AsyncIterator[str]:
        """Iterate over a result of three seed rows (``select_rows``), one fetch at a time: an async generator, closed
        early where the reader leaves. ``streamed``: through a cursor whose rows stay with the server until they are
        asked for, else through one that has got them all. It fetches nothing ahead by itself. Where the driver has such
        cursors in transactions only, it opens one and says so in ``streams_in_transaction``."""
        raise NotImplementedError

    async def write_many(self, connection: Any, tokens: Sequence[str]) -> None:
        """Insert these tokens by the driver's ``executemany``, in whatever transaction the connection is in."""
        raise NotImplementedError

    async def copy_in(self, connection: Any, tokens: AsyncIterator[str]) -> None:
        """Insert what this iterator gives, by the driver's call for COPY ... FROM STDIN. What it raises comes out."""
        raise NotImplementedError

    def copy_out(self, connection: Any, nonces: Sequence[str], count: int) -> AsyncIterator[str]:
        """The rows of a COPY ... TO STDOUT (``select_rows``), by the driver's call for it; after so many it leaves the
        loop over them, and that call, without an error."""
        raise NotImplementedError

    def stream(self, connection: Any, nonces: Sequence[str]) -> AsyncIterator[str]:
        """Iterate over a result whose first row is that of ``rows`` and whose second is an error, by a call that
        streams what the server sends at once: an async generator, closed early where the reader leaves."""
        raise NotImplementedError

    async def listen(self, connection: Any, channel: str) -> Any:
        """Listen for notifications by the driver's call for it; what it returns is given to ``hear``."""
        raise NotImplementedError

    async def hear(self, listening: Any, count: int) -> list[str]:
        """Wait for so many notifications: what they say, in the order in which the driver gave them."""
        raise NotImplementedError

    def pipeline(self, connection: Any) -> contextlib.AbstractAsyncContextManager[Any]:
        """The driver's own call for pipeline mode: what is asked in it is sent without waiting for earlier answers."""
        raise NotImplementedError

    async def setting(self, connection: Any, question: str) -> str:
        """The answer to a question about the session (``show_setting``, or by ``states``); ``unset`` where that is
        null or empty, as in a new session. It asks the server, not the driver."""
        raise NotImplementedError

    async def switch_autocommit_off(self, connection: Any) -> None:
        """The driver's own call for it."""
        raise NotImplementedError

    def identity(self, connection: Any) -> Any:
        """What stays the same when a pool hands the same connection out in another wrapper. Called at each acquire; it
        sends nothing."""
        return connection

    async def begin(self, connection: Any) -> Any:
        """Begin a transaction by the driver's own call; what it returns is given to commit and rollback."""
        raise NotImplementedError

    async def commit(self, connection: Any, state: Any) -> None:
        """Commit it; ``state`` is what ``begin`` returned, None for a transaction that the connection, without
        autocommit, has begun by itself. It returns only when the driver says that it is committed,
        and does not roll back where that fails: the program decides."""
        raise NotImplementedError

    async def rollback(self, connection: Any, state: Any) -> None:
        """Roll it back; called also after an error, and after a commit that was cancelled."""
        raise NotImplementedError

    async def create_pool(self, address: Address, size: int, *, autocommit: bool = True) -> Any:
        """The driver's own pool of 1 to ``size`` connections, with its defaults for everything else: no health check
        or recycling that its documentation does not switch on. Not ``autocommit``: capability "no autocommit"."""
        raise NotImplementedError

    async def acquire(self, pool: Any) -> Any:
        """A connection of the pool, by the call that waits without a limit."""
        raise NotImplementedError

    async def release(self, pool: Any, connection: Any) -> None:
        """Give it back as it is: cleaning up is the pool's promise, not the adapter's."""
        raise NotImplementedError

    async def close_pool(self, pool: Any) -> None:
        """Close the pool, and wait until it says that it is closed. Called in mid-use too."""
        raise NotImplementedError

    # -- Tortoise --------------------------------------------------------------------------------------------------
    def credentials(self, address: Address, size: int) -> dict[str, Any]:
        """Tortoise's ``credentials`` for a pool of 1 to ``size`` connections: as ``connect``. Called once
        per connection name and run, before Tortoise connects."""
        return {**login(address), "minsize": 1, "maxsize": size}

    def make_orm(self, world: World, setup: OrmSetup) -> Any:
        """Tortoise for one run, not yet initialised. Drivers leave this as it is; the miniatures bring an ORM of their
        own."""
        from ..orm import Orm

        return Orm(world, setup)

    # -- the harness's hooks ---------------------------------------------------------------------------------------
    def install(self, world: World) -> None:
        """Put what the gate needs in place for one run. Called before each run, before anything is connected.

        Nothing where the driver speaks over a socket from the loop's own thread. A driver with threads gives the gate
        its queue (aiosqlite.py) or its jobs (asyncodbc.py); one with timers of its own lets them go by
        ``world.loop.time`` (psycopg.py). It changes when things happen, never what the driver does."""

    def remove(self) -> None:
        """Undo ``install``: the driver is as it was. Called after each run, also after a failed one."""


def login(address: Address, database: str = "database") -> dict[str, Any]:
    """Where a server is and who logs in, as clients take it; ``database`` is what they call that."""
    who = {"host": address.host, "port": address.port, "user": address.user, "password": address.password}
    return {**who, database: address.database}


def _orm_errors() -> tuple[type[BaseException], ...]:
    """Tortoise's own. Not imported here: where nobody has loaded it no error is one of them, and a child process of a
    driver's would load it anew."""
    exceptions = sys.modules.get("tortoise.exceptions")
    return (exceptions.BaseORMException,) if exceptions is not None else ()


def _not_initialised(error: BaseException) -> bool:
    """Whether Tortoise says that nothing is initialised in this context: a bare RuntimeError, which its
    require_context() documents. Told by who raised it, since others raise that type for what nobody documents."""
    frames = list(traceback.walk_tb(error.__traceback__)) if isinstance(error, RuntimeError) else []
    code, where = (frames[-1][0].f_code.co_name, frames[-1][0].f_globals.get("__name__")) if frames else ("", "")
    return (where, code) == ("tortoise.context", "require_context")


def load(name: str) -> Adapter:
    """The adapter of an adapter file (``Driver.adapter``). Raises LookupError in one line where it is not whole."""
    module = importlib.import_module(f"matrix.harness.adapters.{name}")
    adapter = getattr(module, "ADAPTER", None)
    if not isinstance(adapter, Adapter):
        raise LookupError(f"{module.__file__} has no ADAPTER: end it with ADAPTER = YourAdapter()")
    if unknown := adapter.capabilities - CAPABILITIES.keys():
        raise LookupError(f"{module.__file__}: no capability {min(unknown)!r}; there are: {', '.join(CAPABILITIES)}")
    for capability, hooks in HOOKS.items():
        missing = [hook for hook in hooks if getattr(type(adapter), hook) is getattr(Adapter, hook)]
        if capability in adapter.capabilities and missing:
            needed = ", ".join(missing)
            raise LookupError(f"{module.__file__}: write {needed}, or leave {capability!r} out of its capabilities")
    return adapter

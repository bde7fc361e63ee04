"""FIX: recommended remedies, built as people copy them, each run over the scenarios that it claims to cure."""

import asyncio
import contextlib
import contextvars

from matrix.harness.remedy import Remedy
from matrix.harness.scenario import OrmSetup, remedy
from matrix.harness.session import Deliberate

# Children that the parent waits for; those that outlive its block too.
CHILDREN = ("NST-3", "NST-4", "NST-5", "NST-13")
CURES = (*CHILDREN, "CTX-1", "CTX-2")
# Those that keep a child off its parent's connection are recommended for these too; the others say nothing of
# strangers.
APART = (*CURES, "CTX-3", "CTX-9")
# ... and when siblings are cancelled, the parent's connection is out of it.
APART_CANCELLED = (*APART, "CTX-4")
TWO = ("conn_1", "conn_2")


class SecondConnection(Remedy):
    """Two entries in ``connections``; the outer block on ``conn_1``, the child's on ``conn_2``; the outer block then
    fails."""

    setup = OrmSetup(size=2, aliases=TWO)
    outer_fails = True
    independent = True

    def outer(self, session):
        return session.orm(transaction_on="conn_1")

    def inner(self, session):
        return session.orm(transaction_on="conn_2")

    async def late_write(self, session):
        db = self.inner(session)
        async with db.transaction(own=True):
            await db.write()


@remedy("FIX-1a", "A second named connection, models left on the default", cures=APART)
class SecondConnectionPlainModels(SecondConnection):
    """The task opens in_transaction("conn_2") and uses the models plainly; the outer block on conn_1 then fails: both
    end as reported."""


@remedy("FIX-1b", "A second named connection, using_db everywhere", cures=APART)
class SecondConnectionUsingDb(SecondConnection):
    """The task opens in_transaction("conn_2") and passes using_db to every query; the outer block on conn_1 then fails:
    both end as reported."""

    def outer(self, session):
        return session.orm("conn_1")

    def inner(self, session):
        return session.orm("conn_2")


@remedy(
    "FIX-1c", "A second named connection under more tasks than slots", cures=APART, needs=("tortoise", "tortoise pool")
)
class SecondConnectionCrowd(SecondConnectionUsingDb):
    """As FIX-1b, with four such tasks at once on a pool of minsize=1, maxsize=2: those that wait are served, all end as
    reported."""

    crowd = 4


@remedy("FIX-2a", "Start the task at the end of the block", cures=APART)
class StartLast(Remedy):
    """First await all queries of the block, then create the task as its last statement: parent and task end as
    reported."""

    starts = "last"


@remedy("FIX-2b", "Start the task after the block", cures=APART_CANCELLED)
class StartAfter(Remedy):
    """Create the task when the block has ended: parent and task end as reported."""

    starts = "after"
    independent = True


@remedy("FIX-3a", "Start the task in a context captured before the transaction", cures=APART_CANCELLED)
class ContextFromBefore(Remedy):
    """Copy the context before the transaction and start the task in it: the task's queries use connections of their
    own."""

    independent = True
    child_context = "before"

    async def prepare(self, world):
        self._before = contextvars.copy_context()

    def context(self, session):
        return self._before


@remedy("FIX-3c", "Start the task in an empty context", cures=APART_CANCELLED)
class EmptyContext(Remedy):
    """Start the task in contextvars.Context(), with Tortoise.init as it is."""

    independent = True
    child_context = "empty"

    def context(self, session):
        return contextvars.Context()


@remedy("FIX-3b", "Start the task in an empty context, with Tortoise's global fallback", cures=APART_CANCELLED)
class EmptyContextWithFallback(EmptyContext):
    """Start the task in contextvars.Context(), with Tortoise's global fallback enabled where the release has one."""

    setup = OrmSetup(size=2, fallback=True)


@remedy("FIX-4", "One lock around what the children do", cures=(*CURES, "NST-10"))
class OneLock(Remedy):
    """Each child does its work under one asyncio.Lock; the parent does not take it."""

    one_lock = True

    async def prepare(self, world):
        self._lock = asyncio.Lock()

    def guard(self, session):
        return self._lock


@remedy("FIX-5", "A larger pool", cures=CURES, needs=("tortoise", "tortoise pool"))
class LargerPool(Remedy):
    """Raise maxsize to 10 and change nothing else."""

    setup = OrmSetup(size=10)


@remedy("FIX-16", "Wait for all children, then raise the first error", cures=("CTX-14",))
class WaitForAll(Remedy):
    """asyncio.gather is told to return_exceptions, so that the block does not end before the last child; the first of
    their errors is then raised."""

    joins_all = True


@remedy("FIX-6", "No nested blocks in children, all of them waited for", cures=CHILDREN)
class NoNestedBlocks(WaitForAll):
    """The children query in their parent's transaction and open none of their own; the block waits for all of them."""

    def inner_transaction(self, port):
        return contextlib.nullcontext()


@remedy("FIX-7", "Hand the work to a worker started outside", cures=APART_CANCELLED)
class OutsideWorker(Remedy):
    """A worker started before the transaction takes the children's work from a queue; the parent does not wait for it
    inside the block."""

    independent = True
    joins = False

    async def prepare(self, world):
        self._jobs = jobs = asyncio.Queue()

        async def worker(session):
            while (job := await jobs.get()) is not None:
                with contextlib.suppress(Deliberate):
                    await job(session)

        world.start_worker("worker", worker, end=lambda: jobs.put_nowait(None))

    def spawn(self, parent, name, body, **how):
        self._jobs.put_nowait(body)


class CatchConflict(Remedy):
    """A refused conflict is what these remedies live with: they claim that nobody is harmed, not that all succeeds."""

    claims = ("safe", "refuses")


@remedy("FIX-8a", "Catch the conflict and go on in the same transaction", cures=CURES)
class CatchAndGoOn(CatchConflict):
    """Parent and child catch whatever error the conflict gives and go on querying in the same transaction, which then
    commits."""

    def outer(self, session):
        return session.orm(catching=True)

    def inner(self, session):
        return session.orm(catching=True)

    async def attempt(self, session, work):
        try:
            await work()
        except Exception:  # as printed: RuntimeError, the driver's error, Tortoise's error
            await self.inner(session).write()


@remedy("FIX-8b", "Catch the conflict and abort the transaction", cures=CURES)
class CatchAndAbort(CatchConflict):
    """The child's error is let out of the parent's block, which rolls back: nothing of the transaction is stored."""


@remedy("FIX-9", "Retry what a child does on a deadlock, a lock timeout or a conflict", cures=CURES)
class Retry(CatchConflict):
    """What the child does inside its parent's transaction is tried three times before the database's error is let
    out."""

    async def attempt(self, session, work):
        for _ in range(2):
            try:
                return await work()
            except Exception as error:
                if not session.is_of_the_database(error):
                    raise
        return await work()


@remedy("FIX-15", "Retry the whole transaction", cures=("TXN-23", "TXN-24", "TXN-25", "TXN-41", "TXN-42"))
class RetryWhole(Retry):
    """A whole transaction, from its begin, is tried three times before the database's error is let out; work that is to
    be done once is not done twice."""

    async def attempt(self, session, work):
        return await work()

    async def whole(self, session, work):
        return await super().attempt(session, lambda: work(session))


@remedy("FIX-10", "Shield the commit", cures=("TXN-6", "NST-14"))
class ShieldCommit(Remedy):
    """The block's last statement is asyncio.shield(connection.commit()): a task cancelled around its commit leaves all
    of it or nothing, and the pool works afterwards."""

    async def end_of_block(self, block):
        async def commit(session):
            await block.commit(turn=False)

        session = block.session
        shielded = session.spawn(f"{session.name}'s shielded commit", commit, shields="commit")
        await asyncio.shield(shielded.task)


@remedy(
    "FIX-11",
    "Shield the whole transaction",
    cures=("TXN-5", "TXN-6", "TXN-16", "TXN-20", "TXN-37", "TXN-39", "NST-14"),
)
class ShieldTransaction(Remedy):
    """The function with the whole transaction runs in asyncio.shield(): who is cancelled leaves it to end by itself."""

    async def whole(self, session, work):
        shielded = session.spawn(f"{session.name}'s shielded work", work, shields="work")
        await asyncio.shield(shielded.task)


IDLE = ("ORM-14", "ORM-15")
ON_A_NETWORK = ("tortoise", "tortoise pool", "network")


@remedy("FIX-12", "Replace connections that were not used for a while", cures=IDLE, needs=(*ON_A_NETWORK, "recycling"))
class Recycle(Remedy):
    """The pool is set to replace connections that were not used for a minute (pool_recycle,
    max_inactive_connection_lifetime, max_idle): who comes after fifty minutes meets no dead one."""

    setup = OrmSetup(size=1, setting="recycling")


@remedy("FIX-13", "Look at each connection before it is handed out", cures=IDLE, needs=(*ON_A_NETWORK, "check"))
class CheckAtHandOut(Remedy):
    """The pool is set to ask the server on each connection before it is handed out (check=): nobody meets a dead
    one."""

    setup = OrmSetup(size=1, setting="check")


@remedy("FIX-14", "A time limit of the driver's for what is asked", cures=IDLE, needs=(*ON_A_NETWORK, "query limit"))
class QueryLimit(CatchConflict):
    """The driver is set to give up a question after a second (command_timeout, read_timeout): a dead connection costs
    its user one question and is replaced."""

    setup = OrmSetup(size=1, setting="query limit")

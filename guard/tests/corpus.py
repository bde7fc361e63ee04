"""The guard's corpus: programs as people write them, wrong ones by the scenario or pattern of the matrix that they are,
and right ones. Those of docs/patterns are taken as they stand there.

They run on tests/pooled.py, a pool without a server, so that none of them waits for SQLite's only connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import inspect
import sys
from collections.abc import Awaitable, Callable

from tortoise import Tortoise, connections
from tortoise.transactions import atomic, in_transaction
from tortoise_guard import Finding, watching

from docs.patterns import patterns, remedies
from docs.patterns.models import Note

Program = Callable[[], Awaitable[None]]


async def findings(
    program: Program, tell: Callable[[Finding], None] | None = None
) -> tuple[list[Finding], BaseException | None]:
    """What the guard says of a program that is run here once, and how the program itself failed."""
    aliases = ("default", "second") if 'in_transaction("second")' in inspect.getsource(program) else ("default",)
    databases = {name: {"engine": "pooled", "credentials": {"file_path": name}} for name in aliases}
    app = {"models": ["docs.patterns.models"], "default_connection": "default"}
    takes_fallback = "_enable_global_fallback" in inspect.signature(Tortoise.init).parameters
    config = {"connections": databases, "apps": {"models": app}}
    await Tortoise.init(config=config, **({"_enable_global_fallback": True} if takes_fallback else {}))
    try:
        with watching(tell) as guard:
            task = asyncio.ensure_future(program())
            await asyncio.wait({task}, timeout=20)
            if not task.done():
                raise TimeoutError(f"{program} waits")
        return guard.findings, task.exception()
    finally:
        await Tortoise.close_connections()
        if takes_fallback:  # 1.0 would keep it for ever
            vars(sys.modules["tortoise.context"])["_global_context"] = None
        else:  # before that there is one configuration for all, which the next init adds to
            connections.db_config.clear()


async def findings_of(program: Program) -> set[str]:
    """The names of the rules that it breaks."""
    return {finding.rule for finding in (await findings(program))[0]}


# -- wrong -----------------------------------------------------------------------------------------------------------


async def write(text: str) -> None:
    async with in_transaction():
        await Note.create(text=text)
        await Note.all().count()


async def siblings_in_a_group() -> None:
    async with in_transaction(), asyncio.TaskGroup() as group:
        group.create_task(write("one"))
        group.create_task(write("two"))


async def cancelled_sibling() -> None:
    async with in_transaction():
        await Note.create(text="parent")
        victim = asyncio.create_task(write("victim"))
        other = asyncio.create_task(write("other"))
        await asyncio.sleep(0)
        victim.cancel()
        await asyncio.wait({victim, other})


async def late_write_meets_stranger() -> None:
    stranger_has_begun = asyncio.Event()

    async def audit() -> None:
        await stranger_has_begun.wait()
        await Note.create(text="audit")

    async with in_transaction():
        await Note.create(text="order")
        task = asyncio.create_task(audit())
    async with in_transaction():
        await Note.create(text="a stranger's")
        stranger_has_begun.set()
        await task


async def sibling_cancelled() -> None:
    async def failing() -> None:
        await asyncio.sleep(0)
        raise ValueError("one of the tasks fails")

    async with in_transaction():
        await Note.create(text="parent")
        async with asyncio.TaskGroup() as group:
            group.create_task(Note.create(text="sibling"))
            group.create_task(failing())


async def group_that_succeeds() -> None:
    async with in_transaction():
        async with asyncio.TaskGroup() as group:
            group.create_task(Note.create(text="one"))
            group.create_task(Note.create(text="two"))
        with contextlib.suppress(Exception):
            async with asyncio.TaskGroup() as group:
                group.create_task(asyncio.sleep(0))
                group.create_task(Note.get(id=-1))  # it fails, and nobody else asks


async def eager() -> None:
    asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
    try:
        async with in_transaction():
            await asyncio.gather(write("one"), write("two"))
    finally:
        asyncio.get_running_loop().set_task_factory(None)


async def thread_inside() -> None:
    async def work() -> None:
        await Note.all().count()

    async with in_transaction():
        await asyncio.to_thread(asyncio.run, work())


async def generator_abandoned() -> None:
    ended = asyncio.Event()

    async def rows():
        try:
            async with in_transaction():
                await Note.create(text="first")
                yield
        finally:
            ended.set()

    async for _ in rows():
        break
    await ended.wait()


async def two_aliases() -> None:
    first, second = in_transaction("default"), in_transaction("second")
    await first.__aenter__()
    await second.__aenter__()
    await first.__aexit__(None, None, None)
    await second.__aexit__(None, None, None)


async def rolled_back_by_hand() -> None:
    async with in_transaction():
        await Note.create(text="outer")
        async with in_transaction() as inner:
            await Note.create(text="inner")
            await inner.rollback()


async def using_db_inside() -> None:
    async with in_transaction(), in_transaction() as inner:
        await asyncio.gather(Note.create(text="plain"), Note.create(text="using_db", using_db=inner))


async def gathered_creation() -> None:
    async with in_transaction():
        await asyncio.gather(Note.get_or_create(text="one"), Note.get_or_create(text="two"))


async def cancelled_while(program: Program, *moment: str) -> None:
    """A task is cancelled as soon as it is in functions of these names: no clock decides."""
    task = asyncio.ensure_future(program())
    while not task.done() and not set(moment) <= set(stack_of(task)):  # noqa: ASYNC110 - nobody tells where a task is
        await asyncio.sleep(0)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def save() -> None:
    async with in_transaction():
        await Note.create(text="one")


async def save_in_inner_block() -> None:
    async with in_transaction(), in_transaction():
        await Note.create(text="one")


def stack_of(task: asyncio.Task) -> list[str]:
    """The names of the functions that a task is in, outermost first."""
    names, coroutine = [], task.get_coro()
    while coroutine is not None and hasattr(coroutine, "cr_code"):
        names.append(coroutine.cr_code.co_name)
        coroutine = coroutine.cr_await
    return names


async def cancelled_in_begin() -> None:
    await cancelled_while(save, "begin")


async def cancelled_in_query() -> None:
    await cancelled_while(save, "execute_insert")


async def cancelled_in_commit() -> None:
    await cancelled_while(save, "__aexit__", "commit")


async def cancelled_in_inner_commit() -> None:
    await cancelled_while(save_in_inner_block, "release_savepoint")


async def caught_error() -> None:
    async with in_transaction():
        note = await Note.create(text="one")
        with contextlib.suppress(Exception):
            await Note.create(id=note.id, text="the key is taken")


async def plain_client_inside() -> None:
    plain = connections.get("default")
    async with in_transaction():
        await Note.create(text="audit", using_db=plain)


async def query_from_outside() -> None:
    notes = Note.filter(text="one")
    await notes
    async with in_transaction():
        await notes


async def query_from_inside() -> None:
    async with in_transaction():
        notes = Note.filter(text="one")
        await notes
    await notes


async def update_derived_inside() -> None:
    notes = Note.filter(text="one")
    seen = await notes
    async with in_transaction():
        await Note.create(text=f"there were {len(seen)}")
        await notes.update(text="two")


async def update_derived_in_the_next() -> None:
    notes = Note.filter(text="one")
    async with in_transaction():
        await notes
    async with in_transaction():
        await notes.update(text="two")


async def second_connection_plain_models() -> None:
    async def child() -> None:
        async with in_transaction("second"):
            await Note.create(text="child")

    async with in_transaction("default"):
        await asyncio.create_task(child())


async def start_last() -> None:
    async with in_transaction():
        await Note.create(text="parent")
        task = asyncio.create_task(write("child"))
    await task


async def worker_without_a_job() -> None:
    async def worker(queue: asyncio.Queue) -> None:
        while (text := await queue.get()) is not None:
            await write(text)

    async with in_transaction():
        task = asyncio.create_task(worker(asyncio.Queue()))
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait({task})


async def asks_before_and_after() -> None:
    async def audit() -> None:
        await Note.create(text="before")
        written.set()
        await over.wait()
        await Note.create(text="after")

    written, over = asyncio.Event(), asyncio.Event()
    async with in_transaction():
        task = asyncio.create_task(audit())
        await written.wait()
    over.set()
    await task


async def two_places() -> None:
    places = asyncio.Semaphore(2)

    async def child(text: str) -> None:
        async with places:
            await write(text)

    async with in_transaction():
        await asyncio.gather(child("one"), child("two"))


async def script_inside() -> None:
    async with in_transaction() as connection:
        await Note.create(text="one")
        await connection.execute_script("INSERT INTO note (text) VALUES ('two'); INSERT INTO note (text) VALUES ('3')")


async def schema_inside() -> None:
    async with in_transaction() as connection:
        await connection.execute_query("CREATE TABLE more (id INTEGER)")


async def commit_by_sql() -> None:
    async with in_transaction() as connection:
        await connection.execute_query("COMMIT")


async def object_rolled_back() -> None:
    note = Note(text="one")
    with contextlib.suppress(ValueError):
        async with in_transaction():
            await note.save()
            raise ValueError
    note.text = "two"
    await note.save()


async def object_of_inner_block_rolled_back() -> None:
    async with in_transaction():
        note = Note(text="one")
        with contextlib.suppress(ValueError):
            async with in_transaction():
                await note.save()
                raise ValueError
        await note.delete()


async def object_not_committed() -> None:
    handed_on: asyncio.Future = asyncio.get_running_loop().create_future()

    async def other() -> None:
        note = await handed_on
        note.text = "two"
        await note.save()

    task = asyncio.create_task(other())
    async with in_transaction():
        handed_on.set_result(await Note.create(text="one"))
        await asyncio.wait({task})


# By the scenario or pattern that each is.
WRONG: dict[str, Program] = {
    "NST-3": patterns.gather_transactions,
    "NST-4": patterns.child_while_parent_queries,
    "NST-5": patterns.one_sibling_fails,
    "NST-9": rolled_back_by_hand,
    "NST-10": cancelled_sibling,
    "NST-13": siblings_in_a_group,
    "NST-14": cancelled_in_inner_commit,
    "NST-16": using_db_inside,
    "CTX-1": patterns.background_write,
    "CTX-2": patterns.background_transaction,
    "CTX-3": late_write_meets_stranger,
    "CTX-4": sibling_cancelled,
    "CTX-14": patterns.gather_one_fails,
    "CTX-5": thread_inside,
    "CTX-6": patterns.streaming,
    "CTX-7": eager,
    "CTX-9": patterns.worker_inside,
    "CTX-12": generator_abandoned,
    "CTX-13": two_aliases,
    "TXN-5": cancelled_in_query,
    "TXN-6": cancelled_in_commit,
    "TXN-13": caught_error,
    "TXN-14": plain_client_inside,
    "TXN-16": cancelled_in_begin,
    "TXN-18": gathered_creation,
    "TXN-20": cancelled_in_begin,
    "TXN-37": cancelled_in_begin,
    "TXN-43": update_derived_inside,
    "TXN-44": update_derived_in_the_next,
    "FIX-1a": second_connection_plain_models,
    "FIX-2a": start_last,
    "query_from_outside": query_from_outside,
    "query_from_inside": query_from_inside,
    "worker_without_a_job": worker_without_a_job,
    "asks_before_and_after": asks_before_and_after,
    "two_places": two_places,
    "script_inside": script_inside,
    "schema_inside": schema_inside,
    "commit_by_sql": commit_by_sql,
    "object_rolled_back": object_rolled_back,
    "object_of_inner_block_rolled_back": object_of_inner_block_rolled_back,
    "object_not_committed": object_not_committed,
}
# What came with a later Python than the oldest that is supported: TaskGroup, eager tasks, timeout(), create_task's
# context.
LATER = {
    "NST-13": (3, 11),
    "CTX-4": (3, 11),
    "CTX-7": (3, 12),
    "task_group": (3, 11),
    "group_that_succeeds": (3, 11),
    "timeout_around_a_transaction": (3, 11),
    "context_from_before": (3, 11),
    "empty_context": (3, 11),
}


def runs_here(name: str) -> bool:
    return sys.version_info >= LATER.get(name, (3, 10))


# What is not seen, and why.
RETRIED = "transactions of tasks that share nothing; only a server tells that they wait for each other"
LOST = "it is the network or the server that ends connections, not what a task does"
NOT_SEEN = {
    "gather_queries": "it is safe: plain queries wait for each other at the client's lock",
    "timeout_around_a_transaction": "only where the timeout strikes in a test; then as TXN-5, TXN-6 or TXN-20",
    "TXN-39": "it is timeout_around_a_transaction",
    "get_or_create_with_the_client": "the block that it opens by itself is on another connection, and in nobody's way",
    "lock_values": "that nothing is locked shows where two requests meet",
    "forced_update": "it is the server that counts otherwise",
    "TXN-23": RETRIED,
    "TXN-24": RETRIED,
    "TXN-25": RETRIED,
    "TXN-42": RETRIED,
    "TXN-41": LOST,
    "ORM-14": LOST,
    "ORM-15": LOST,
}
WRONG |= {
    name: program
    for name, program in vars(patterns).items()
    if inspect.iscoroutinefunction(program) and name not in NOT_SEEN
}


# -- right -----------------------------------------------------------------------------------------------------------


async def query_built_anew() -> None:
    await Note.filter(text="draft")
    async with in_transaction():
        await Note.filter(text="draft").update(text="sent")


async def connection_handed_to_a_query() -> None:
    drafts = Note.filter(text="draft")
    await drafts
    async with in_transaction() as connection:
        await drafts.using_db(connection).update(text="sent")


async def one_lock_for_all() -> None:
    lock = asyncio.Lock()

    async def child(text: str) -> None:
        async with lock:
            await write(text)

    async with in_transaction():
        tasks = [asyncio.create_task(child(text)) for text in ("one", "two")]
        async with lock:
            await Note.all().count()
        await asyncio.gather(*tasks)


async def one_semaphore() -> None:
    places = asyncio.Semaphore(1)

    async def child(text: str) -> None:
        async with places:
            await write(text)

    async with in_transaction():
        await asyncio.gather(child("one"), child("two"))


async def one_after_the_other() -> None:
    async with in_transaction():
        await Note.create(text="parent")
        await asyncio.create_task(write("one"))
        await Note.all().count()
        await asyncio.create_task(write("two"))


async def waited_for() -> None:
    async with in_transaction():
        await asyncio.wait_for(write("one"), 20)
        await asyncio.shield(asyncio.create_task(write("two")))
        await Note.all().count()


@atomic()
async def decorated() -> None:
    async def inner() -> None:
        await Note.create(text="inner")

    await atomic()(inner)()
    await Note.create(text="outer")


async def many_at_once() -> None:
    await asyncio.gather(*(write(str(number)) for number in range(5)))


async def inner_error_caught_outside() -> None:
    async with in_transaction():
        note = await Note.create(text="one")
        with contextlib.suppress(Exception):
            async with in_transaction():
                await Note.create(id=note.id, text="the key is taken")
        await Note.create(text="two")


async def jobs_in_a_queue() -> None:
    """Workers that a program starts before everything else; a task in a transaction hands them its work."""
    queue: asyncio.Queue = asyncio.Queue()

    async def worker() -> None:
        while (text := await queue.get()) is not None:
            await write(text)
            queue.task_done()

    workers = [asyncio.create_task(worker()) for _ in range(2)]
    async with in_transaction():
        await Note.create(text="parent")
        queue.put_nowait("one")
        queue.put_nowait("two")
        await queue.join()
        await Note.create(text="parent again")
    for _ in workers:
        queue.put_nowait(None)
    await asyncio.gather(*workers)


async def queue_of_results() -> None:
    """A transaction whose tasks query and hand their results to their parent."""
    results: asyncio.Queue = asyncio.Queue()

    async def ask(text: str) -> None:
        results.put_nowait(await Note.filter(text=text).count())

    async with in_transaction():
        tasks = [asyncio.create_task(ask(text)) for text in ("one", "two")]
        total = await results.get() + await results.get()
        await asyncio.gather(*tasks)
        await Note.create(text=f"{total}")


async def separate_connections() -> None:
    async def child(text: str) -> None:
        async with in_transaction("second") as connection:
            await Note.create(text=text, using_db=connection)
            async with in_transaction("second"):
                await Note.all().using_db(connection).count()

    async with in_transaction("default") as connection:
        task = asyncio.create_task(child("one"))
        await Note.create(text="parent", using_db=connection)
        async with in_transaction("default"):
            await Note.create(text="parent", using_db=connection)
        await task


async def handed_on_client() -> None:
    """A helper outside of the transaction is given its client, and queries beside its owner (TXN-15)."""
    handed_on: asyncio.Future = asyncio.get_running_loop().create_future()

    async def helper() -> None:
        await Note.create(text="helper", using_db=await handed_on)

    task = asyncio.create_task(helper())
    async with in_transaction() as connection:
        handed_on.set_result(connection)
        await Note.create(text="owner")
        await task


async def stays_without_the_database() -> None:
    """A task started inside that never asks the database may live on."""
    done = asyncio.Event()

    async def metric() -> None:
        await done.wait()

    async with in_transaction():
        await Note.create(text="one")
        task = asyncio.create_task(metric())
    done.set()
    await task


async def in_a_clean_context() -> None:
    async with in_transaction():
        task = contextvars.Context().run(asyncio.create_task, asyncio.sleep(0))
        await Note.create(text="one")
    await task


async def objects_after_commit() -> None:
    async with in_transaction():
        note = await Note.create(text="one")
        async with in_transaction():
            note.text = "two"
            await note.save()
    note.text = "three"
    with contextlib.suppress(Exception):  # the row is in another database of the pool
        await note.save()


async def retried() -> None:
    """Each attempt makes its objects anew."""
    for attempt in range(3):
        with contextlib.suppress(ValueError):
            async with in_transaction():
                await Note.create(text=f"attempt {attempt}")
                if attempt < 2:
                    raise ValueError
                return


async def stream_in_one_task() -> None:
    async def rows():
        async with in_transaction():
            for number in range(3):
                yield await Note.create(text=str(number))

    async for _ in rows():
        pass


LIBRARY = """
async def migrate(in_transaction):
    async with in_transaction() as connection:
        await connection.execute_query("CREATE TABLE more (id INTEGER)")
"""


async def schema_in_a_block_of_the_library() -> None:
    """As Tortoise's migrations: block and statement are not the user's, whose line is one for both."""
    library: dict = {}
    exec(compile(LIBRARY, "<library>", "exec"), library)
    await library["migrate"](in_transaction)


RIGHT: dict[str, Program] = {
    program.__name__: program
    for program in (
        query_built_anew,
        connection_handed_to_a_query,
        one_lock_for_all,
        one_semaphore,
        one_after_the_other,
        waited_for,
        decorated,
        many_at_once,
        inner_error_caught_outside,
        jobs_in_a_queue,
        queue_of_results,
        separate_connections,
        handed_on_client,
        stays_without_the_database,
        in_a_clean_context,
        objects_after_commit,
        retried,
        stream_in_one_task,
        group_that_succeeds,
        schema_in_a_block_of_the_library,
        patterns.gather_queries,
        patterns.timeout_around_a_transaction,
        *(each for each in vars(remedies).values() if inspect.iscoroutinefunction(each)),
    )
}

"""Programs keep their rules; what is printed is valid Python, and does what the interpreter does."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import copy
import functools
import hashlib
import json
import types
from typing import Any

import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st

from matrix.generated.interpreter import Interpreter
from matrix.generated.printer import ONE_CONNECTION, ORM, OWN_CONNECTIONS, POOL, TWO_ALIASES, show
from matrix.generated.program import (
    Block,
    Cancel,
    Fail,
    Gather,
    Group,
    Handed,
    Hold,
    Limit,
    Other,
    Program,
    Raise,
    Read,
    Sleep,
    Spawn,
    Try,
    Wait,
    Write,
    as_data,
    from_data,
    parts,
    settle,
    smaller,
    tasks,
    walk,
)
from matrix.generated.search import LINES, PROGRAMS, SEED, Search
from matrix.harness.scenario import catalogue

NUMBER = st.integers(0, 4)


def bodies(statement: st.SearchStrategy) -> st.SearchStrategy:
    return st.lists(statement, max_size=4).map(tuple)


# One line after the other: what a process has drawn of a line is asked in all that is asked about it.
EACH_LINE = pytest.mark.parametrize("line", LINES, scope="module")
METHODS = {
    ORM: "on_tortoise",
    OWN_CONNECTIONS: "on_connections",
    ONE_CONNECTION: "on_one_connection",
    POOL: "on_pool",
    TWO_ALIASES: "on_tortoise",
}


@functools.cache
def drawn(line: str, seed: int = 7, number: int = 60) -> tuple[Program, ...]:
    return tuple(Search(catalogue()[line], None, None, seed, number).draw())  # type: ignore[arg-type]


# -- drawing ---------------------------------------------------------------------------------------------------------


@EACH_LINE
@pytest.mark.parametrize("racing", [False, True])
def test_the_first_programs_are_those_that_the_whole_draw_begins_with(line, racing):
    search = Search(catalogue()[line], None, None, racing=racing)  # type: ignore[arg-type]
    whole = search.draw() if racing else list(drawn(line, SEED, PROGRAMS))
    assert search.draw(2) == whole[:2]
    assert len(whole) > 2


@pytest.mark.parametrize(
    ("line", "digest"),
    [
        ("GEN-1", "810ff84d55d2f751"),
        ("GEN-2", "63372c58efe3ad27"),
        ("GEN-3", "f612bc4d3c3c5157"),
        ("GEN-4", "8ff7a0fd3cf3271f"),
        ("GEN-5", "e5464a66cd99aa74"),
        ("GEN-6", "6df1e414eade1229"),
        ("GEN-7", "9ec07760af583049"),
    ],
)
def test_the_default_seed_means_these_programs(line, digest):
    """If this fails, hypothesis or the strategies have changed, and the expectations of GEN lines want a new look."""
    assert hashlib.sha256(repr(drawn(line, SEED, PROGRAMS)).encode()).hexdigest()[:16] == digest


@EACH_LINE
def test_another_seed_is_another_sample(line):
    assert set(drawn(line, 1, PROGRAMS)) != set(drawn(line, SEED, PROGRAMS))


@EACH_LINE
def test_programs_are_different_and_no_more_than_asked_for(line):
    assert len(set(drawn(line))) == len(drawn(line)) == 60


@EACH_LINE
def test_together_they_have_everything_that_the_line_allows(line):
    rules = LINES[line].rules
    seen = {type(each) for program in drawn(line) for each in walk(program.body)}
    allowed = {Read, Write, Fail, Raise, Try, Block, Gather, Spawn, Wait} | ({Cancel} if rules.cancels else set())
    allowed |= {Hold} if rules.pool else set()
    assert seen == allowed | ({Group, Limit, Sleep, Other, Handed} if rules.structured else set())


# -- rules -----------------------------------------------------------------------------------------------------------


@EACH_LINE
def test_a_settled_program_is_settled(line):
    rules = LINES[line].rules
    for program in drawn(line):
        assert settle(program, rules) == program


@EACH_LINE
def test_tasks_are_numbered_from_one(line):
    for program in drawn(line):
        assert [spawn.task for spawn in tasks(program)] == list(range(1, len(tasks(program)) + 1))


def inside_of(body: Any, kind: type) -> list[Any]:
    """Every statement that stands inside of a statement of this kind in the same task."""
    found = []
    for each in body:
        if isinstance(each, kind):
            found += _same_task(parts(each))
        found += inside_of(parts(each), kind)
    return found


def _same_task(body: Any) -> list[Any]:
    found = []
    for each in body:
        found.append(each)
        if not isinstance(each, (Spawn, Gather)):
            found += _same_task(parts(each))
    return found


@pytest.mark.parametrize("line", ["GEN-1", "GEN-2", "GEN-5"])
def test_on_a_connection_no_block_and_no_task_is_inside_of_a_block(line):
    for program in drawn(line):
        assert not [x for x in inside_of(program.body, Block) if isinstance(x, (Block, Spawn, Gather, Wait))]


def test_promised_programs_gather_plain_queries_only_inside_of_a_block():
    for program in drawn("GEN-3"):
        inside = inside_of(program.body, Block)
        assert not [x for x in inside if isinstance(x, (Spawn, Wait, Cancel))]
        for gather in (x for x in inside if isinstance(x, Gather)):
            for spawn in gather.tasks:
                assert {type(each) for each in spawn.body} <= {Read, Write, Fail}


def test_transactions_on_own_connections_begin_with_a_write():
    blocks = [each for program in drawn("GEN-1") for each in walk(program.body) if isinstance(each, Block)]
    assert blocks
    assert all(block.body[0] == Write() for block in blocks)


@pytest.mark.parametrize(
    ("body", "settled"),
    [
        # It waits inside of a block for a task from outside of it.
        ((Spawn(1, (Write(),)), Block((Wait(1), Read()))), (Spawn(2, (Write(),)), Block((Read(),)))),
        # The start may have been skipped.
        ((Try((Fail(), Spawn(1, (Write(),)))), Wait(1)), (Try((Fail(), Spawn(2, (Write(),)))),)),
        # Nothing is reached after an error.
        ((Block((Raise(), Write())),), (Block((Raise(),)),)),
        # A task is waited for once, and cancelled once.
        (
            (Spawn(1, (Read(),)), Cancel(1), Cancel(1), Wait(1), Wait(1)),
            (Spawn(2, (Read(),)), Cancel(2), Wait(2)),
        ),
        # A task that was started in a block is waited for there or further out.
        ((Block((Spawn(1, (Read(),)),)), Wait(1)), (Block((Spawn(2, (Read(),)),)), Wait(2))),
    ],
)
def test_what_does_not_keep_the_rules_is_left_out(body, settled):
    made = settle(Program((Spawn(9, body),)), LINES["GEN-4"].rules)
    assert made == Program((Spawn(1, settled),))


@pytest.mark.parametrize(
    ("line", "body", "settled"),
    [
        # Without a connection nothing is asked, and who has one acquires no other, starts nothing and waits for nobody.
        (
            "GEN-5",
            (Read(), Block((Write(),)), Spawn(1, (Hold((Read(),)),)), Hold((Hold(()), Spawn(1, (Hold(()),)), Wait(1)))),
            (Spawn(2, (Hold((Read(),)),)), Hold(())),
        ),
        ("GEN-5", (Hold((Spawn(2, (Hold(()),)), Gather((Spawn(1, (Hold(()),)),)), Read())),), (Hold((Read(),)),)),
        # But it may cancel.
        (
            "GEN-5",
            (Spawn(1, (Hold(()),)), Hold((Cancel(1),))),
            (Spawn(2, (Hold(()),)), Hold((Cancel(2),))),
        ),
        # An error ends the block that it is met in; one that an inner block has undone may be caught outside of that.
        ("GEN-5", (Hold((Block((Write(), Try((Fail(),)))),)),), (Hold((Block((Write(),)),)),)),
        (
            "GEN-6",
            (Block((Write(), Try((Fail(), Block((Write(), Fail())))))),),
            (Block((Write(), Try((Block((Write(), Fail())),)))),),
        ),
        # Inside a block tasks are started by groups only, and only ask.
        (
            "GEN-6",
            (
                Block(
                    (
                        Write(),
                        Gather((Spawn(1, (Read(),)),)),
                        Spawn(1, (Read(),)),
                        Group((Spawn(1, (Read(), Block(()))),)),
                    )
                ),
            ),
            (Block((Write(), Group((Spawn(2, (Read(),)),)))),),
        ),
        # A task of a group, and what is limited, starts tasks in groups only; and nobody waits within a limit.
        (
            "GEN-6",
            (Group((Spawn(1, (Read(), Gather((Spawn(2, (Read(),)),)), Group((Spawn(3, (Read(),)),)))),)),),
            (Group((Spawn(2, (Read(), Group((Spawn(3, (Read(),)),)))),)),),
        ),
        (
            "GEN-6",
            (Spawn(1, (Read(),)), Limit((Read(), Wait(1), Spawn(2, (Read(),)), Limit((Read(),)), Sleep()))),
            (Spawn(2, (Read(),)), Limit((Read(),))),
        ),
        # A time limit does not stand inside a block.
        ("GEN-6", (Block((Write(), Limit((Read(),)))),), (Block((Write(),)),)),
        # Who holds one connection does not ask on the other.
        ("GEN-6", (Block((Write(), Other((Read(),)))),), (Block((Write(),)),)),
        (
            "GEN-6",
            (Other((Block((Write(), Handed((Read(),)), Group((Spawn(1, (Read(),)),)), Block((Read(),)))),)),),
            (Other((Block((Write(),)),)),),
        ),
        # There is no client to be passed without a transaction.
        ("GEN-6", (Read(), Handed((Read(),))), (Read(),)),
        (
            "GEN-6",
            (Block((Write(), Group((Spawn(1, (Handed((Read(),)), Sleep())),)))),),
            (Block((Write(), Group((Spawn(2, (Handed((Read(),)),)),)))),),
        ),
    ],
)
def test_no_program_of_the_new_lines_waits_for_itself(line, body, settled):
    made = settle(Program((Spawn(9, body),)), LINES[line].rules)
    assert made == Program((Spawn(1, settled),))


@pytest.mark.parametrize("line", ["GEN-1", "GEN-2", "GEN-3", "GEN-4"])
def test_the_older_lines_know_nothing_of_the_newer_statements(line):
    new = (
        Hold((Read(),)),
        Limit((Read(),)),
        Sleep(),
        Other((Read(),)),
        Handed((Read(),)),
        Group((Spawn(1, (Read(),)),)),
    )
    assert settle(Program((Spawn(1, (Read(), *new)),)), LINES[line].rules) == Program((Spawn(1, (Read(),)),))


ANY = st.recursive(
    st.sampled_from((Read(), Write(), Fail(), Raise(), Sleep())) | st.builds(Wait, NUMBER) | st.builds(Cancel, NUMBER),
    lambda inner: st.one_of(
        [
            *(st.builds(kind, bodies(inner)) for kind in (Try, Block, Limit, Hold, Other, Handed)),
            *(st.builds(kind, bodies(st.builds(Spawn, NUMBER, bodies(inner)))) for kind in (Gather, Group)),
            st.builds(Spawn, NUMBER, bodies(inner)),
        ]
    ),
    max_leaves=20,
)


def any_program() -> st.SearchStrategy[Program]:
    return st.builds(Program, bodies(st.builds(Spawn, NUMBER, bodies(ANY))))


@settings(max_examples=60, deadline=None)
@given(any_program(), st.booleans())
def test_whatever_is_settled_keeps_the_rules(program, newly):
    """Of each line: to make a program up takes longer than to ask all of them."""
    for line in LINES:
        note(line)
        keeps_the_rules(line, program, newly)


def keeps_the_rules(line: str, program: Program, newly: bool) -> None:
    rules = LINES[line].rules
    made = settle(program, rules, drawn=newly)
    assert settle(made, rules) == made
    assert from_data(json.loads(json.dumps(as_data(made)))) == made
    (function,) = ast.parse(show(made, LINES[line].style)).body
    assert isinstance(function, ast.AsyncFunctionDef)
    assert all(settle(less, rules) == less and less.size < made.size for less in smaller(made, rules))
    for hold in (each for each in walk(made.body) if isinstance(each, Hold)):
        assert not {Hold, Spawn, Gather, Wait} & {type(each) for each in walk(hold.body)}
    for limit in (each for each in walk(made.body) if isinstance(each, Limit)):
        assert not {Gather, Wait, Limit, Sleep} & {type(each) for each in walk(limit.body)}
    for group in (each for each in walk(made.body) if isinstance(each, Group)):
        assert not {Gather, Wait, Cancel} & {type(each) for each in walk(group.tasks)}


@EACH_LINE
def test_shrinking_gives_smaller_programs_that_keep_the_rules(line):
    rules = LINES[line].rules
    for program in drawn(line)[:20]:
        less = list(smaller(program, rules))
        assert all(each.size < program.size and settle(each, rules) == each for each in less)
        assert [each.size for each in less] == sorted(each.size for each in less)


# -- printing --------------------------------------------------------------------------------------------------------


@EACH_LINE
def test_what_is_printed_is_one_python_function(line):
    for program in drawn(line):
        (function,) = ast.parse(show(program, LINES[line].style)).body
        assert isinstance(function, ast.AsyncFunctionDef)
        assert function.name == "program"


class Refused(Exception):
    pass


class Deliberate(Exception):
    pass


class Recording:
    """Everything that the tasks of one run did, in their own order; used as connection, model and session alike."""

    label = ""

    def __init__(self) -> None:
        self.done: dict[str, list[str]] = {}
        self.limits: list[Any] = []

    def named(self, label: str) -> Any:
        """The same, but what is asked by it is told apart."""
        made = copy.copy(self)
        made.label = label
        return made

    def log(self, what: str) -> None:
        self.done.setdefault(asyncio.current_task().get_name(), []).append(self.label + what)

    async def ask(self, what: str) -> None:
        self.log(what)
        await asyncio.sleep(0)
        if what == "fail":
            raise Refused

    def time_limit(self, seconds: float) -> Any:
        assert seconds == 0.1
        limit = asyncio.timeout(None)
        self.limits.append(limit)
        return limit

    async def let_time_pass(self, seconds: float) -> None:
        assert seconds == 0.2
        self.log("sleep")
        for limit in self.limits:
            with contextlib.suppress(RuntimeError):  # it is over
                limit.reschedule(0)
        self.limits.clear()
        await asyncio.sleep(0)

    def transaction(self) -> Any:
        return Blocks(self)


class Blocks:
    """A transaction block; its client asks for what it is asked for by a name of its own."""

    def __init__(self, asked: Recording) -> None:
        self.asked = asked

    async def __aenter__(self) -> Any:
        await self.asked.ask("begin")
        return self.asked.named("client: ")

    async def __aexit__(self, kind: Any, error: Any, trace: Any) -> None:
        if kind is not asyncio.CancelledError:  # whoever is cancelled at once asks for nothing more
            await self.asked.ask("commit" if kind is None else "roll back")


class Printed(Recording):
    """What the printed text calls."""

    async def select(self, value: Any) -> None:
        await self.ask("read")

    async def insert(self, value: Any) -> None:
        await self.ask("write")

    async def execute(self, statement: str) -> None:
        await self.ask("fail")

    execute_query = execute

    @contextlib.asynccontextmanager
    async def acquire(self) -> Any:
        await self.ask("acquire")
        try:
            yield self
        finally:
            await self.ask("release")

    async def get(self, nonce: Any, using_db: Any = None) -> None:
        await (using_db or self).ask("read")

    async def create(self, token: Any, using_db: Any = None) -> None:
        await (using_db or self).ask("write")

    def program(self, text: str) -> Any:
        async def made(*_: Any) -> Any:
            return self

        def named_task(coroutine: Any) -> Any:
            return asyncio.create_task(coroutine, name=coroutine.__name__)

        class Group(asyncio.TaskGroup):
            def create_task(self, coroutine: Any, **_: Any) -> Any:
                return super().create_task(coroutine, name=coroutine.__name__)

        def gather(*awaitables: Any, **options: Any) -> Any:
            tasks = [named_task(each) if asyncio.iscoroutine(each) else each for each in awaitables]
            return asyncio.gather(*tasks, **options)

        connections = {"default": self, "second": self.named("second: ")}
        names: dict[str, Any] = {
            "asyncio": types.SimpleNamespace(
                create_task=named_task,
                gather=gather,
                TaskGroup=Group,
                timeout=self.time_limit,
                sleep=self.let_time_pass,
                all_tasks=asyncio.all_tasks,
                current_task=asyncio.current_task,
                wait=asyncio.wait,
            ),
            "connect": made,
            "create_pool": made,
            "Deliberate": Deliberate,
            "Seed": self,
            "Entry": self,
            "connections": connections,
            "in_transaction": lambda name="default": connections[name].transaction(),
            "known_value": lambda: None,
            "new_value": lambda: None,
        }
        exec(compile(text, "printed", "exec"), names)
        return names["program"]()


class Interpreted(Recording):
    """What the interpreter calls: world, session and port in one."""

    name = "any"

    @property
    def world(self) -> Any:
        return self

    @property
    def recording(self) -> Any:
        return self

    def note(self, *_: Any) -> None:
        pass

    async def connect(self) -> Any:
        return self

    async def create_pool(self, size: int) -> Any:
        assert size == 2
        return self

    async def acquire(self, pool: Any) -> Any:
        await self.ask("acquire")
        return self

    async def release(self, pool: Any, connection: Any) -> None:
        await self.ask("release")

    def orm(self, alias: str = "", *, inside: Any = None) -> Any:
        return inside or self.named(f"{alias}: " * bool(alias))

    def on(self, connection: Any) -> Any:
        return self

    def deliberate(self) -> Exception:
        return Deliberate()

    async def read(self) -> None:
        await self.ask("read")

    async def write(self) -> None:
        await self.ask("write")

    async def fail(self) -> None:
        await self.ask("fail")

    @contextlib.asynccontextmanager
    async def time_limit(self, seconds: float) -> Any:
        with contextlib.suppress(TimeoutError):
            async with super().time_limit(seconds):
                yield

    def spawn(self, name: str, body: Any, create: Any = asyncio.create_task) -> Any:
        return create(body(self), name=name.replace(" ", "_"))

    @contextlib.asynccontextmanager
    async def task_group(self) -> Any:
        async with asyncio.TaskGroup() as group:
            yield types.SimpleNamespace(start=lambda name, body: self.spawn(name, body, group.create_task))

    async def wait(self, task: Any) -> None:
        await task

    async def gather(self, *children: Any) -> None:
        await asyncio.gather(*children, return_exceptions=True)

    async def settled(self, *children: Any) -> None:
        await asyncio.wait(children)

    async def cancel(self, task: Any) -> None:
        task.cancel()

    async def together(self, program: Any) -> None:
        await program(self)
        while others := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(others)


def run(coroutine: Any) -> None:
    """On a loop that says nothing of errors that no task asked for."""
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda *_: None)
    try:
        task = loop.create_task(coroutine, name="program")
        loop.call_later(10, task.cancel)
        loop.run_until_complete(task)
    finally:
        loop.close()


@EACH_LINE
def test_what_is_printed_does_what_is_interpreted(line):
    style = LINES[line].style
    second = {"second": "second"} if style == TWO_ALIASES else {}
    asked = set()
    for program in drawn(line):
        printed, interpreted = Printed(), Interpreted()
        run(printed.program(show(program, style)))
        run(getattr(Interpreter(program), METHODS[style])(interpreted, **second))
        assert printed.done == interpreted.done, show(program, style)
        asked |= {what for each in printed.done.values() for what in each}
    expected = {"read", "write", "fail", "begin", "commit", "roll back"}
    if style == POOL:
        expected |= {"acquire", "release"}
    if style == TWO_ALIASES:
        expected |= {"sleep", *(f"second: {what}" for what in expected)}
        expected |= {f"client: {what}" for what in ("read", "write", "fail")}
    assert asked == expected


@EACH_LINE
def test_a_program_is_the_same_when_it_was_written_down(line):
    for program in drawn(line):
        assert from_data(json.loads(json.dumps(as_data(program)))) == program


@pytest.mark.parametrize("data", [None, 7, [7], [["Nothing"]], [["Spawn"]], [["Spawn", 1, [["Read", 1]]]]])
def test_what_is_no_program_is_refused_in_words(data):
    with pytest.raises(ValueError, match="no generated program"):
        from_data(data)

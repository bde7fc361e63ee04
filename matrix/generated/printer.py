"""Prints a program as a small asynchronous function, as somebody would write it with Tortoise or a driver."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from .program import (
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
    Statement,
    Try,
    Wait,
    parts,
    tasks,
    walk,
)

ORM, OWN_CONNECTIONS, ONE_CONNECTION = "orm", "own connections", "one connection"
POOL, TWO_ALIASES = "pool", "orm with two connections"
FAIL = "SELECT nothing_at_all FROM no_such_table"
DEFAULT, SECOND = "default", "second"  # the names of Tortoise's connections
TIME_LIMIT, LONGER = 0.1, 0.2  # seconds
DRIVER = {
    "read": "await {}.select(known_value())",
    "write": "await {}.insert(new_value())",
    "fail": f'await {{}}.execute("{FAIL}")',
    "block": "async with {}.transaction():",
}
MODELS = {
    "read": "await Seed.get(nonce=known_value())",
    "write": "await Entry.create(token=new_value())",
    "fail": f'await connections.get("{DEFAULT}").execute_query("{FAIL}")',
    "block": "async with in_transaction():",
}
USING = {  # {} stands for a client
    "read": "await Seed.get(nonce=known_value(), using_db={})",
    "write": "await Entry.create(token=new_value(), using_db={})",
    "fail": f'await {{}}.execute_query("{FAIL}")',
}
INDENT = "    "


def show(program: Program, style: str) -> str:
    """The program's text: valid Python, one statement of the program a line."""
    return "\n".join(_lines(program, style)) + "\n"


@dataclass(frozen=True)
class _Place:
    """Where a statement stands: in which style of program, in whose task, in how many of that task's blocks."""

    style: str
    task: str
    blocks: int = 0
    using: str = ""  # the client that is passed as using_db

    @property
    def connection(self) -> str:
        return f"connection_{self.task}" if self.style == OWN_CONNECTIONS else "connection"

    @property
    def client(self) -> str:
        """The client of the innermost transaction around: a block's of this task, else the one that it was given."""
        return f"client_{self.blocks}" if self.blocks else "client"

    @property
    def models(self) -> bool:
        return self.style in (ORM, TWO_ALIASES)

    def say(self, what: str) -> str:
        if not self.models:
            return DRIVER[what].format(self.connection)
        default = f'in_transaction("{DEFAULT}")' if self.style == TWO_ALIASES else "in_transaction()"
        return USING[what].format(self.using) if self.using else MODELS[what].replace("in_transaction()", default)


def _lines(program: Program, style: str) -> Iterator[str]:
    yield "async def program():"
    everyone = tasks(program)
    if style == ONE_CONNECTION:
        yield f"{INDENT}connection = await connect()"
    elif style == OWN_CONNECTIONS:
        yield from (f"{INDENT}connection_{spawn.task} = await connect()" for spawn in everyone)
    elif style == POOL:
        yield f"{INDENT}pool = await create_pool(2)"
    for spawn in everyone:
        yield ""
        yield f"{INDENT}async def task_{spawn.task}({'client' * _asks_by_client(spawn.body)}):"
        yield from _body(spawn.body, _Place(style, str(spawn.task)), 2)
    if style not in (ORM, TWO_ALIASES) or everyone:
        yield ""
    yield from _body(program.body, _Place(style, ""), 1) if program.body else ()
    yield from _end(program)


def _asks_by_client(body: tuple[Statement, ...]) -> bool:
    """Whether anything in a body, but for what stands in blocks of its own, asks by the client of the transaction
    around it, or starts a task that does."""
    return any(
        isinstance(each, Handed) or (not isinstance(each, Block) and _asks_by_client(parts(each))) for each in body
    )


def _end(program: Program) -> Iterator[str]:
    """Wait until everything has ended: the own tasks, or whatever else was left running. Who was to wait for a task may
    have failed before."""
    gathered = {each.task for g in walk(program.body) if isinstance(g, (Gather, Group)) for each in g.tasks}
    own = [each.task for each in program.body if isinstance(each, Spawn)]
    if not own:
        yield f"{INDENT}pass"
    elif all(each.task in gathered | set(own) for each in tasks(program)):
        yield f"{INDENT}await asyncio.gather({', '.join(f't{task}' for task in own)}, return_exceptions=True)"
    else:
        yield f"{INDENT}while others := asyncio.all_tasks() - {{asyncio.current_task()}}:"
        yield f"{INDENT * 2}await asyncio.wait(others)"


def _body(body: tuple[Statement, ...], place: _Place, depth: int) -> Iterator[str]:
    for statement in body:
        for line in _statement(statement, place):
            yield INDENT * depth + line
    if not body:
        yield INDENT * depth + "pass"


def _call(spawn: Spawn, place: _Place) -> str:
    return f"task_{spawn.task}({place.client * _asks_by_client(spawn.body)})"


def _statement(statement: Statement, place: _Place) -> Iterator[str]:
    match statement:
        case Read():
            yield place.say("read")
        case Fail():
            yield place.say("fail")
        case Raise():
            yield "raise Deliberate"
        case Sleep():
            yield f"await asyncio.sleep({LONGER})"
        case Try():
            yield "try:"
            yield from _body(statement.body, place, 1)
            yield "except Exception:"
            yield f"{INDENT}pass"
        case Limit():
            yield "try:"
            yield f"{INDENT}async with asyncio.timeout({TIME_LIMIT}):"
            yield from _body(statement.body, place, 2)
            yield "except TimeoutError:"
            yield f"{INDENT}pass"
        case Block():
            yield from _block(statement, place)
        case Hold():
            yield "async with pool.acquire() as connection:"
            yield from _body(statement.body, place, 1)
        case Other():
            yield from _asking(statement.body, replace(place, using=f'connections.get("{SECOND}")'))
        case Handed():
            yield from _asking(statement.body, replace(place, using=place.client))
        case Gather():
            calls = ", ".join(_call(spawn, place) for spawn in statement.tasks)
            yield f"await asyncio.gather({calls}, return_exceptions=True)"
        case Group():
            yield "async with asyncio.TaskGroup() as group:"
            yield from (f"{INDENT}group.create_task({_call(spawn, place)})" for spawn in statement.tasks)
        case Spawn():
            yield f"t{statement.task} = asyncio.create_task({_call(statement, place)})"
        case Wait():
            yield f"await t{statement.task}"
        case Cancel():
            yield f"t{statement.task}.cancel()"
        case _:
            yield place.say("write")


def _asking(body: tuple[Statement, ...], place: _Place) -> Iterator[str]:
    """Statements without a line around them."""
    for statement in body:
        yield from _statement(statement, place)


def _block(block: Block, place: _Place) -> Iterator[str]:
    if place.using:
        yield f'async with in_transaction("{SECOND}"):'
    else:
        inside = replace(place, blocks=place.blocks + 1)
        begin = place.say("block")
        yield begin.removesuffix(":") + f" as {inside.client}:" if _asks_by_client(block.body) else begin
        place = inside
    yield from _body(block.body, place, 1)

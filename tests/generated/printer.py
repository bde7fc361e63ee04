"""Prints a program as a small asynchronous function, as somebody would write it with Tortoise or a driver."""

from __future__ import annotations

from collections.abc import Iterator

from .program import Block, Cancel, Fail, Gather, Program, Raise, Read, Spawn, Statement, Try, Wait, tasks, walk

ORM, OWN_CONNECTIONS, ONE_CONNECTION = "orm", "own connections", "one connection"
FAIL = "SELECT nothing_at_all FROM no_such_table"
PLAIN = {
    ORM: {
        "read": "await Seed.get(nonce=known_value())",
        "write": "await Entry.create(token=new_value())",
        "fail": f'await connections.get("default").execute_query("{FAIL}")',
        "block": "async with in_transaction():",
    },
    OWN_CONNECTIONS: {
        "read": "await connection_{}.select(known_value())",
        "write": "await connection_{}.insert(new_value())",
        "fail": f'await connection_{{}}.execute("{FAIL}")',
        "block": "async with connection_{}.transaction():",
    },
    ONE_CONNECTION: {
        "read": "await connection.select(known_value())",
        "write": "await connection.insert(new_value())",
        "fail": f'await connection.execute("{FAIL}")',
        "block": "async with connection.transaction():",
    },
}
INDENT = "    "


def show(program: Program, style: str) -> str:
    """The program's text: valid Python, one statement of the program a line."""
    return "\n".join(_lines(program, style)) + "\n"


def _lines(program: Program, style: str) -> Iterator[str]:
    yield "async def program():"
    everyone = tasks(program)
    if style == ONE_CONNECTION:
        yield f"{INDENT}connection = await connect()"
    elif style == OWN_CONNECTIONS:
        yield from (f"{INDENT}connection_{spawn.task} = await connect()" for spawn in everyone)
    for spawn in everyone:
        yield ""
        yield f"{INDENT}async def task_{spawn.task}():"
        yield from _body(spawn.body, style, str(spawn.task), 2)
    if style != ORM or everyone:
        yield ""
    yield from _body(program.body, style, "", 1) if program.body else ()
    yield from _end(program)


def _end(program: Program) -> Iterator[str]:
    """Wait until everything has ended: the own tasks, or whatever else was left running."""
    waited = {each.task for each in walk(program.body) if isinstance(each, Wait)}
    gathered = {each.task for g in walk(program.body) if isinstance(g, Gather) for each in g.tasks}
    own = [each.task for each in program.body if isinstance(each, Spawn)]
    if not own:
        yield f"{INDENT}pass"
    elif all(each.task in waited | gathered | set(own) for each in tasks(program)):
        yield f"{INDENT}await asyncio.gather({', '.join(f't{task}' for task in own)}, return_exceptions=True)"
    else:
        yield f"{INDENT}while others := asyncio.all_tasks() - {{asyncio.current_task()}}:"
        yield f"{INDENT * 2}await asyncio.wait(others)"


def _body(body: tuple[Statement, ...], style: str, task: str, depth: int) -> Iterator[str]:
    for statement in body:
        for line in _statement(statement, style, task):
            yield INDENT * depth + line
    if not body:
        yield INDENT * depth + "pass"


def _statement(statement: Statement, style: str, task: str) -> Iterator[str]:
    say = PLAIN[style]
    match statement:
        case Read():
            yield say["read"].format(task)
        case Fail():
            yield say["fail"].format(task)
        case Raise():
            yield "raise Deliberate"
        case Try():
            yield "try:"
            yield from _body(statement.body, style, task, 1)
            yield "except Exception:"
            yield f"{INDENT}pass"
        case Block():
            yield say["block"].format(task)
            yield from _body(statement.body, style, task, 1)
        case Gather():
            calls = ", ".join(f"task_{spawn.task}()" for spawn in statement.tasks)
            yield f"await asyncio.gather({calls}, return_exceptions=True)"
        case Spawn():
            yield f"t{statement.task} = asyncio.create_task(task_{statement.task}())"
        case Wait():
            yield f"await t{statement.task}"
        case Cancel():
            yield f"t{statement.task}.cancel()"
        case _:
            yield say["write"].format(task)

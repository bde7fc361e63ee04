"""From what tasks did to straight code: one coroutine per task, in which each statement waits for its turn."""

from __future__ import annotations

from collections.abc import Sequence

from matrix.harness.drivers import Script
from matrix.reproduce import NotWritten
from matrix.reproduce.declared import Declared
from matrix.reproduce.naming import quoted, quoted_list
from matrix.reproduce.reconstruct import Item, Task, within
from matrix.results.text import one_line

ROWS = 3  # that a program iterates over
CLOCK = 2.5  # seconds that a script waits at most where the program's clock moved by more
LIMIT = 0.3  # seconds; the program's clock was frozen, a script's is not


class Writer:
    """Writes tasks as functions: through Tortoise with connections of these names, else (no ``aliases``) on the one
    connection of the driver."""

    def __init__(
        self, tasks: Sequence[Task], aliases: Sequence[str], driver: Script, server: str, declared: Declared
    ) -> None:
        self.driver, self.server, self.aliases = driver, server, aliases
        self.declared = declared
        self.mine = ""
        self.children = {child for task in tasks for child in task.children}
        self.ends = {task.name: task.ended for task in tasks}
        self.names = {task.name: task for task in tasks}
        self.shared = {each.using for task in tasks for each in within(task.items) if each.using.startswith("client_")}
        self.orm = bool(aliases)

    def function(self, task: Task) -> list[str]:
        self.mine = task.name
        if self.declared.abandons and len(task.items) == 1:
            return [f"async def {task.function}():", *_indented(self.abandoned(task))]
        lines = [*self.queries(task.items, 0), *self.body(task.items, task.letter, not task.ended_badly)]
        kinds = [item.kind for item in within(task.items) if item.kind in ("get", "save")]
        if kinds[:1] == ["save"]:
            lines.insert(0, "entry = Entry()")
        if first := next((item for item in task.items if item.kind == "fetch"), None):
            wanted = quoted_list([f"n-{int(first.value[2:]) + more}" for more in range(ROWS)])
            fetches = [at for at, line in enumerate(lines) if "anext(answers" in line]
            call = f"rows(connection, {wanted})"
            if first.copied:
                call = f"copied(connection, {wanted}, {len(fetches) - 1})"
            inside = lines[fetches[0] : fetches[-1] + 1]
            depth = len(inside[0]) - len(inside[0].lstrip())
            opened = f"async with contextlib.aclosing({call}) as answers:"
            lines[fetches[0] : fetches[-1] + 1] = [" " * depth + opened, *_indented(inside)]
        last = task.items[-1] if task.items else None
        if self.on_purpose() and not (last and last.kind == "block" and last.end == "rollback"):
            lines.append(self.fails_on_purpose())
        if self.declared.lock and task.name in self.children:
            lines = ["async with lock:", *_indented(lines)]
        shared = sorted(self.shared & {self.client(item) for item in within(task.items) if item.kind == "block"})
        lines = [*(f"global {name}" for name in shared), *lines]
        return [f"async def {task.function}():", *_indented(lines)]

    def queries(self, items: Sequence[Item], block: int) -> list[str]:
        """The lines that build what is awaited later, of the queries that are built in this block (0: in none)."""
        lines = {}
        for item in (each for each in within(items) if each.kind == "query" and each.block == block):
            rows = f"[Entry(token=token) for token in {quoted_list(item.names)}]"
            given = rows if item.value == "bulk_create" else f"token={quoted(item.names[0])}"
            lines[item.query] = f"query_{item.query} = Entry.{item.value}({given})  # awaited later"
        return list(lines.values())

    def abandoned(self, task: Task) -> list[str]:
        """A task that iterates over a generator with a block in it, and leaves it after the first step."""
        block = task.items[0]
        head = self.block(Item("block", block.text, items=block.items, end="commit"), task.letter)
        inside = ["try:", *_indented([*head, "    yield"]), "finally:", "    ended.set()"]
        lines = ["ended = asyncio.Event()", "", "async def rows():", *_indented(inside), "", "async for _ in rows():"]
        return [*lines, "    break  # nobody holds the generator any more", "await ended.wait()"]

    def on_purpose(self) -> bool:
        """Whether the task that is being written ended with an error that it raised itself."""
        return self.mine in self.names and self.names[self.mine].on_purpose

    def fails_on_purpose(self) -> str:
        return f"raise Stop({quoted(f'{self.mine} fails on purpose')})"

    def body(self, items: Sequence[Item], letter: str | None, goes_on: bool) -> list[str]:
        """The items as lines. ``goes_on``: whether the code around goes on when the last of them has failed."""
        lines: list[str] = []
        at = 0
        while at < len(items):
            item = items[at]
            given = self.given_back(items, at)
            if given:
                made = self.item(item, letter)
                inside = self.body(items[at + 1 : given], letter, goes_on=False)
                made += ["try:", *_indented(inside), "finally:", *_indented(self.item(items[given], letter))]
                lines += made
                at = given + 1
                continue
            if item.kind == "start" and item.grouped:
                group = []
                while at < len(items) and items[at].kind == "start" and items[at].grouped:
                    group.append(items[at])
                    at += 1
                made = ["async with asyncio.TaskGroup() as group:"]
                made += [f"    {self.start(n, ', group.create_task')}" for n in group]
                failing = any(self.ends.get(n.names[0]) == "error" for n in group)
            elif item.kind == "shield" and at + 1 < len(items) and items[at + 1].kind == "hand":
                made, failing = self.shielded(item, items[at + 1]), self.failed(items[at + 1])
                at += 2
            else:
                made, failing = self.item(item, letter), self.failed(item)
                at += 1
            last = at == len(items)
            if failing and (not last or goes_on):
                made = ["try:", *_indented(made), "except Exception:", "    pass"]
            lines += made
        return lines or ["pass  # it did not come any further"]

    def given_back(self, items: Sequence[Item], at: int) -> int:
        """Where the connection that is acquired here is given back although something went wrong before; else 0."""
        if items[at].kind != "acquire":
            return 0
        end = next((each for each in range(at + 1, len(items)) if items[each].kind == "release"), 0)
        between = items[at + 1 : end]
        wrong = any(self.failed(item) or "cancelled" in (item.outcome, item.end_outcome) for item in between)
        return end if wrong and self.ends.get(self.mine) != "done" else 0

    def start(self, item: Item, create: str = "") -> str:
        """The call that starts another task."""
        name = item.names[0]
        if name not in self.names:
            raise NotWritten(f"{name} never came to its first step")
        context = {"before": ", context=before.copy()", "empty": ", context=contextvars.Context()"}
        given = context.get("empty" if item.empty else self.declared.context, "")
        return f"start({quoted(name)}, {self.names[name].function}{create}{given})"

    def shielded(self, item: Item, end: Item) -> list[str]:
        """``asyncio.shield`` around a block's end by hand, which a task of its own then does."""
        call = f"do(None, {quoted(end.text)}, {self.statement(end)})"
        return [f"await asyncio.shield(start({quoted(item.names[0])}, lambda: {call}))"]

    def failed(self, item: Item) -> bool:
        """Whether an exception came out of it, as recorded."""
        if item.caught:
            return True
        if item.kind == "thread":
            return any(self.failed(each) for each in item.items)
        if item.kind == "wait":
            return not item.settles and any(self.ends.get(name) == "error" for name in item.names)
        if item.kind == "block":
            ended = "error" in (item.outcome, item.end_outcome) or item.end == "rollback"
            return ended or self.runs_out_of_time(item)
        return item.outcome == "error" or (item.outcome == "cancelled" and (item.limited or item.seconds > 0))

    def alias(self, connection: str = "") -> str:
        """What ``in_transaction`` is given: Tortoise has no default where it has several connections."""
        name = connection or (self.aliases[0] if len(self.aliases) > 1 else "")
        return quoted(name) if name else ""

    def runs_out_of_time(self, item: Item) -> bool:
        """Whether it is a block whose time ran out while it began."""
        return item.kind == "block" and (item.limited or item.seconds > 0) and item.outcome == "cancelled"

    def item(self, item: Item, letter: str | None) -> list[str]:
        letter = None if item.at_once and item.kind != "block" else letter
        turn = f"await turn({quoted(letter)})" if letter else "pass"
        who = quoted(letter) if letter else None
        if item.kind == "block":
            return self.block(item, letter)
        if item.kind == "outlives":
            inside = [f"scope.append({quoted(self.mine)})"] * bool(item.value) + self.body(item.items, letter, False)
            lines = ["try:", *_indented(inside), "except asyncio.CancelledError:"]
            lines += ["    while asyncio.current_task().cancelling():", "        asyncio.current_task().uncancel()"]
            return lines + (["finally:", "    scope.clear()"] if item.value else [])
        if item.kind == "start":
            return [f"await asyncio.shield({self.start(item)})" if item.shielded else self.start(item)]
        if item.kind == "shield":
            return ["pass  # it is cancelled before it has shielded anything"]
        if item.kind == "thread":
            inside = self.body(item.items, letter, goes_on=False)
            run = "await asyncio.to_thread(asyncio.run, in_thread())"
            return ["async def in_thread():", *_indented(inside), "", turn, run]
        if item.kind == "wait":
            waited = [f"tasks[{quoted(name)}]" for name in item.names if name in self.names]
            if not waited:
                raise NotWritten("it waits for tasks that never came to their first step")
            call = f"asyncio.wait([{', '.join(waited)}])" if item.settles else f"asyncio.gather({', '.join(waited)})"
            return [f"await {call}"]
        if item.kind == "cancel":
            return [turn, f"tasks[{quoted(item.names[0])}].cancel()"]
        if item.kind == "kill":
            return [turn, "await end_sessions()"]
        if item.kind == "lose":
            return [turn, "cut()  # as the server or the network does"]
        if item.kind == "network":
            return [turn, f"{item.value}  # {one_line(item.text)}"]
        if item.kind == "time":
            return [turn, f"await let_time_pass({min(item.seconds, CLOCK) or ''})"]
        if item.kind == "step":
            return [f"{turn}  # {one_line(item.text)}"]
        if item.kind == "leave":
            block = f"opened[{quoted(item.text)}]"
            failure = 'type(error := Stop("fails on purpose")), error, None'
            given = "None, None, None" if item.value != "rollback" else failure
            return [f"{block}.who = {who}", f"await {block}.__aexit__({given})"]
        if item.kind == "acquire":
            call = self.limited("acquire()", item, "acquire")
            return [f"connection = await do({who}, {quoted(item.text)}, {call})"]
        if item.kind == "pipeline":
            made = ["mode = connection.pipeline()"]
            return [*made, f"await do({who}, {quoted(item.text)}, {self.statement(item)})"]
        if item.kind == "get":
            return [f"entry = await do({who}, {quoted(item.text)}, {self.statement(item)})"]
        if item.doomed:
            cancelled = "asyncio.current_task().cancel()  # arrives at the driver's first await"
            return [turn, cancelled, f"await do(None, {quoted(item.text)}, {self.statement(item)})"]
        statement = self.statement(item, letter)
        return [f"await do({who}, {quoted(item.text)}, {statement})"]

    def statement(self, item: Item, letter: str | None = None) -> str:
        value = quoted(item.value)
        client = item.using if self.orm else ""
        using = f", using_db={client}" if client else ""
        more = ", fails=True" * item.fails
        close = f"connection.{self.driver.close}()"
        if item.kind == "close":
            close = "close_pool()" if item.value == "close_pool" else close
            close = "connections.close_all()" if item.value == "close_all" else close
        call = {
            "ensure": f"Entry.{''.join(item.names)}(token={value}{using})",
            "delete": f"Entry.filter(token={value}).delete()",
            "touch": "entry.save(force_update=True)",
            "derived": f"query_{item.query}.update(token={value})",
            "fetch": 'anext(answers, "the end")',
            "bulk": f"Entry.bulk_create([Entry(token=token) for token in {quoted_list(item.names)}]{using})",
            "release": "release(connection)",
            "set": f"sql(connection, {value})" if item.value else self.driver.autocommit,
            "probe": f"sql(connection, {value})",
            "close": close,
            "forget": self.driver.begin,
            "hand": f"{self.client(item)}.{item.value}()",
            "read": f"read({'' if self.orm else 'connection, '}{value}{f', {client}' if client else ''})",
            "write": f"Entry.create(token={value}{using})" if self.orm else f"write(connection, {value})",
            "fail": "fail()" if self.orm else "fail(connection)",
            "script": "script()" if self.orm else "script(connection)",
            "orphan": "orphan()",
            "undo": "undo()",
            "many": f"write_many(connection, {quoted_list(item.names)})",
            "copy": f"copy_in(connection, {quoted(str(letter))}, {quoted_list(item.names)}{more})",
            "put": f"count_up({value})",
            "take": f"lock({quoted(self.mine)}, {value})",
            "take_values": f"lock_values({quoted(self.mine)}, {value})",
            "store": f"store({quoted(self.mine)})",
            "store_values": f"store_values({quoted(self.mine)})",
            "view": f"view({value})",
            "ping": "connection.ping()",
            "listen": 'sql(connection, "LISTEN repro")',
            "hear": f"hear(connection, {len(item.names)})",
            "pipeline": "mode.__aenter__()",
            "pipeline_end": "mode.__aexit__(None, None, None)",
            "query": f"query_{item.query}",
            "get": f"Entry.filter(token={value}).using_db({client or None}).get()",
            "save": f"save(entry, {value})",
        }[item.kind]
        return self.limited(call, item)

    def limited(self, call: str, item: Item, plain: str = "") -> str:
        """What ``do`` is given: the call, with the time limit that ran out."""
        if item.seconds:
            return f"lambda: within({quoted(self.mine)}, {item.seconds:g}, lambda: {call})"
        return f"lambda: asyncio.wait_for({call}, {LIMIT})" if item.limited else plain or f"lambda: {call}"

    def client(self, item: Item) -> str:
        """The name of what a block gives, by which it is ended by hand."""
        return f"client_{item.block}" if item.block else "client"

    def block(self, item: Item, letter: str | None) -> list[str]:
        built = self.queries(self.names[self.mine].items, item.block) if self.mine in self.names and item.block else []
        inside = [*built, *self.body(item.items, letter, goes_on=item.end == "commit")]
        if item.end == "rollback" and not self.breaks_off(item):
            inside = [line for line in inside if not line.startswith("pass ")]
            inside.append(self.fails_on_purpose())
        opened, who = "transaction(connection)", quoted(letter) if letter else None
        if item.begins:
            opened = "by_hand()" if self.orm else "implicit(connection)"
        elif self.orm:
            opened = f"in_transaction({self.alias(item.connection)})"
        make = "in_transaction" if opened == "in_transaction()" else f"lambda: {opened}"
        if self.runs_out_of_time(item):
            begin = self.limited(f"{opened}.__aenter__()", item)
            return [f"await do({who}, {quoted(f'begin {item.text}')}, {begin})"]
        hand = next((each for each in within(item.items) if each.kind == "hand" and each.names == (item.text,)), None)
        if item.handed:
            name = f"opened[{quoted(item.text)}]"
            made = f"{name} = block({who}, {quoted(item.text)}, {make})"
            return [made, f"await {name}.__aenter__()  # ended elsewhere", *self.body(item.items, letter, goes_on=True)]
        given = f" as {self.client(hand)}" if hand else ""
        if self.client(item) in self.shared:
            given = f" as {self.client(item)}"
        at_once = ", at_once=True" * item.at_once
        return [f"async with block({who}, {quoted(item.text)}, {make}{at_once}){given}:", *_indented(inside)]

    def breaks_off(self, item: Item) -> bool:
        """Whether the block ended because something in it failed, not because the program wanted it."""
        if self.on_purpose():
            return False
        inner = item.items[-1] if item.items else None
        if inner is None:
            return self.ends.get(self.mine) == "cancelled"
        grouped = inner.kind == "start" and inner.grouped
        cancelled = "cancelled" in (inner.outcome, self.ends.get(self.mine))
        return grouped or cancelled or (self.failed(inner) and not inner.caught)


def _indented(lines: Sequence[str]) -> list[str]:
    return [f"    {line}" for line in lines]

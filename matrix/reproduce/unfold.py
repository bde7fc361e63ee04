"""From a recorded history to straight code: one coroutine per task, in which each statement waits for its turn."""

from __future__ import annotations

import ast
import json
import keyword
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from matrix.reproduce import NotWritten
from matrix.reproduce.said import NOTHING, Said
from matrix.results.text import one_line
from matrix.words import LETTERS, MOMENT

AFTER = "the next user"
NONCE = re.compile(r"\bn-[a-z]+-(\d+)\b")
TOKEN = re.compile(r"\bw-[0-9a-z]+-(\d+)\b")
STATEMENTS = ("read", "write", "fail", "ensure", "acquire", "release", "set", "probe", "close")
UNNAMED = ("acquire", "release", "close", "set", "probe")  # several tasks may do the same
SETTINGS = {"postgres": ("SET matrix.setting = 77", "SELECT current_setting('matrix.setting', true)")}
SETTINGS["mysql"] = ("SET @matrix_setting = 77", "SELECT @matrix_setting")
CLOSES = {"aiomysql": "ensure_closed", "asyncmy": "ensure_closed"}  # others: close
BEGINS = {"aiosqlite": 'execute("BEGIN")', "asyncpg": "transaction().start()", "psycopg": "transaction().__aenter__()"}
ODBC, BEGIN = "asyncodbc", 'sql(connection, "BEGIN")'
HAND = re.compile(r" by hand\b")
OUTCOMES = ("ok", "error", "cancelled")
CROWD = 4  # so many tasks that do the same share one function
ROWS = 3  # that a program iterates over
LIMIT = 0.3  # seconds; the program's clock was frozen, a script's is not


@dataclass
class Item:
    """One thing that a task does. ``kind``: read, write, fail, block, start, wait, cancel, time, thread, step."""

    kind: str
    text: str = ""  # the statement as the history names it, with short names for rows
    names: tuple[str, ...] = ()  # tasks that are started, awaited, cancelled
    value: str = ""  # nonce or token
    outcome: str = ""  # ok, error, cancelled, or empty: never answered
    caught: bool = False
    doomed: bool = False  # its task's cancellation was on its way when it began
    limited: bool = False  # its time ran out (asyncio.wait_for)
    grouped: bool = False
    shielded: bool = False  # it is started and awaited in asyncio.shield
    settles: bool = False
    number: Any = None
    began: int = 0  # in the numbering of history and steps
    items: list[Item] = field(default_factory=list)  # a block's
    end: str = ""  # a block's: commit or rollback, or empty
    end_outcome: str = ""
    nested: bool = False
    handed: bool = False  # another task ends it, or this one does outside of it


@dataclass(frozen=True)
class Facts:
    """What a scenario says of itself and no history does. ``during``: kinds of operations, all when it is empty."""

    by_frame: bool = False
    holds_login: bool = False
    during: tuple[str, ...] = ()
    fills_pool: bool = False
    cancels: str = ""
    unsaid: str = ""  # what the program does and the history does not show, so that nothing can be unfolded


@dataclass(frozen=True)
class Sweep:
    """Who is cancelled: while it waits, where the order says so, or ``as_it_ends``: in the instant in which its wait
    number ``wait`` ends. ``during``: how the names of the operations begin whose waits count."""

    victim: str
    wait: int
    as_it_ends: bool
    during: tuple[str, ...]


@dataclass
class Task:
    """One task: its letter in the schedule, what it does, and how it ended as the history says."""

    name: str
    letter: str
    items: list[Item]
    ended: str
    children: tuple[str, ...] = ()
    late: bool = False  # it began when the database could be reached again

    @property
    def function(self) -> str:
        return identifier(self.name)

    @property
    def ended_badly(self) -> bool:
        return self.ended != "ends"


# Names that the rest of a script has.
TAKEN = {"main", "start", "do", "go", "turn", "quiet", "conduct", "relay", "cut", "connect", "sql", "read", "write"}
TAKEN |= {"fail", "block", "transaction", "rows", "acquire", "release", "look", "well", "failed", "swept", "connection"}


def identifier(name: str) -> str:
    """A task's name as that of a function; no other function of a script has it."""
    made = re.sub(r"\W+", "_", name).strip("_").lower() or "task"
    return f"task_{made}" if keyword.iskeyword(made) or made[0].isdigit() or made in TAKEN else made


def quoted(text: str) -> str:
    """A Python literal, in double quotes where that is plain."""
    return json.dumps(text) if text.isascii() and text.isprintable() else repr(text)


def name_of(operation: Mapping[str, Any]) -> str:
    """The name of an operation in a script, by which it keeps what was told; each has its own."""
    text = short(operation["text"]).removesuffix(" (too late)")
    if operation["what"] in UNNAMED:
        return f"{text} ({operation['session']}, operation {operation['operation']})"
    return text


def short(text: object) -> str:
    """Rows and values by their short names: ``n-seed-3`` is ``n-3``, ``w-0db41fx6-1`` is ``w-1``."""
    return TOKEN.sub(r"w-\1", NONCE.sub(r"n-\1", str(text)))


def tasks_of(evidence: Mapping[str, Any]) -> list[Task]:
    """All tasks of the program, those that it began with first. Raises NotWritten."""
    if not isinstance(evidence.get("setup"), Mapping):
        raise NotWritten("the result is of a suite that did not record enough yet: run the cell again")
    letters = _letters(evidence)
    history = [e for e in evidence["history"] if not str(e["session"]).startswith(AFTER)]
    spare = iter(letter for letter in LETTERS if letter not in letters.values())
    for event in history:
        if event.get("what") == "start" and event["session"] not in letters:
            letters[event["session"]] = next(spare)  # it starts others and asks nothing: the order does not name it
    names = dict.fromkeys([*letters, *(e["session"] for e in history if e["session"] != "event loop")])
    ends = {e["session"]: str(e["text"]) for e in history if e["event"] == "end"}
    again = next((int(e["n"]) for e in history if e.get("text") == "can be reached again"), 0)
    tasks = []
    for name in names:
        if name not in letters:
            continue  # it was started and never came to its first step
        items = _in_threads(_items(_course(name, evidence), ends), ends)
        late = bool(again) and min(e["n"] for e in history if e["session"] == name) > again
        tasks.append(Task(name, letters[name], items, ends.get(name, ""), tuple(_started(items)), late))
    everything = [item for task in tasks for item in _within(task.items)]
    for left in (item for item in everything if item.kind == "leave"):
        block = next((item for item in everything if item.kind == "block" and item.text == left.text), None)
        if block is None:
            raise NotWritten(f"{left.text} is ended and was never begun")
        block.handed = True
    children = {child for task in tasks for child in task.children}
    return sorted(tasks, key=lambda task: (task.name in children, LETTERS.index(task.letter)))


BEGINNINGS = {"rollback": "roll back "}  # of an operation's name; others begin with their kind


def declared(evidence: Mapping[str, Any]) -> Facts:
    """What the source of the program says. It is read, never run; a program without source has the plain facts."""
    source = str(evidence.get("program") or "")
    try:
        tree = ast.parse(source)
        calls = [each for each in ast.walk(tree) if isinstance(each, ast.Call)]
        named = next((call.keywords for call in calls if getattr(call.func, "id", "") == "scenario"), [])
        said = {key.arg: ast.literal_eval(key.value) for key in named if key.arg in ("cancels", "during", "hold_login")}
    except (SyntaxError, ValueError):
        return Facts()
    unsaid = ""
    if any(getattr(call.func, "attr", "") == "orm" and (call.args or _of_a_client(call)) for call in calls):
        unsaid = "it passes a connection or a client as using_db, and the history does not say in which query"
    handed = any(getattr(call.func, "attr", "") == "hand_over" for call in calls)
    if not handed and any(isinstance(each, (ast.Yield, ast.YieldFrom)) for each in ast.walk(tree)):
        unsaid = "a generator is given up in it, and the history does not say where"
    fills = any(getattr(call.func, "attr", "") == "fill_orm_pool" for call in calls)
    during = tuple(str(kind) for kind in said.get("during", ()))
    by_frame = bool(said.get("cancels"))
    cancels = str(said.get("cancels") or "")
    return Facts(by_frame, by_frame and bool(said.get("hold_login")), during, fills, cancels, unsaid)


def _of_a_client(call: ast.Call) -> bool:
    return any(keyword.arg in ("alias", "client", "inside", "transaction_on") for keyword in call.keywords)


def sweep_of(line: Mapping[str, Any], tasks: Sequence[Task], facts: Facts) -> Sweep | None:
    """The cancellation that the schedule begins with, if it does. Raises NotWritten."""
    found = MOMENT.fullmatch(str(line["schedule"]).partition(".")[0])
    if found is None:
        return None
    named = [task.name for task in tasks if facts.cancels in (task.name, "") or task.letter == found["victim"]]
    victim = next((name for name in named if name == facts.cancels), next(iter(named), None))
    if victim is None:
        raise NotWritten("who is cancelled never came to its first step")
    during = tuple(BEGINNINGS.get(kind, f"{kind} ") for kind in facts.during)
    return Sweep(victim, int(found["wait"]), bool(found["as_it_ends"]) or _never_quiet(line, facts), during or ("",))


def _never_quiet(line: Mapping[str, Any], facts: Facts) -> bool:
    """Whether the cancellation came while a first connection was being made: that wait ended before all was quiet."""
    evidence = line["evidence"]
    moment = next((step["at"] for step in evidence["steps"] if "@" in str(step["action"])), None)
    asked = {event["n"] for event in evidence["history"] if event["event"] == "invoke"}
    return facts.holds_login and moment is not None and moment - 1 in asked


def order_in_threads(line: Mapping[str, Any]) -> str:
    """The order of tasks and of what a thread pool hands over, without what travels on the wire meanwhile."""
    steps = [step for step in line["evidence"]["steps"] if not str(step["text"]).startswith("connection ")]
    return ".".join(str(step["action"]) for step in steps if step["action"] != "-")


def order_of(line: Mapping[str, Any]) -> str:
    """The order of a script's steps: the schedule, but a cancellation while somebody waits stands where it came; one in
    the instant in which a wait ends is no step of its own."""
    schedule = str(line["schedule"])
    if not MOMENT.match(schedule):
        return schedule
    actions = [str(step["action"]) for step in line["evidence"]["steps"]]
    return ".".join(action for action in actions if action != "-" and not action.endswith("+"))


def afterwards(evidence: Mapping[str, Any], until: Any) -> list[Item]:
    """What the next user asks, up to the operation ``until``. Raises NotWritten where that is not one after another."""
    course = [
        ("history", e) for e in evidence["history"] if e["session"] == AFTER or (until and e.get("operation") == until)
    ]
    if any(e["session"] != AFTER for _, e in course):
        raise NotWritten("it shows when several next users come at once")
    numbers = [e.get("operation") for _, e in course if e["event"] == "invoke"]
    if until not in numbers:
        raise NotWritten("the next user's question is not in the history")
    wanted = set(numbers[: numbers.index(until) + 1])
    return _items([entry for entry in course if entry[1].get("operation") in wanted], {})


def _letters(evidence: Mapping[str, Any]) -> dict[str, str]:
    """Which letter of the schedule is which task."""
    found: dict[str, str] = {}
    for step in evidence["steps"]:
        name, colon, _ = str(step["text"]).partition(": ")
        if colon and len(str(step["action"])) == 1 and not str(step["action"]).isdigit():
            found.setdefault(name, str(step["action"]))
    return {name: letter for name, letter in found.items() if letter in LETTERS}


def _course(name: str, evidence: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """A task's own steps and history in one order; a step that only lets an operation begin is left out."""
    steps = [("step", s) for s in evidence["steps"] if str(s["text"]).startswith(f"{name}: ")]
    events = [("history", e) for e in evidence["history"] if e["session"] == name]
    merged = sorted([*steps, *events], key=lambda entry: entry[1].get("at", entry[1].get("n", 0)))
    course = []
    for at, (kind, entry) in enumerate(merged):
        following = next((e for k, e in merged[at + 1 :] if k == "step" or e["event"] != "cancelled"), None)
        if kind == "history" or not (following and following.get("event") == "invoke"):
            course.append((kind, entry))
    return course


def _items(course: Sequence[tuple[str, Mapping[str, Any]]], ends: Mapping[str, str]) -> list[Item]:
    outer: list[Item] = []
    stack: list[Item] = []
    by_number: dict[Any, Item] = {}
    last: Item | None = None
    for kind, entry in course:
        here = stack[-1].items if stack else outer
        if kind == "step":
            last = _plain_step(str(entry["text"]).partition(": ")[2])
            here.append(last)
        elif entry["event"] == "invoke":
            what, text = str(entry["what"]), short(entry["text"])
            if unanswered(by_number):
                break  # nothing of the program comes behind that: the run was over and taken down
            if what in ("commit", "rollback", "leave") and not HAND.search(text):
                if all(each.text != entry["block"] for each in stack):
                    last = Item("leave", str(entry["block"]), value=what, number=entry["operation"])
                    by_number[entry["operation"]] = last
                    here.append(last)
                else:
                    _close(stack, what, entry, by_number)
                continue
            last = _operation(what, text, entry)
            last.began = int(entry.get("n", 0))
            by_number[entry["operation"]] = last
            here.append(last)
            if last.kind == "block":
                stack.append(last)
        elif entry["event"] in OUTCOMES and entry.get("operation") is not None:
            _answered(by_number[entry["operation"]], entry, stack)
        elif entry["event"] == "cancelled" and "are over: TimeoutError" in str(entry["text"]) and last is not None:
            last.limited = True
        elif entry["event"] == "cancelled" and last is not None and entry["n"] == last.began + 1:
            last.doomed = True  # nothing happened in between, no step of anybody's either
        elif entry["event"] == "note":
            _noted(here, str(entry.get("what")), str(entry["text"]), last)
    return outer


def unanswered(by_number: Mapping[Any, Item]) -> bool:
    """Whether an operation that nobody took back has never been answered."""
    return any(not (each.items[0].end_outcome if each.kind == "end" else each.outcome) for each in by_number.values())


def _in_threads(items: list[Item], ends: Mapping[str, str]) -> list[Item]:
    """What comes behind the start of a thread is done in it, up to what fails there or the end of the block."""
    made: list[Item] = []
    for item in items:
        item.items = _in_threads(item.items, ends)
        thread = made[-1] if made and made[-1].kind == "thread" else None
        if thread and not any(each.outcome == "error" for each in thread.items):
            thread.items.append(item)
        else:
            made.append(item)
    return made


def _plain_step(text: str) -> Item:
    if text == "start a thread":
        return Item("thread")
    if text.startswith("the server c"):
        raise NotWritten(f"no script can say {text!r} yet")
    if victim := re.fullmatch(r"cancel (.+)", text):
        return Item("cancel", names=(victim[1],))
    if text == "the server ends the driver's connections":
        return Item("kill")
    if text == "the server ends all connections":
        return Item("lose")
    if re.fullmatch(r"[\d.]+ s go by", text):
        return Item("time")
    return Item("step", text)


def _operation(what: str, text: str, entry: Mapping[str, Any]) -> Item:
    number = entry["operation"]
    if "never end it" in text:
        return Item("forget", text, number=number)
    if HAND.search(text):
        return Item("hand", text, names=(str(entry["block"]),), value=what, number=number)
    if what == "begin":
        return Item("block", str(entry["block"]), number=number, nested="nested" in text)
    if what not in STATEMENTS or text.startswith(("iterate ", "update_or_create ", "bulk_update ")):
        raise NotWritten(f"no script can say {text!r} yet")
    values = re.findall(r"\b[nw]-\d+\b", text)
    if text.startswith("fetch "):
        return Item("fetch", text, value=values[0] if values else "", number=number)
    if text.startswith("bulk_create "):
        return Item("bulk", text, names=tuple(values), number=number)
    return Item(what, name_of(entry), value=values[0] if values else "", number=number)


def _close(stack: list[Item], what: str, entry: Mapping[str, Any], by_number: dict[Any, Item]) -> None:
    name = str(entry["block"])
    block = next(each for each in reversed(stack) if each.text == name)
    block.end = "commit" if what == "leave" else what
    while (inner := stack.pop()) is not block:
        # An outer block that commits while an inner one is open: nobody's ``async with`` can say that.
        inner.handed = what == "commit" and inner.outcome == "ok" and not inner.end
    by_number[entry["operation"]] = Item("end", number=entry["operation"], items=[block])


def _answered(item: Item, entry: Mapping[str, Any], stack: list[Item]) -> None:
    outcome = str(entry["event"])
    if item.kind == "end":
        item.items[0].end_outcome = outcome
        return
    item.outcome = outcome
    if item.kind == "block" and outcome != "ok" and stack and stack[-1] is item:
        stack.pop()


def _noted(here: list[Item], what: str, text: str, last: Item | None) -> None:
    if what == "start":
        name = text.removeprefix("starts ")
        grouped = name.endswith(" in a task group")
        if name.endswith("'s shielded commit"):
            here.append(Item("shield", names=(name,)))
            return
        shielded = name.endswith("'s shielded work")
        here.append(Item("start", names=(name.removesuffix(" in a task group"),), grouped=grouped, shielded=shielded))
    elif what == "wait":
        settles = text.startswith("waits for the end of ")
        names = text.removeprefix("waits for the end of ").removeprefix("waits for ").split(", ")
        here.append(Item("wait", names=tuple(names), settles=settles))
    elif text.startswith("catches the error") and last is not None:
        last.caught = True


def _started(items: Sequence[Item]) -> Iterator[str]:
    for item in items:
        if item.kind == "start":
            yield from item.names
        yield from _started(item.items)


# -- code ------------------------------------------------------------------------------------------------------------


class Writer:
    """Writes tasks as functions. ``orm``: through Tortoise, else on the one connection of the driver."""

    def __init__(self, tasks: Sequence[Task], orm: bool, driver: str, said: Said = NOTHING) -> None:
        self.driver = driver
        self.said = said
        self.mine = ""
        self.children = {child for task in tasks for child in task.children}
        self.ends = {task.name: task.ended for task in tasks}
        self.names = {task.name: task for task in tasks}
        self.orm = orm

    def function(self, task: Task) -> list[str]:
        self.mine = task.name
        if self.said.abandoned and len(task.items) == 1:
            return [f"async def {task.function}():", *_indented(self.abandoned(task))]
        lines = self.body(task.items, task.letter, not task.ended_badly)
        if first := next((item for item in task.items if item.kind == "fetch"), None):
            wanted = [f"n-{int(first.value[2:]) + more}" for more in range(ROWS)]
            lines = [f"answers = rows(connection, {quoted_list(wanted)})", *lines, "await answers.aclose()"]
        last = task.items[-1] if task.items else None
        if self.on_purpose() and not (last and last.kind == "block" and last.end == "rollback"):
            lines.append(self.fails_on_purpose())
        if self.said.lock and task.name in self.children:
            lines = ["async with lock:", *_indented(lines)]
        shared = sorted(self.said.shared_clients & {self.named(item) for item in _within(task.items)})
        lines = [*(f"global {name}" for name in shared), *lines]
        return [f"async def {task.function}():", *_indented(lines)]

    def abandoned(self, task: Task) -> list[str]:
        """A task that iterates over a generator with a block in it, and leaves it after the first step."""
        block = task.items[0]
        head = self.block(Item("block", block.text, items=block.items, end="commit"), task.letter)
        inside = ["try:", *_indented([*head, "    yield"]), "finally:", "    ended.set()"]
        lines = ["ended = asyncio.Event()", "", "async def rows():", *_indented(inside), "", "async for _ in rows():"]
        return [*lines, "    break  # nobody holds the generator any more", "await ended.wait()"]

    def on_purpose(self) -> bool:
        """Whether the task that is being written ended with an error that it raised itself."""
        return "Deliberate" in self.ends.get(self.mine, "") and f"{self.mine} fails" in self.ends[self.mine]

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
                failing = any(self.ends.get(n.names[0], "").startswith("ends with") for n in group)
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
        return end if wrong and self.ends.get(self.mine, "") != "ends" else 0

    def body_of(self, name: str) -> str:
        if name not in self.names:
            raise NotWritten(f"{name} never came to its first step")
        return self.names[name].function

    def start(self, item: Item, create: str = "") -> str:
        """The call that starts another task."""
        name = item.names[0]
        context = {"before": ", context=before.copy()", "empty": ", context=contextvars.Context()"}
        return f"start({quoted(name)}, {self.body_of(name)}{create}{context.get(self.said.context, '')})"

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
            return not item.settles and any(self.ends.get(name, "").startswith("ends with") for name in item.names)
        if item.kind == "block":
            return item.outcome == "error" or item.end == "rollback" or item.end_outcome == "error"
        return item.outcome == "error"

    def item(self, item: Item, letter: str | None) -> list[str]:
        turn = f"await turn({quoted(letter)})" if letter else "pass"
        if item.kind == "block":
            return self.block(item, letter)
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
            if self.driver not in BEGINS and self.driver != ODBC:
                raise NotWritten("the server ends connections in it: only PostgreSQL is asked to do so yet")
            return [turn, "await end_sessions()"]
        if item.kind == "lose":
            return [turn, "cut()  # as the server or the network does"]
        if item.kind == "time":
            return [turn, "await let_time_pass()"]
        if item.kind == "step":
            return [f"{turn}  # {one_line(item.text)}"]
        if item.kind == "leave":
            block = f"opened[{quoted(item.text)}]"
            failure = 'type(error := Stop("fails on purpose")), error, None'
            given = "None, None, None" if item.value != "rollback" else failure
            return [f"{block}.who = {quoted(letter) if letter else None}", f"await {block}.__aexit__({given})"]
        if item.kind == "acquire":
            return [f"connection = await do({quoted(letter) if letter else None}, {quoted(item.text)}, acquire)"]
        if item.doomed:
            cancelled = "asyncio.current_task().cancel()  # arrives at the driver's first await"
            return [turn, cancelled, f"await do(None, {quoted(item.text)}, {self.statement(item)})"]
        return [f"await do({quoted(letter) if letter else None}, {quoted(item.text)}, {self.statement(item)})"]

    def statement(self, item: Item) -> str:
        value = quoted(item.value)
        client = self.said.client_of(self.mine, item.text) if self.orm else ""
        using = f", using_db={client}" if client else ""
        change, look = SETTINGS["mysql" if self.driver in CLOSES else "postgres"]
        close = f"connection.{CLOSES.get(self.driver, 'close')}()"
        if item.kind == "close":
            close = "close_pool()" if "the pool" in item.text else close
            close = "connections.close_all()" if "all connections" in item.text else close
        call = {
            "ensure": f"Entry.get_or_create(token={value}{using})",
            "fetch": 'anext(answers, "the end")',
            "bulk": f"Entry.bulk_create([Entry(token=token) for token in {quoted_list(item.names)}]{using})",
            "release": "release(connection)",
            "set": f"sql(connection, {quoted(change)})",
            "probe": f"sql(connection, {quoted(look)})",
            "close": close,
            "forget": f"connection.{BEGINS.get(self.driver, 'begin()')}" if self.driver != ODBC else BEGIN,
            "hand": f"{self.client(item)}.{item.value}()",
            "read": f"read({'' if self.orm else 'connection, '}{value}{f', {client}' if client else ''})",
            "write": f"Entry.create(token={value}{using})" if self.orm else f"write(connection, {value})",
            "fail": "fail()" if self.orm else "fail(connection)",
        }[item.kind]
        return f"lambda: asyncio.wait_for({call}, {LIMIT})" if item.limited else f"lambda: {call}"

    @staticmethod
    def named(item: Item) -> str:
        """The name of a block's client where another task uses it too."""
        number = re.search(r"\d+$", item.text) if item.kind == "block" else None
        return f"client_{number[0]}" if number else ""

    def client(self, item: Item) -> str:
        """The name of what a block gives, by which it is ended by hand."""
        number = re.search(r"\d+$", item.names[0] if item.names else "")
        return f"client_{number[0]}" if number else "client"

    def block(self, item: Item, letter: str | None) -> list[str]:
        inside = self.body(item.items, letter, goes_on=item.end == "commit")
        if item.end == "rollback" and not self.breaks_off(item):
            inside = [line for line in inside if not line.startswith("pass ")]
            inside.append(self.fails_on_purpose())
        make = "in_transaction" if self.orm else "lambda: transaction(connection)"
        if self.orm and (connection := self.said.connection_of(item.text)):
            make = f"lambda: in_transaction({quoted(connection)})"
        hand = next((each for each in _within(item.items) if each.kind == "hand" and each.names == (item.text,)), None)
        if item.handed:
            name = f"opened[{quoted(item.text)}]"
            made = f"{name} = block({quoted(letter) if letter else None}, {quoted(item.text)}, {make})"
            return [made, f"await {name}.__aenter__()  # ended elsewhere", *self.body(item.items, letter, goes_on=True)]
        given = f" as {self.client(hand)}" if hand else ""
        if self.named(item) in self.said.shared_clients:
            given = f" as {self.named(item)}"
        return [
            f"async with block({quoted(letter) if letter else None}, {quoted(item.text)}, {make}){given}:",
            *_indented(inside),
        ]

    def breaks_off(self, item: Item) -> bool:
        """Whether the block ended because something in it failed, not because the program wanted it."""
        if self.on_purpose():
            return False
        inner = item.items[-1] if item.items else None
        if inner is None:
            return self.ends.get(self.mine, "") == "ends: cancelled"
        grouped = inner.kind == "start" and inner.grouped
        cancelled = "cancelled" in (inner.outcome, self.ends.get(self.mine, "").removeprefix("ends: "))
        return grouped or cancelled or (self.failed(inner) and not inner.caught)


def _within(items: Sequence[Item]) -> Iterator[Item]:
    for item in items:
        yield item
        yield from _within(item.items)


def quoted_list(texts: Sequence[str]) -> str:
    """A Python list of literals."""
    return f"[{', '.join(map(quoted, texts))}]"


def _indented(lines: Sequence[str]) -> list[str]:
    return [f"    {line}" for line in lines]

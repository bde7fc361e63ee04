"""From a recorded history to what each task did, one thing after another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from matrix.harness.sentences import AFTER, sentence
from matrix.reproduce import NotWritten
from matrix.reproduce.naming import identifier, in_words, name_of, short
from matrix.words import LETTERS

PLAIN = "plain"  # the name of the plain client in a script
STATEMENTS: tuple[str, ...] = ("read", "write", "fail", "ensure", "acquire", "release", "set", "probe", "close")
STATEMENTS = (*STATEMENTS, "put", "script", "orphan", "ping", "look", "fetch", "listen", "pipeline", "pipeline_end")
STATEMENTS = (*STATEMENTS, "delete", "touch", "take", "view")
UNWRITTEN = ("iterate", "bulk_update")  # among them
ON_COUNTERS = {"take": "take", "take_values": "take_values", "view": "view", "put": "store", "count_up": "put"}
MANY = {"executemany": "many", "copy_in": "copy"}  # writes of several rows, and what they are as items
THE_END = "the end"  # what a fetch gives behind the last row
OUTCOMES = ("ok", "error", "cancelled")


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
    seconds: float = 0  # its limit, or that of the clock's step, where time really passes
    grouped: bool = False
    empty: bool = False  # a task that is started in an empty context
    shielded: bool = False  # it is started and awaited in asyncio.shield
    settles: bool = False
    number: Any = None
    began: int = 0  # in the numbering of history and steps
    items: list[Item] = field(default_factory=list)  # a block's
    end: str = ""  # a block's: commit or rollback, or empty
    end_outcome: str = ""
    nested: bool = False
    copied: bool = False  # a row of a COPY
    fails: bool = False  # what gives the rows of a COPY raises an error
    begins: str = ""  # how a block begins: implicit, or by a statement of its own
    handed: bool = False  # another task ends it, or this one does outside of it
    using: str = ""  # what a query passes as using_db, as an expression
    connection: str = ""  # that a block is asked for by name
    in_thread: bool = False
    block: int = 0  # a block's number, or that of the one that is ended by hand, or in which a query was built
    at_once: bool = False  # it began with its task, which ran eagerly and waited for no turn
    query: int = 0  # of a query that was built before: which it is of its task's


@dataclass
class Task:
    """One task: its letter in the schedule, what it does, and how it ended as the history says."""

    name: str
    letter: str
    items: list[Item]
    ended: str  # done, error, cancelled, or empty: it never did
    on_purpose: bool = False  # with an error that it raised itself
    children: tuple[str, ...] = ()
    late: bool = False  # it began when the database could be reached again

    @property
    def function(self) -> str:
        return identifier(self.name)

    @property
    def ended_badly(self) -> bool:
        return self.ended != "done"


def tasks_of(evidence: Mapping[str, Any]) -> list[Task]:
    """All tasks of the program, those that it began with first. Raises NotWritten."""
    letters = _letters(evidence)
    history = [e for e in evidence["history"] if not str(e["session"]).startswith(AFTER)]
    spare = iter(letter for letter in LETTERS if letter not in letters.values())
    for event in history:
        if event["fact"]["kind"] == "start" and event["session"] not in letters:
            letters[event["session"]] = next(spare)  # it starts others and asks nothing: the order does not name it
    names = dict.fromkeys([*letters, *(e["session"] for e in history if e["session"] != "event loop")])
    ends = {e["session"]: e["fact"] for e in history if e["event"] == "end"}
    network = steps_of_the_network(evidence)
    again = 0 if network else next((int(e["n"]) for e in history if e["fact"].get("reachable")), 0)
    away = 0 if network else next((int(e["n"]) for e in history if e["fact"].get("reachable") is False), 0)
    if any(e["n"] < away for e in history if e["event"] == "invoke"):
        raise NotWritten("no script can keep the server out of reach from the middle of it on yet")
    blocks = {block["name"]: int(block["number"]) for block in evidence["blocks"]}
    tasks = []
    for name in names:
        if name not in letters:
            continue  # it was started and never came to its first step
        items = _in_threads(_items(_course(name, evidence), blocks))
        _stores(list(within(items)))
        if items and _eager(name, evidence):
            items[0].at_once = True
        late = bool(again) and min(e["n"] for e in history if e["session"] == name) > again
        on_purpose = ends.get(name, {}).get("raised_by") == name
        children = tuple(child for item in within(items) if item.kind == "start" for child in item.names)
        tasks.append(Task(name, letters[name], items, _ended(ends.get(name)), on_purpose, children, late))
    everything = [item for task in tasks for item in within(task.items)]
    _limits(everything, network)
    for left in (item for item in everything if item.kind == "leave"):
        block = next((item for item in everything if item.kind == "block" and item.text == left.text), None)
        if block is None:
            raise NotWritten(f"{left.text} is ended and was never begun")
        block.handed = True
    started = {child for task in tasks for child in task.children}
    return sorted(tasks, key=lambda task: (task.name in started, LETTERS.index(task.letter)))


def steps_of_the_network(evidence: Mapping[str, Any]) -> bool:
    """Whether a task makes the network fall silent or reset, or the server unreachable, amid the program."""
    steps = (step["fact"]["step"] for step in evidence["steps"] if step["fact"]["kind"] == "step")
    return any(step["kind"] in NETWORK for step in steps)


def _limits(everything: Sequence[Item], network: bool) -> None:
    """Where the network falls silent, and where a transaction's begin has a limit, time really passes; elsewhere all
    limits are the same short one."""
    begins = any(item.kind == "block" and item.outcome != "ok" and item.seconds for item in everything)
    for item in everything:
        if network or begins:
            item.limited = False
        else:
            item.seconds = 0


def _stores(items: Sequence[Item]) -> None:
    """What is stored is what the task itself has locked before, as an object or as ``values()``. Raises NotWritten."""
    locked = {item.kind for item in items} & {"take", "take_values"}
    for item in (each for each in items if each.kind == "store"):
        if len(locked) != 1:
            raise NotWritten("it stores what another task has locked, and no script says that yet")
        item.kind = "store" if locked == {"take"} else "store_values"


def _ended(fact: Mapping[str, Any] | None) -> str:
    """How a task ended, by the fact of its end."""
    if fact is None:
        return ""
    return "error" if fact["error"] else "cancelled" if fact["cancelled"] else "done"


def afterwards(evidence: Mapping[str, Any], until: Any) -> list[Item]:
    """What the next user asks, up to the operation ``until``. Raises NotWritten where that is not one after another."""
    course = [
        ("history", e) for e in evidence["history"] if e["session"] in AFTER or (until and e.get("operation") == until)
    ]
    if any(e["session"] not in AFTER for _, e in course):
        raise NotWritten("it shows when several tasks come at once")
    numbers = [e.get("operation") for _, e in course if e["event"] == "invoke"]
    if until not in numbers:
        raise NotWritten("the next task's question is not in the history")
    blocks = {block["name"]: int(block["number"]) for block in evidence["blocks"]}
    wanted = set(numbers[: numbers.index(until) + 1])
    return _items([entry for entry in course if entry[1].get("operation") in wanted], blocks)


def _letters(evidence: Mapping[str, Any]) -> dict[str, str]:
    """Which letter of the schedule is which task."""
    found: dict[str, str] = {}
    for step in evidence["steps"]:
        if step["fact"]["kind"] == "step":
            found.setdefault(step["fact"]["session"], str(step["action"]))
    return found


def _course(name: str, evidence: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """A task's own steps and history in one order; a step that only lets an operation begin is left out."""
    steps = [("step", s) for s in evidence["steps"] if s["fact"]["kind"] == "step" and s["fact"]["session"] == name]
    events = [("history", e) for e in evidence["history"] if e["session"] == name]
    merged = sorted([*steps, *events], key=lambda entry: entry[1].get("at", entry[1].get("n", 0)))
    course = []
    for at, (kind, entry) in enumerate(merged):
        following = next((e for k, e in merged[at + 1 :] if k == "step" or e["event"] != "cancelled"), None)
        if kind == "history" or not (following and following.get("event") == "invoke"):
            course.append((kind, entry))
    return course


def _eager(name: str, evidence: Mapping[str, Any]) -> bool:
    """Whether a task asked for something before it was let take a step."""
    asked = min((e["n"] for e in evidence["history"] if e["session"] == name and e["event"] == "invoke"), default=0)
    stepped = (s["at"] for s in evidence["steps"] if s["fact"]["kind"] == "step" and s["fact"]["session"] == name)
    return 0 < asked < min(stepped, default=0)


def _items(course: Sequence[tuple[str, Mapping[str, Any]]], blocks: Mapping[str, int]) -> list[Item]:
    outer: list[Item] = []
    stack: list[Item] = []
    by_number: dict[Any, Item] = {}
    last: Item | None = None
    again = sum(e["event"] == "cancelled" and e["fact"]["kind"] == "cancelled" for k, e in course if k == "history") > 1
    for kind, entry in course:
        here = stack[-1].items if stack else outer
        if kind == "step" and entry["fact"]["step"]["kind"] == "row":
            continue  # a turn of the source of a COPY, inside of it
        if kind == "step":
            last = _plain_step(entry["fact"]["step"])
            here.append(last)
        elif entry["event"] == "invoke":
            what, fact = str(entry["what"]), entry["fact"]
            if unanswered(by_number):
                break  # nothing of the program comes behind that: the run was over and taken down
            if what in ("commit", "rollback", "leave") and not fact["by_hand"]:
                if all(each.text != entry["block"] for each in stack):
                    last = Item("leave", str(entry["block"]), value=what, number=entry["operation"])
                    by_number[entry["operation"]] = last
                    here.append(last)
                else:
                    _close(stack, what, entry, by_number)
                continue
            last = _operation(what, fact, entry, blocks)
            last.began = int(entry.get("n", 0))
            by_number[entry["operation"]] = last
            here.append(last)
            if last.kind == "block":
                stack.append(last)
        elif entry["event"] in OUTCOMES and entry.get("operation") is not None:
            _answered(by_number[entry["operation"]], entry, stack)
        elif entry["fact"]["kind"] == "outlived":  # whatever was cancelled is caught here
            if any(item.kind == "fetch" for item in within(outer)):
                raise NotWritten("no script goes on behind a cancelled stream yet")
            stack, outer = [], [Item("outlives", value="again" * again, items=outer)]
        else:
            _noted(here, entry["fact"], last, by_number)
    return outer


def unanswered(by_number: Mapping[Any, Item]) -> bool:
    """Whether an operation that nobody took back has never been answered."""
    return any(not (each.items[0].end_outcome if each.kind == "end" else each.outcome) for each in by_number.values())


def _in_threads(items: list[Item]) -> list[Item]:
    """What is done in a thread belongs to its start."""
    made: list[Item] = []
    for item in items:
        item.items = _in_threads(item.items)
        thread = made[-1] if made and made[-1].kind == "thread" else None
        if thread and (item.in_thread or item.number is None):
            thread.items.append(item)
        else:
            made.append(item)
    return made


NETWORK = {"reach_server": "reachable", "fall_silent": "fall_silent", "reset_connections": "reset_connections"}
STEPS = {"thread": "thread", "end_server_sessions": "kill", "lose_connections": "lose", "clock": "time"}


def _plain_step(fact: Mapping[str, Any]) -> Item:
    kind = fact["kind"]
    if kind in NETWORK:
        keys = {"fall_silent": ("open", "new"), "reach_server": ("reachable",)}.get(kind, ())
        given = ", ".join(str(bool(fact[key])) for key in keys)
        return Item("network", in_words(fact), value=f"{NETWORK[kind]}({given})")
    if kind == "cancel":
        return Item("cancel", names=(fact["session"],))
    return Item(STEPS[kind], seconds=fact.get("seconds", 0)) if kind in STEPS else Item("step", in_words(fact))


def _operation(what: str, fact: Mapping[str, Any], entry: Mapping[str, Any], blocks: Mapping[str, int]) -> Item:
    number, kind = entry["operation"], fact["kind"]
    block, of_block = str(entry["block"]), blocks.get(str(entry["block"]), 0)
    threaded = bool(fact.get("in_thread"))
    if kind == "begin_and_forget":
        return Item("forget", in_words(fact), number=number)
    if fact.get("by_hand"):
        return Item("hand", sentence(short(fact)), names=(block,), value=what, number=number, block=of_block)
    if what == "begin":
        alias, nested = str(fact.get("alias") or ""), bool(fact["nested"])
        made = Item("block", block, number=number, nested=nested, connection=alias, in_thread=threaded, block=of_block)
        made.begins = str(fact.get("begins", ""))
        return made
    if what not in STATEMENTS or kind in UNWRITTEN:
        raise NotWritten(f"no script can say {sentence(short(fact))!r} yet")
    value = short(fact.get("row", "")) if fact.get("row") != THE_END else ""
    if kind == "look" or (kind.startswith("await_") and "query" not in fact):
        raise NotWritten(f"no script can say {sentence(short(fact))!r} yet")
    if kind in ON_COUNTERS:
        return Item(ON_COUNTERS[kind], name_of(entry), value=value, number=number)
    if "query" in fact:  # built before: where is in the history
        names = tuple(short(fact.get("rows") or [fact["row"]]))
        built = Item("query", name_of(entry), names=names, value=str(fact["by"]), number=number)
        built.block, built.query = int(fact["built_in"]), int(fact["query"])
        return built
    if what == "fetch":
        return Item("get", in_words(fact), value=value, number=number, using=_using(fact.get("using")))
    if kind == "save":
        return Item("save", in_words(fact), value=value, number=number)
    if kind == "hear":
        return Item("hear", in_words(fact), names=tuple(short(fact["rows"])), number=number)
    if kind == "derived_update":
        return Item("derived", in_words(fact), value=value, number=number, query=int(fact["of"]))
    using = _using(fact.get("using"))
    if fact.get("fails") and kind == "fetch":
        raise NotWritten("no script streams a result that has an error in it yet")
    more: dict[str, Any] = {"number": number, "using": using, "in_thread": threaded}
    if what == "ensure":
        return Item("ensure", name_of(entry), value=value, names=(kind,), **more)
    if kind == "fetch":
        copied = bool(fact.get("copied"))
        return Item("fetch", in_words(fact), value=value, number=number, in_thread=threaded, copied=copied)
    if kind in MANY:
        names, fails = tuple(short(fact["rows"])), bool(fact.get("fails"))
        return Item(MANY[kind], in_words(fact), names=names, number=number, fails=fails)
    if kind == "bulk_create":
        names = tuple(short(fact["rows"]))
        return Item("bulk", in_words(fact), names=names, **more)
    if what in ("set", "probe"):
        if kind != "no_autocommit" and "sql" not in fact:
            raise NotWritten("the result is of a suite that did not record enough yet: run the cell again")
        value = fact.get("sql", "")
    what = "undo" if kind == "fail_undoing" else what
    return Item(what, name_of(entry), value=kind if what == "close" else value, **more)


def _using(using: Mapping[str, Any] | None) -> str:
    """What is passed as ``using_db``, as an expression of the script."""
    if using is None:
        return ""
    if "alias" in using:
        return f'connections.get("{using["alias"]}")'
    return f"client_{using['block']}" if using["block"] else PLAIN


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


def _noted(here: list[Item], fact: Mapping[str, Any], last: Item | None, asked: Mapping[Any, Item]) -> None:
    kind = fact["kind"]
    if kind == "start":
        shields, names = fact["shields"], (fact["session"],)
        if shields == "commit":
            here.append(Item("shield", names=names))
        else:
            empty, shielded = bool(fact.get("empty")), shields == "work"
            here.append(Item("start", names=names, grouped=fact["grouped"], shielded=shielded, empty=empty))
    elif kind == "wait":
        here.append(Item("wait", names=tuple(fact["sessions"]), settles=fact["settles"]))
    elif last is None:
        return
    elif kind == "caught":
        last.caught = True
    elif kind == "time_over":
        last.limited = True
        _over_time(asked).seconds = fact["seconds"]
    elif kind == "cancelled":
        last.doomed = last.doomed or fact["doomed"]


def _over_time(asked: Mapping[Any, Item]) -> Item:
    """What was under way when the time was over: what was taken back, or failed, last. Raises NotWritten."""
    for item in reversed(list(asked.values())):
        if item.kind == "end" and item.items[0].end_outcome == "cancelled":
            raise NotWritten("no script limits the time of a transaction's end yet")
        if item.kind != "end" and item.outcome in ("cancelled", "error"):
            return item
    raise NotWritten("nothing was under way when the time was over")


def within(items: Sequence[Item]) -> Iterator[Item]:
    """All of them, those of blocks and threads too."""
    for item in items:
        yield item
        yield from within(item.items)

"""A result line as one file that a maintainer can run: no import but the driver, Tortoise and the standard library."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, TypeVar

from matrix.harness.drivers import Driver, Script, drivers
from matrix.reproduce import NotWritten, declared, reconstruct, symptom
from matrix.reproduce.declared import Declared
from matrix.reproduce.head import head
from matrix.reproduce.naming import names, quoted, quoted_list, wrapped
from matrix.reproduce.reconstruct import PLAIN, Task, within
from matrix.reproduce.runtime import part
from matrix.reproduce.symptom import Symptom
from matrix.reproduce.tables import KEYS, Tables
from matrix.reproduce.writer import LIMIT, ROWS, Writer

MakerT = TypeVar("MakerT", bound="Maker")
CROWD = 4  # so many tasks that do the same share one function
SYMPTOM_SECONDS = 5  # in which something must happen; through Tortoise the driver may need more


def script(line: Mapping[str, Any], header: Mapping[str, Any]) -> str:
    """The source of a script that shows the finding of a line that does not comply. Raises NotWritten with why not."""
    return made(line, header, Maker).text()


def made(line: Mapping[str, Any], header: Mapping[str, Any], kind: type[MakerT]) -> MakerT:
    """What makes a program of a line that does not comply. Raises NotWritten with why it cannot."""
    evidence, axes = line.get("evidence"), header["axes"]
    odbc = axes["server"] == "odbc"
    if odbc and symptom.finding(line).get("signal"):
        raise NotWritten("the interpreter dies of a race in the C library, which no order of calls decides")
    if not isinstance(evidence, Mapping) or not evidence.get("history"):
        raise NotWritten("nothing was recorded")
    server, table = server_of(line, header), drivers().get(str(axes["driver"]))
    if table is None or table.script is None or server not in KEYS or (odbc and server != "postgres"):
        raise NotWritten(f"there is no script for {axes['driver']} on {server} yet")
    if not line.get("schedule"):
        raise NotWritten("no schedule decides")
    known = declared.declared(evidence)
    tasks = reconstruct.tasks_of(evidence)
    setup = evidence["setup"]
    used = {step["fact"]["wire"] for step in evidence["steps"] if step["fact"]["kind"] == "deliver"} or {1}
    # A connection on which nothing was answered is not needed to show it.
    connections = min(setup.get("connections", 0), max(used))
    if connections + len(setup.get("pools") or ()) + bool(setup.get("orm")) > 1:
        raise NotWritten("it needs more than one connection or pool")
    if any("FATAL 08P01" in piece["text"] for step in evidence["steps"] for piece in step["fact"].get("pieces", ())):
        raise NotWritten("no script has a server yet that hangs up by itself")
    found = symptom.of(line)
    return kind(line, header, tasks, found, bool(setup.get("orm")), known, table, table.script)


def server_of(line: Mapping[str, Any], header: Mapping[str, Any]) -> str:
    """The kind of database that shows a finding; an ODBC cell has several, and its line says which one decides."""
    server = str(header["axes"]["server"])
    return str((line.get("finding") or {}).get("database") or server)


class Maker:
    """Joins the parts of one script."""

    by_events = False  # whether nothing but events orders the tasks, and answers come as they come

    def __init__(
        self,
        line: Mapping[str, Any],
        header: Mapping[str, Any],
        tasks: list[Task],
        found: Symptom,
        orm: bool,
        known: Declared,
        table: Driver,
        driver: Script,
    ) -> None:
        self.line, self.header, self.tasks, self.found, self.orm = line, header, tasks, found, orm
        self.table, self.driver, self.server = table, driver, server_of(line, header)
        self.sqlite, self.odbc = self.server == "sqlite", header["axes"]["server"] == "odbc"
        self.pool = int(next(iter(line["evidence"]["setup"].get("pools") or ()), 0))  # the driver's own: its size
        self.autocommit = line["evidence"]["setup"].get("autocommit", True)
        self.writer = Writer(tasks, self.aliases() if orm else (), driver, self.server, known)
        self.declared = known
        self.tables = Tables.of(tasks, self.server)
        self.sweep = declared.sweep_of(line, tasks, known)
        order = (declared.order_in_threads(line) if self.odbc else declared.order_of(line)).split(".")
        late = {task.letter for task in tasks if task.late}
        self.order = ".".join(token for token in order if not (self.swept and "@" in token) and token not in late)
        self.next_user = reconstruct.afterwards(line["evidence"], found.after) if found.after is not None else []

    def text(self) -> str:
        if self.orm:
            orm = self.part("orm").replace('"DEFAULT"', quoted(self.aliases()[0]))
            fill = self.part("fill").replace("in_transaction()", f"in_transaction({self.writer.alias()})")
            chosen = [self.driver_parts()["DATABASE"], orm]
            chosen += [fill] if self.declared.fills_pool and self.pool_size() > 1 else []
        else:
            chosen = self.driver_code()
        helpers = [self.part("order"), self.part("conduct"), *([self.part("sweep")] if self.swept else [])]
        helpers.append(self.part("thread" if self.sqlite else "executor" if self.odbc else "wire"))
        body = "\n\n\n".join(each.strip("\n") for each in (*helpers, *chosen))
        rest = f"{body}\n\n\n{self.program}\n\n\n{self.main()}"
        return f"{self.head(rest)}\n{rest}"

    @cached_property
    def items(self) -> list[reconstruct.Item]:
        """What all tasks do."""
        return [item for task in self.tasks for item in within(task.items)]

    @property
    def everything(self) -> list[reconstruct.Item]:
        """The same, and what the next one does."""
        return [*self.items, *within(self.next_user)]

    @property
    def swept(self) -> bool:
        """Whether the victim is cancelled as a wait ends, so that its waits must be counted."""
        return self.sweep is not None and self.sweep.as_it_ends

    def part(self, name: str) -> str:
        """A part of the runtime with only those of its lines that this script needs."""
        everything, network, asked = self.everything, self.network(), names(self.found.shows)
        kinds, own = {item.kind for item in everything}, {item.kind for item in self.items}
        begins = {item.begins for item in self.items}
        known = {
            "frames": self.declared.by_frame,
            "login": self.declared.holds_login,
            "swept": self.swept,
            "mysql": self.server in ("mysql", "mariadb"),
            "implicit": "implicit" in begins,
            "by_hand": "statement" in begins,
            "scripts": self.tables.scripts,
            "orphans": self.tables.orphans,
            "counters": bool(self.tables.counters),
            "counts_up": self.tables.counts_up,
            "views": "view" in kinds,
            "locks": "take" in kinds,
            "locks_values": "take_values" in kinds,
            "kills": "kill" in own,
            "threads": "thread" in own,
            "saves": "save" in own,
            "blocks": "block" in kinds,
            "fails": "fail" in kinds,
            "undoes": "undo" in kinds,
            "in_place": self.in_place() != "",
            "eager": any(item.at_once for item in self.items),
            "context": self.declared.context != "" or any(item.empty for item in self.items),
            "abandoned": self.declared.abandons,
            "reuses": self.found.reuses_number,
            "unreachable": self.declared.unreachable or "reachable" in network,
            "silence": "fall_silent" in network,
            "resets": "reset_connections" in network,
            "limits": self.limits(),
            "again": any(item.kind == "outlives" and item.value for item in self.items),
            "using": any(item.using for item in everything),
            "cancels": self.sweep is not None and not self.sweep.as_it_ends,
            "events": self.by_events,
            "stops": "Stop" in self.named,
            **{name: name in asked for name in ("well", "failed")},
            "looks": not asked.isdisjoint(("well", "failed")),
            "looks_at_rows": "rows" in asked,
            "looks_at_server": self.found.looks_at_server,
            "hangs": self.found.hangs,
            "next_user": bool(self.next_user),
            "shut": self.declared.unreachable,
            "served": not self.sqlite and not self.odbc,
            "odbc": self.odbc,
            "orm": self.orm and not self.odbc,
            "pool": bool(self.pool) and not self.sqlite,
            "alone": not self.orm and (self.sqlite or not self.pool),
            "closes_first": self.declared.closes_first,
            "before": self.declared.context == "before",
        }
        return part(name, known)

    def network(self) -> set[str]:
        """The functions that do something to the network."""
        return {name for item in self.everything if item.kind == "network" for name in names(item.value)}

    def limits(self) -> bool:
        """Whether time limits count in seconds, so that time really passes."""
        return any(item.seconds for item in self.everything if item.kind != "time") or bool(self.network())

    def in_place(self) -> str:
        """The task that does, shielded, what the victim waits for."""
        return next((item.names[0] for item in self.items if item.kind == "start" and item.shielded), "")

    def aliases(self) -> list[str]:
        """The names of Tortoise's connections."""
        return [str(alias) for alias in self.line["evidence"]["setup"]["orm"]["aliases"]]

    def driver_parts(self) -> Mapping[str, str]:
        """The parts of the driver's text by their names."""
        text = self.part(self.driver.parts).replace("DRIVER", self.table.name)
        text = text.replace("AUTOCOMMIT", str(self.autocommit))  # of its pool
        first, *others = re.split(r"^# ([A-Z]+)\n", text, flags=re.M)
        named = dict(zip(others[::2], others[1::2], strict=True))
        return {name: part.strip("\n") for name, part in {"DATABASE": first, **named}.items()}

    def driver_code(self) -> list[str]:
        """Those parts of the driver's text that are used where it is alone."""
        parts, everything = self.driver_parts(), self.everything
        kinds = {item.kind for item in everything}
        used = [kind.upper() for kind in ("read", "write", "fail", "script") if kind in kinds]
        if "CONNECT" in parts:  # most drivers' DATABASE connects too
            used.insert(0 if "read" in kinds else len(used), "CONNECT")
        chosen = [parts[name] for name in ("DATABASE", *used)]
        chosen += [parts["TRANSACTION"]] if any(item.kind == "block" and not item.begins for item in everything) else []
        if self.pool:
            chosen.append(parts["POOL"])
        chosen += [parts["MANY"]] if "many" in kinds else []
        chosen += [parts["ROWS"]] if any(item.kind == "fetch" and not item.copied for item in everything) else []
        chosen += [parts["HEAR"]] if "hear" in kinds else []
        chosen += [parts["COPIED"]] if any(item.copied for item in everything) else []
        return chosen + ([parts["COPY"]] if "copy" in kinds else [])

    # -- the head --------------------------------------------------------------------------------------------------
    def head(self, rest: str) -> str:
        """What comes before ``rest``."""
        seconds = (self.orm and self.driver.timeout) or SYMPTOM_SECONDS
        return head(self, rest, max(seconds, math.ceil(self.found.seconds)))

    def cancel_point(self) -> str:
        """Who is cancelled, and where that is not in the order: as which wait ends, in which operations."""
        if self.sweep is None:
            return ""
        if not self.sweep.as_it_ends:
            return f"VICTIM = {quoted(self.sweep.victim)}  # is cancelled where the order has an @\n"
        during = "".join(f"{quoted(each)}, " for each in self.sweep.during).rstrip()
        work = f"WORK = {quoted(self.in_place())}  # does what VICTIM waits for\n" if self.in_place() else ""
        # The victim's own wait for who does its work is the first, where all waits count.
        wait = self.sweep.wait - (bool(work) and not any(self.sweep.during))
        return f"VICTIM, WAIT, DURING = {quoted(self.sweep.victim)}, {wait}, ({during})\n{work}"

    # -- the program -----------------------------------------------------------------------------------------------
    @cached_property
    def named(self) -> set[str]:
        """The names in the program."""
        return names(self.program)

    @cached_property
    def program(self) -> str:
        """The tasks' functions, and what they share."""
        lines = ["# -- the program: one task each ".ljust(118, "-")]
        lines += [f"# {each}" for each in wrapped(self.order_in_words())]
        if not self.orm:
            lines.append("pool = None" if self.pool else "connection = None")
        if any(item.handed for item in self.items):
            lines.append("opened = {}")
        lines += ["lock = asyncio.Lock()  # around what the children do"] if self.declared.lock else []
        if self.crowd():
            lines += ["", "", "def reader(letter, value):"]
            lines += ['    return lambda: do(letter, f"read {value}", lambda: read(connection, value))']
        else:
            for task in self.tasks:
                lines += ["", "", *self.writer.function(task)]
        if "let_time_pass" in names("\n".join(lines)):
            given, passes = ("seconds", "seconds") if self.limits() else ("", f"{LIMIT + 0.1:g}")
            lines += ["", "", f"async def let_time_pass({given}):", '    owed.add("the clock")']
            lines += [f"    await asyncio.sleep({passes})", '    owed.discard("the clock")']
        if self.declared.unreachable:
            lines += ["", "", *self.the_rest()]
        if self.next_user:
            self.writer.mine = reconstruct.AFTER[0]
            inside = self.writer.body(self.next_user, None, False)
            lines += ["", "", "async def the_next_task():", *(f"    {each}" for each in inside)]
        text = "\n".join(lines)
        return self.watched(text) if self.found.watched else text

    def the_rest(self) -> list[str]:
        """What begins when the database can be reached again: those who came too early have ended."""
        early = ", ".join(f"tasks[{quoted(task.name)}]" for task in self.tasks if not task.late)
        late = [f"    start({quoted(task.name)}, {task.function})" for task in self.tasks if task.late]
        return ["async def the_rest():", f"    await asyncio.wait([{early}])", "    reachable(True)", *late]

    def watched(self, text: str) -> str:
        """The program with a look from outside right after the write that matters."""
        row = self.found.watched
        helper = (
            "\n\n\nseen = {}\n\n\nasync def look(row):\n"
            '    """Whether another connection sees this row now."""\n'
            '    owed.add("the look")\n'
            '    seen[row] = bool(await sql(direct, "SELECT token FROM repro_entry WHERE token = %s", row))\n'
            '    owed.discard("the look")'
        )
        write = rf'^( *)(await do\([^\n]*"write {re.escape(row)}"[^\n]*)$'
        made = re.sub(write, rf"\1\2\n\1await look({quoted(row)})", text, flags=re.M)
        if made == text:
            raise NotWritten(f"the write of {row} is not in the program")
        return made + helper

    def crowd(self) -> bool:
        """Whether the program is a crowd of tasks that read one value each and nothing else."""
        single = all(len(task.items) == 1 and task.items[0].kind == "read" for task in self.tasks)
        return single and len(self.tasks) >= CROWD and not self.orm

    def order_in_words(self) -> str:
        letters = ", ".join(f"{task.letter} {task.name}" for task in self.tasks[:6])
        more = f" and {len(self.tasks) - 6} more" if len(self.tasks) > 6 else ""
        if self.odbc:
            return f"The letters of ORDER: {letters}{more}; a 1 lets through what a thread has done next."
        what = "frame" if self.declared.by_frame and not self.sqlite else "answer"
        description = f"The letters of ORDER: {letters}{more}; a number lets a connection's next {what} through."
        if self.swept:
            description += f" {self.sweep_in_words()}"
        elif self.sweep is not None:
            description += f" At the @ {self.sweep.victim} is cancelled."
        return description

    def sweep_in_words(self) -> str:
        assert self.sweep is not None
        places = " or ".join(each.strip() for each in self.sweep.during if each.strip())
        inside = f" (those inside {places} count)" if places else ""
        return f"{self.sweep.victim} is cancelled in the instant in which its wait no. {self.sweep.wait} ends{inside}."

    # -- the end ---------------------------------------------------------------------------------------------------
    def main(self) -> str:
        """What runs the program and looks."""
        lines = {"BEGIN": self.begin(), "STARTS": self.starts(), "CUT": self.cut(), "DROP": self.tables.drop()}
        lines |= {"SHOWS": self.shows(), "CREATE": self.create()}
        words = {"GLOBALS": self.global_names(), "DIRECT": "await connect(HOST, PORT)", "OBSERVED": self.observed()}
        words |= {"DIRECT": "None"} if self.sqlite or self.odbc else {}
        words["EXPECTED"] = quoted(f"expected: {self.found.expected}")
        return self.filled("main", words, lines)

    def filled(self, name: str, words: Mapping[str, str], lines: Mapping[str, Sequence[str]]) -> str:
        """A part with these words, and with these lines in the place of a line that names them."""

        def together(match: re.Match[str]) -> str:
            return "".join(f"{match[1]}{line}\n" for line in lines[match[2]])

        text = re.sub("|".join(words), lambda match: words[match[0]], self.part(name))
        return re.sub(rf"^( *)({'|'.join(lines)})\n", together, text, flags=re.M)

    def create(self) -> list[str]:
        """What makes the tables."""
        words = {
            "THE_KEY": self.tables.key,
            "SEEDS": str(self.seeds() + 1),
            "COUNTERS": quoted_list(self.tables.counters),
        }
        insert = 'await sql(direct, "INSERT INTO repro_entry (token) VALUES (%s)", {})'
        spare = [insert.format(quoted(row)) for row in self.tables.spare]
        return self.filled("create", words, {"SPARE": spare}).splitlines()

    def plain_client(self) -> list[str]:
        return [f'{PLAIN} = connections.get("default")'] * (PLAIN in self.global_names())

    def global_names(self) -> str:
        if not self.orm:
            return ", pool" if self.pool else ", connection"
        plain = any(item.using == PLAIN for item in self.items)
        return ", before" * (self.declared.context == "before") + f", {PLAIN}" * plain

    def shows(self) -> list[str]:
        found = self.found.shows.replace("told.", "by_then.") if self.found.hangs else self.found.shows
        parts = found.split(" and ")
        if len(found) < 100:
            return [f"shows = {found}"]
        return ["shows = (", f"    {parts[0]}", *(f"    and {part}" for part in parts[1:]), ")"]

    def observed(self) -> str:
        """What is printed of what the script has seen."""
        return re.sub(r"\btold$", "by_then", self.found.observed) if self.found.hangs else self.found.observed

    def seeds(self) -> int:
        streamed = [ROWS for item in self.everything if item.kind == "fetch"]
        return max([1, *streamed, *(int(item.value[2:]) for item in self.everything if item.kind == "read")])

    def begin(self) -> list[str]:
        """What comes before the program: the gate, and the connection, the pool or Tortoise."""
        words, lines = {"POOLED": str(self.pool)}, {"FILL": self.fill(), "PLAIN_CLIENT": self.plain_client()}
        lines["CREDENTIALS"] = self.driver.credentials.rstrip().splitlines()
        if self.orm:
            aliases = [quoted(alias) for alias in self.aliases()]
            words |= {"MAXSIZE": str(int(self.line["evidence"]["setup"]["orm"]["size"])), "DEFAULT": aliases[0]}
            words |= {"BACKEND": self.driver.engine, "FALLBACK": self.fallback()}
            words["ALIASES"] = ", ".join(f"{alias}: engine" for alias in aliases)
        return self.filled("begin", words, lines).splitlines()

    def fallback(self) -> str:
        """Without it Tortoise 1 finds no context at all in an empty one."""
        new = not str(self.header["axes"]["tortoise"]).startswith("0.")
        return ", _enable_global_fallback=True" * (new and bool(self.line["evidence"]["setup"]["orm"].get("fallback")))

    def fill(self) -> list[str]:
        """The lines that let Tortoise open its connections before anything is held, where the program did so."""
        if not self.declared.fills_pool:
            return []
        if self.pool_size() == 1:
            return [
                f"async with in_transaction({self.writer.alias()}):",
                "    pass  # Tortoise connects now, not in the program",
            ]
        return [f"await fill_pool({self.pool_size()})"]

    def pool_size(self) -> int:
        """How many connections Tortoise has at most."""
        return 1 if self.sqlite else int(self.line["evidence"]["setup"]["orm"]["size"])

    def starts(self) -> list[str]:
        children = {child for task in self.tasks for child in task.children}
        mine = [task for task in self.tasks if task.name not in children]
        if self.crowd():
            name = re.sub(r"\s*\d+$", "", mine[0].name)
            if all(t.items[0].value == f"n-{at}" and t.name == f"{name} {at}" for at, t in enumerate(mine, 1)):
                letters = "".join(task.letter for task in mine)
                return [
                    f"for number, letter in enumerate({quoted(letters)}, 1):",
                    f'    start(f"{name} {{number}}", reader(letter, f"n-{{number}}"))',
                ]
            return [f"start({quoted(t.name)}, reader({quoted(t.letter)}, {quoted(t.items[0].value)}))" for t in mine]
        first = [f"start({quoted(task.name)}, {task.function})" for task in mine if not task.late]
        return [*first, 'start("the rest", the_rest)'] if self.declared.unreachable else first

    def cut(self) -> list[str]:
        if self.sqlite:
            return ["holding = False", "await cut()"]
        return ["await end_sessions()" if self.odbc else "cut()"]

"""A generated program as plain data, and the rules that keep it from waiting for itself.

A program is a tree of tasks. Only its parent waits for a task or cancels it, so tasks never wait in a circle.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

TASKS = 8  # at most in one program


@dataclass(frozen=True)
class Read:
    """Ask for a value."""


@dataclass(frozen=True)
class Write:
    """Insert a row."""


@dataclass(frozen=True)
class Fail:
    """Send a statement that the server refuses."""


@dataclass(frozen=True)
class Raise:
    """Raise an error of the program's own."""


@dataclass(frozen=True)
class Try:
    """Catch every error of ``body`` but a cancellation, and go on."""

    body: tuple[Statement, ...]


@dataclass(frozen=True)
class Block:
    """A transaction block."""

    body: tuple[Statement, ...]


@dataclass(frozen=True)
class Gather:
    """Start tasks and wait until all have ended; their errors are passed over."""

    tasks: tuple[Spawn, ...]


@dataclass(frozen=True)
class Spawn:
    """Start a task. ``task`` is its number."""

    task: int
    body: tuple[Statement, ...]


@dataclass(frozen=True)
class Group:
    """Start tasks in an ``asyncio.TaskGroup`` and wait until all have ended: the first error cancels the others."""

    tasks: tuple[Spawn, ...]


@dataclass(frozen=True)
class Limit:
    """Cancel ``body`` when its time is over (``asyncio.timeout``), and go on."""

    body: tuple[Statement, ...]


@dataclass(frozen=True)
class Sleep:
    """Sleep for longer than any time limit."""


@dataclass(frozen=True)
class Hold:
    """Acquire a connection of the pool for ``body``, and give it back whatever happens."""

    body: tuple[Statement, ...]


@dataclass(frozen=True)
class Other:
    """Ask with the second named connection as ``using_db``; a block in it is a transaction there."""

    body: tuple[Statement, ...]


@dataclass(frozen=True)
class Handed:
    """Ask with a transaction's client as ``using_db``: that of the block around, which a task is given at its start."""

    body: tuple[Statement, ...]


@dataclass(frozen=True)
class Wait:
    """Wait for one of one's own tasks; its error is raised here."""

    task: int


@dataclass(frozen=True)
class Cancel:
    """Cancel one of one's own tasks."""

    task: int


Plain = Read | Write | Fail  # what may be asked anywhere
Statement = (
    Read
    | Write
    | Fail
    | Raise
    | Try
    | Block
    | Gather
    | Spawn
    | Wait
    | Cancel
    | Group
    | Limit
    | Sleep
    | Hold
    | Other
    | Handed
)
_KINDS = {kind.__name__: kind for kind in Statement.__args__}
_PLAIN = Plain.__args__
_ONLY_ASK = {"plain": Gather, "group": Group}  # by what tasks that only ask are started inside a block


@dataclass(frozen=True)
class Program:
    """``body`` starts and cancels tasks; at its end the program waits until everything has ended."""

    body: tuple[Spawn | Cancel, ...]

    @property
    def size(self) -> int:
        """How many statements it has."""
        return sum(1 for _ in walk(self.body))

    @property
    def asks(self) -> bool:
        """Whether any task asks the database for anything."""
        return any(isinstance(each, (Read, Write, Fail, Block)) for each in walk(self.body))


def parts(statement: Statement) -> tuple[Statement, ...]:
    """What stands directly inside a statement."""
    if isinstance(statement, (Gather, Group)):
        return statement.tasks
    return getattr(statement, "body", ())


def walk(body: tuple[Statement, ...]) -> Iterator[Statement]:
    """All statements, those of started tasks included, in the order in which they are written."""
    for statement in body:
        yield statement
        yield from walk(parts(statement))


def tasks(program: Program) -> list[Spawn]:
    """All tasks by their numbers."""
    return sorted((each for each in walk(program.body) if isinstance(each, Spawn)), key=lambda spawn: spawn.task)


@dataclass(frozen=True)
class Rules:
    """What the programs of one line may do.

    ``nested``: blocks inside blocks. ``inside``: which tasks may be started inside a block: none; ``plain``: gathered
    ones that only ask; ``group``: those of a TaskGroup that only ask; ``any``. ``cancels``: tasks are cancelled.
    ``writes_first``: a transaction begins with a write. ``errors_end``: no error is caught inside the block that it
    was met in. ``pool``: tasks have no connection but those that they acquire. ``structured``: TaskGroups, time limits
    and ``using_db``. ``waits``: a nested block may wait for a task that was started in the same transaction before it.
    """

    nested: bool = False
    inside: str = "none"
    cancels: bool = False
    writes_first: bool = False
    errors_end: bool = False
    pool: bool = False
    structured: bool = False
    waits: bool = False


@dataclass(frozen=True)
class _Started:
    """A task, what it was called before it was settled, and in which of its parent's blocks and tries it was
    started."""

    task: int
    called: int
    blocks: tuple[int, ...]
    tries: tuple[int, ...]


@dataclass
class _Scope:
    """Where a statement stands: in which of its task's blocks and tries, and which tasks were started before it."""

    blocks: tuple[int, ...] = ()
    tries: tuple[int, ...] = ()
    started: list[_Started] = field(default_factory=list)
    waited: set[int] = field(default_factory=set)
    cancelled: set[int] = field(default_factory=set)
    plain: bool = False  # the task may only ask: it was started inside a block
    grouped: bool = False  # it may be cancelled by a TaskGroup, and so may what it starts
    limited: bool = False  # ... or by a time limit
    held: bool = False  # a connection of the pool is acquired
    other: bool = False  # what is asked goes to the second named connection


class _Settler:
    """Turns what was drawn into a program that keeps the rules. What does not keep them is left out."""

    def __init__(self, rules: Rules, *, drawn: bool) -> None:
        self.rules = rules
        self.drawn = drawn
        self.tasks = 0
        self.numbers = 0  # of blocks and tries

    def body(self, drawn: tuple[Statement, ...], scope: _Scope) -> tuple[Statement, ...]:
        made: list[Statement] = []
        for statement in drawn:
            settled = self.statement(statement, scope)
            if settled is not None:
                made.append(settled)
            if isinstance(settled, Raise):
                break  # nothing after it is ever reached
        return tuple(made)

    def statement(self, drawn: Statement, scope: _Scope) -> Statement | None:
        if scope.other and not isinstance(drawn, (*_PLAIN, Raise, Block)):
            return None
        match drawn:
            case Read() | Write() | Fail():
                return drawn if scope.held or not self.rules.pool else None
            case Raise():
                # Elsewhere it only ends its task.
                return drawn if scope.blocks or scope.held or scope.grouped else None
            case Sleep():
                return drawn if self.rules.structured and not (scope.plain or scope.limited) else None
            case Try():
                return self.guarded(drawn, scope)
            case Block():
                return self.block(drawn, scope)
            case Hold():
                return self.hold(drawn, scope)
            case Limit():
                return self.limit(drawn, scope)
            case Other():
                return self.other(drawn, scope)
            case Handed():
                return self.handed(drawn, scope)
            case Gather() | Group():
                return self.started(drawn, scope)
            case Spawn():
                return self.spawn(drawn, scope, by=Spawn)
            case Wait():
                return self.wait(drawn, scope)
            case Cancel():
                return self.cancel(drawn, scope)
        raise TypeError(f"{drawn!r} is no statement")

    def guarded(self, drawn: Try, scope: _Scope) -> Try | None:
        inside = drawn.body
        if self.rules.errors_end and (scope.blocks or scope.plain):
            inside = tuple(each for each in inside if isinstance(each, Block))  # which are rolled back by then
        self.numbers += 1
        around, scope.tries = scope.tries, (*scope.tries, self.numbers)
        body = self.body(inside, scope)
        scope.tries = around
        return Try(body) if body else None

    def block(self, drawn: Block, scope: _Scope) -> Block | None:
        nested = scope.blocks and (not self.rules.nested or scope.other)
        if scope.plain or nested or (self.rules.pool and not scope.held):
            return None
        self.numbers += 1
        around, scope.blocks = scope.blocks, (*scope.blocks, self.numbers)
        body = self.body(drawn.body, scope)
        scope.blocks = around
        if self.rules.writes_first and body[:1] != (Write(),):
            body = (Write(), *body)
        return Block(body)

    def hold(self, drawn: Hold, scope: _Scope) -> Hold | None:
        """Nobody acquires a connection while holding one: all might, and wait for each other."""
        if scope.held or not self.rules.pool:
            return None
        scope.held = True
        body = self.body(drawn.body, scope)
        scope.held = False
        return Hold(body)

    def limit(self, drawn: Limit, scope: _Scope) -> Limit | None:
        """Around blocks and not inside them: what is cancelled in a transaction ends it."""
        if not self.rules.structured or scope.limited or scope.blocks or scope.plain:
            return None
        scope.limited = True
        body = self.body(drawn.body, scope)
        scope.limited = False
        return Limit(body) if body else None

    def other(self, drawn: Other, scope: _Scope) -> Other | None:
        """Nobody asks on one connection while holding the other: in SQLite, where each is alone and one of them writes
        at a time, two such tasks would wait for each other."""
        if not self.rules.structured or scope.blocks or scope.plain:
            return None
        scope.other = True
        body = self.body(drawn.body, scope)
        scope.other = False
        return Other(body) if body else None

    def handed(self, drawn: Handed, scope: _Scope) -> Handed | None:
        if not self.rules.structured or not (scope.blocks or scope.plain):
            return None
        body = tuple(each for each in drawn.body if isinstance(each, _PLAIN))
        return Handed(body) if body else None

    def started(self, drawn: Gather | Group, scope: _Scope) -> Gather | Group | None:
        kind = type(drawn)
        made = [spawn for spawn in (self.spawn(each, scope, by=kind) for each in drawn.tasks) if spawn]
        return kind(tuple(made)) if made else None

    def spawn(self, drawn: Spawn, scope: _Scope, *, by: type[Statement]) -> Spawn | None:
        plain = bool(scope.blocks) and self.rules.inside in _ONLY_ASK
        grouped = by is Group
        if self.tasks == TASKS or not self.may_start(by, scope):
            return None
        self.tasks += 1
        number = self.tasks
        body = self.body(drawn.body, _Scope(plain=plain, grouped=grouped, limited=scope.limited))
        if not body:
            self.tasks -= 1
            return None
        if by is Spawn:
            scope.started.append(_Started(number, drawn.task, scope.blocks, scope.tries))
        return Spawn(number, body)

    def may_start(self, by: type[Statement], scope: _Scope) -> bool:
        """Who may be cancelled by a group or a time limit starts tasks in groups only: a group says whom it cancels."""
        if scope.plain or scope.held or (by is Group and not self.rules.structured):
            return False
        if by is not Group and (scope.grouped or scope.limited):
            return False
        return not scope.blocks or self.rules.inside == "any" or by is _ONLY_ASK.get(self.rules.inside)

    def wait(self, drawn: Wait, scope: _Scope) -> Wait | None:
        """Nobody waits inside of a block for a task that was started outside of it: that one may need what the block
        holds (a connection of the pool, SQLite's lock), and no driver could help. Nor with a connection of the pool in
        hand. Nor within a time limit, which would cancel that task too."""
        around = scope.blocks[:1] if self.rules.waits else scope.blocks
        allowed = [each for each in self.known(scope) if each.blocks[: len(around)] == around]
        task = None if scope.held or scope.limited else self.meant(drawn.task, allowed)
        if task is None:
            return None
        scope.waited.add(task)
        return Wait(task)

    def cancel(self, drawn: Cancel, scope: _Scope) -> Cancel | None:
        """Once per task, and never one that was waited for."""
        allowed = [each for each in self.known(scope) if each.task not in scope.cancelled]
        task = self.meant(drawn.task, allowed) if self.rules.cancels else None
        if task is None:
            return None
        scope.cancelled.add(task)
        return Cancel(task)

    def meant(self, named: int, allowed: list[_Started]) -> int | None:
        """The task that a statement names: by its number before, or, in what was just drawn, any of those allowed."""
        if self.drawn:
            return allowed[named % len(allowed)].task if allowed else None
        return next((each.task for each in allowed if each.called == named), None)

    def known(self, scope: _Scope) -> list[_Started]:
        """The tasks that have been started for sure (an error before a start inside of a ``Try`` skips it) and that
        nobody has waited for."""
        return [
            each
            for each in scope.started
            if each.task not in scope.waited and scope.tries[: len(each.tries)] == each.tries
        ]


def settle(program: Program, rules: Rules, *, drawn: bool = False) -> Program:
    """The program that keeps the rules, its tasks numbered. ``drawn``: tasks have no numbers yet; whoever waits for one
    or cancels one has drawn which of those that it may name."""
    settler = _Settler(rules, drawn=drawn)
    return Program(settler.body(program.body, _Scope()))  # type: ignore[arg-type]


def smaller(program: Program, rules: Rules) -> Iterator[Program]:
    """Programs with less in them: one statement left out, or replaced by what stands inside of it. Those that lose most
    come first."""
    made = {settle(Program(body), rules): None for body in _less(program.body)}  # type: ignore[arg-type]
    yield from sorted((each for each in made if each.size < program.size), key=lambda each: each.size)


def _less(body: tuple[Statement, ...]) -> Iterator[tuple[Statement, ...]]:
    for at, statement in enumerate(body):
        before, after = body[:at], body[at + 1 :]
        yield before + after
        inside = parts(statement)
        if isinstance(statement, (Try, Block, Limit, Hold, Other, Handed)):
            yield before + inside + after
        if isinstance(statement, Spawn):
            children = [child for each in inside for child in (each, *parts(each)) if isinstance(child, Spawn)]
            yield from ((*before, replace(statement, body=child.body), *after) for child in children)
        if isinstance(statement, (Gather, Group)):
            yield before + inside + tuple(Wait(spawn.task) for spawn in statement.tasks) + after
        for less in _less(inside):
            changed = {"tasks" if isinstance(statement, (Gather, Group)) else "body": less}
            yield (*before, replace(statement, **changed), *after)  # type: ignore[arg-type]


def as_data(program: Program) -> list[Any]:
    """A program as JSON has it: a list of statements, each its name and what it consists of."""

    def plain(part: Any) -> Any:
        if isinstance(part, tuple):
            return [plain(each) for each in part]
        return part if isinstance(part, int) else [type(part).__name__, *(plain(p) for p in vars(part).values())]

    return [plain(statement) for statement in program.body]


def from_data(data: list[Any]) -> Program:
    """The program that ``as_data`` made this of. Raises ValueError when it is none."""

    def statement(part: Any) -> Any:
        name, *fields = part
        return _KINDS[name](*(tuple(map(statement, f)) if isinstance(f, list) else f for f in fields))

    try:
        return Program(tuple(map(statement, data)))
    except (KeyError, TypeError, ValueError):
        raise ValueError("this is no generated program") from None

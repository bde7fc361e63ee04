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
class Wait:
    """Wait for one of one's own tasks; its error is raised here."""

    task: int


@dataclass(frozen=True)
class Cancel:
    """Cancel one of one's own tasks."""

    task: int


Statement = Read | Write | Fail | Raise | Try | Block | Gather | Spawn | Wait | Cancel
_KINDS = {kind.__name__: kind for kind in Statement.__args__}


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
    if isinstance(statement, Gather):
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
    ones that only ask; ``any``. ``cancels``: tasks are cancelled. ``writes_first``: a transaction begins with a write.
    """

    nested: bool = False
    inside: str = "none"
    cancels: bool = False
    writes_first: bool = False


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
    plain: bool = False  # the task may only ask: it was gathered inside a block


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
        match drawn:
            case Raise():
                return drawn if scope.blocks else None  # elsewhere it only ends its task
            case Try():
                return self.guarded(drawn, scope)
            case Block():
                return self.block(drawn, scope)
            case Gather():
                made = [spawn for spawn in (self.spawn(each, scope, gathered=True) for each in drawn.tasks) if spawn]
                return Gather(tuple(made)) if made else None
            case Spawn():
                return self.spawn(drawn, scope, gathered=False)
            case Wait():
                return self.wait(drawn, scope)
            case Cancel():
                return self.cancel(drawn, scope)
        return drawn

    def guarded(self, drawn: Try, scope: _Scope) -> Try | None:
        self.numbers += 1
        around, scope.tries = scope.tries, (*scope.tries, self.numbers)
        body = self.body(drawn.body, scope)
        scope.tries = around
        return Try(body) if body else None

    def block(self, drawn: Block, scope: _Scope) -> Block | None:
        if scope.plain or (scope.blocks and not self.rules.nested):
            return None
        self.numbers += 1
        around, scope.blocks = scope.blocks, (*scope.blocks, self.numbers)
        body = self.body(drawn.body, scope)
        scope.blocks = around
        if self.rules.writes_first and body[:1] != (Write(),):
            body = (Write(), *body)
        return Block(body)

    def spawn(self, drawn: Spawn, scope: _Scope, *, gathered: bool) -> Spawn | None:
        plain = bool(scope.blocks) and self.rules.inside == "plain"
        forbidden = scope.blocks and (self.rules.inside == "none" or (plain and not gathered))
        if scope.plain or forbidden or self.tasks == TASKS:
            return None
        self.tasks += 1
        number = self.tasks
        body = self.body(drawn.body, _Scope(plain=plain))
        if not body:
            self.tasks -= 1
            return None
        if not gathered:
            scope.started.append(_Started(number, drawn.task, scope.blocks, scope.tries))
        return Spawn(number, body)

    def wait(self, drawn: Wait, scope: _Scope) -> Wait | None:
        """Nobody waits inside of a block for a task that was started outside of it: that one may need what the block
        holds (a connection of the pool, SQLite's lock), and no driver could help."""
        allowed = [each for each in self.known(scope) if each.blocks[: len(scope.blocks)] == scope.blocks]
        task = self.meant(drawn.task, allowed)
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
        if isinstance(statement, (Try, Block)):
            yield before + inside + after
        if isinstance(statement, Spawn):
            children = [child for each in inside for child in (each, *parts(each)) if isinstance(child, Spawn)]
            yield from ((*before, replace(statement, body=child.body), *after) for child in children)
        if isinstance(statement, Gather):
            yield before + inside + tuple(Wait(spawn.task) for spawn in statement.tasks) + after
        for less in _less(inside):
            changed = {"tasks" if isinstance(statement, Gather) else "body": less}
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

"""What happened in one run: operations, transaction blocks, sessions. Plain data; no database, no asyncio."""

from __future__ import annotations

import contextlib
import itertools
import re
import traceback
from dataclasses import dataclass, field, replace
from typing import Any

from matrix.lines import LONGEST_MESSAGE

from . import sentences
from .sentences import Fact

# How an error is classed when it is recorded (Adapter.classify): the checker never looks at exceptions again.
OWN = "own"  # raised by the program itself, on purpose
DOCUMENTED = "documented"  # of the driver's or the ORM's documented types, or documented as what a call raises
ABORTED = "aborted"  # documented: the transaction had been aborted by an earlier statement
INTERNAL = "internal"  # anything else: RuntimeError, AttributeError, an assertion, a protocol error
CANCELLED = "cancelled"
SERVER = "server"  # the server's or the machine's own failure (server_failures.py): the run is not judged

DROPPED = ("rolled back", "failed", "never begun")  # how a block ends of which nothing may be stored
IN_DOUBT = "in doubt"  # how a transaction ends whose commit's answer was lost: its task was told an error
UNKNOWN = ("open", "unknown", IN_DOUBT)  # ... of which all may be stored or nothing
GRACE = 1.0  # seconds of the program's clock by which a block may be left later than its limit says
THE_END = "the end"  # what a fetch gives behind the last row of a result
SEEN, UNSEEN = "seen", "not seen"  # what a look at a row finds
CREATED, FOUND, IGNORED = "created", "found", "ignored"  # what get_or_create says; given other values than it set


@dataclass(frozen=True)
class ErrorRecord:
    """An exception as a task saw it. ``identity`` tells whether two tasks saw the same object."""

    type: str
    message: str
    classed: str
    frames: traceback.TracebackException | str
    identity: int
    raised_by: str = ""  # the session that raised it on purpose

    @property
    def traceback(self) -> str:
        """The traceback with causes and contexts, and without marks under its lines, which not every Python makes. Made
        when it is asked for: it costs more than a whole schedule."""
        if isinstance(self.frames, str):
            return without_folders(self.frames)
        _forget_columns(self.frames)
        return without_folders("".join(self.frames.format()))

    @property
    def fact(self) -> dict[str, str]:
        """Type and message, that on one line and no longer than a sentence bears."""
        return {"type": self.type, "message": " ".join(self.message.split())[:LONGEST_MESSAGE]}


@dataclass
class Operation:
    """One thing a session asked for. ``started`` and ``ended`` are sequence numbers of the run, 0 for not yet."""

    number: int
    session: str
    # read, write, look, ensure, take, seize, put, fail, script, orphan, isolate, begin, commit, rollback, leave,
    # delete, touch, acquire, release, connect, close, ping, set, probe
    kind: str
    asks: Fact  # what it asks for (sentences.py)
    block: int | None
    scope: str  # operations of one scope share a connection by the program's own doing
    nonce: str = ""
    misuse: bool = False  # the program does what nobody promised to support; an error here is the offender's own
    after: bool = False  # issued by the harness when the program was over
    rows: tuple[str, ...] = ()  # of a write of several rows: all their tokens; ``nonce`` is the first
    started: int = 0
    ended: int = 0
    outcome: str = "pending"  # pending, ok, error, cancelled
    result: Any = None
    error: ErrorRecord | None = None

    @property
    def failed(self) -> bool:
        return self.outcome == "error"

    @property
    def by(self) -> str:
        """Whose it is, as a finding names them."""
        return sentences.NEXT_USER if self.after else self.session


@dataclass
class Block:
    """One transaction (or savepoint) block and what its task was told at the end."""

    number: int
    session: str
    parent: int | None
    name: str
    outcome: str = "open"  # open, never begun, committed, rolled back, failed, in doubt, unknown
    error: ErrorRecord | None = None
    alias: str = ""  # the name of its connection, where there are several


@dataclass
class Iteration:
    """A session walks through a result row by row; ``started`` and ``ended`` as in Operation. ``transaction``: the
    driver's cursor has one of its own open meanwhile, in which lands what others write on the connection."""

    session: str
    scope: str
    started: int
    ended: int = 0
    transaction: bool = False


@dataclass(frozen=True)
class Claim:
    """A fact that the harness itself established (counted wires, server sessions): never asked of the driver."""

    property: str
    holds: bool
    fact: Fact
    after: bool = False
    foreign_state: bool = False
    sequence: int = 0  # when it was established


@dataclass
class SessionRecord:
    """A task of the program: how it ended, and whether somebody cancelled it."""

    name: str
    letter: str
    ended: str = "running"  # running, done, error, cancelled
    error: ErrorRecord | None = None
    cancelled_in: int | None = None  # number of the operation that was under way when it was cancelled
    cancelled: bool = False  # its cancellation was asked for
    caught: bool = False  # the program caught its CancelledError and went on
    timed_out: bool = False  # ... or its time ran out
    child_cancelled: bool = False  # ... or a child that it waited for was cancelled, as gather() passes on
    grouped: bool = False  # ... or it belongs to a TaskGroup, which may cancel it
    empty: bool = False  # it was started in an empty context: nothing that the program has set is there


@dataclass
class Limit:
    """A time limit of the program, or of the driver at its wish: when it began by the program's clock, and when its
    block was left. ``owed``: nothing can keep what is inside waiting so long but what the driver does."""

    session: str
    seconds: float
    began: float
    what: str
    owed: bool = False
    ended: float | None = None
    over: bool = False

    @property
    def due(self) -> float:
        return self.began + self.seconds


@dataclass(frozen=True)
class PrintedLine:
    """One line of the printed history."""

    sequence: int
    seconds: float
    session: str
    event: str
    operation: int | None
    what: str
    fact: Fact
    block: str | None
    result: str | None
    error: ErrorRecord | None


@dataclass
class History:
    """Everything the checker needs to know of a run."""

    operations: list[Operation] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)
    iterations: list[Iteration] = field(default_factory=list)
    # scope -> when the program closed the connection or made the server end it; None stands for every connection
    ended: dict[str | None, int] = field(default_factory=dict)
    sessions: dict[str, SessionRecord] = field(default_factory=dict)
    claims: list[Claim] = field(default_factory=list)
    lines: list[PrintedLine] = field(default_factory=list)
    loop_errors: list[ErrorRecord] = field(default_factory=list)
    placed: dict[str, tuple[int, int] | None] = field(default_factory=dict)  # token -> server transaction it went in
    stored: frozenset[str] = frozenset()  # the witness's reading at the end
    seen_early: set[str] = field(default_factory=set)  # tokens of rows that were visible before their block committed
    hang: dict[str, Any] | None = None
    out_of_reach: list[list[int]] = field(default_factory=list)  # from when, until when: the database was not there
    losses: list[tuple[int, int]] = field(default_factory=list)  # when connections were ended from outside, how many
    limits: list[Limit] = field(default_factory=list)
    counters: dict[str, tuple[int, int]] = field(default_factory=dict)  # the witness's readings, before and after
    of_a_user: bool = False  # the program is not the suite's: that its tasks wait for one another is a finding too
    one_writer: bool = False  # the database lets one transaction write at a time, if it has seen the newest state

    def written(self) -> list[Operation]:
        """Every row that was to be written, as an operation of its own."""
        return [
            replace(operation, nonce=token)
            for operation in self.operations
            if operation.kind == "write"
            for token in operation.rows or (operation.nonce,)
        ]

    def tokens(self) -> list[str]:
        """The tokens of all rows that may be stored."""
        ensured = [operation.nonce for operation in self.operations if operation.kind == "ensure"]
        return [*dict.fromkeys([*(operation.nonce for operation in self.written()), *ensured])]

    def block(self, number: int | None) -> Block | None:
        return None if number is None else self.blocks[number - 1]

    def root(self, number: int | None) -> int | None:
        """The outermost block around a block."""
        block = self.block(number)
        while block is not None and block.parent is not None:
            block = self.block(block.parent)
        return None if block is None else block.number

    def around(self, number: int | None) -> list[int]:
        """A block and all blocks around it, innermost first."""
        found = []
        block = self.block(number)
        while block is not None:
            found.append(block.number)
            block = self.block(block.parent)
        return found

    def unknown_in(self, number: int | None) -> int | None:
        """The outermost block around of which nobody knows how it ended, if none around it was dropped."""
        if self.fate(number) != "unknown":
            return None
        return next(n for n in reversed(self.around(number)) if self.blocks[n - 1].outcome in UNKNOWN)

    def fate(self, number: int | None) -> str:
        """What all enclosing blocks together were told: committed, dropped or unknown."""
        outcome = "committed"
        block = self.block(number)
        while block is not None:
            if block.outcome in DROPPED:
                return "dropped"
            if block.outcome in UNKNOWN:
                outcome = "unknown"
            block = self.block(block.parent)
        return outcome


def qualified(error: BaseException) -> str:
    """The exception's type with its module, builtins without."""
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


_identities = itertools.count(1)
_FOLDERS = re.compile(r"/\S*/(?=(?:tests|matrix|asyncio|site-packages|lib/python3\.\d+)/)")


def _forget_columns(error: traceback.TracebackException) -> None:
    """Where in its lines each frame of a traceback is: from 3.11 on, to mark that takes as long as all the rest."""
    if not hasattr(traceback.FrameSummary, "colno"):
        return
    chain = [error]
    for each in chain:  # not by recursion: who tries again and again makes a long chain
        for frame in each.stack:
            frame.colno = frame.end_colno = None
        others = (each.__cause__, each.__context__, *(getattr(each, "exceptions", None) or ()))
        chain += [other for other in others if other is not None]


def without_folders(text: str) -> str:
    """Names of source files without the folders in which this machine keeps them: pages are read elsewhere."""
    return _FOLDERS.sub("", text)


def record_error(error: BaseException, classed: str) -> ErrorRecord:
    """An ErrorRecord; its traceback (causes and contexts included) is read off now and formatted on demand."""
    frames = traceback.TracebackException(type(error), error, error.__traceback__, lookup_lines=False)
    message = without_folders(str(error))  # asyncio names tasks with the files of their code
    return ErrorRecord(qualified(error), message, classed, frames, identity_of(error), getattr(error, "raised_by", ""))


def identity_of(error: BaseException) -> int:
    """A number that stays this exception's own, without keeping it alive: an ``id`` may be given out again."""
    known = getattr(error, "_matrix_identity", None)
    if known is None:
        known = next(_identities)
        with contextlib.suppress(AttributeError, TypeError):
            error._matrix_identity = known  # type: ignore[attr-defined]
    return int(known)

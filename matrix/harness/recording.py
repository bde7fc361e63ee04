"""The recording of one run: the history as it is told, the steps that were taken, and what the look afterwards saw."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import sentences, server_failures
from .channel import Timeline
from .doubt import answer_lost
from .history import (
    CANCELLED,
    IN_DOUBT,
    INTERNAL,
    OWN,
    SERVER,
    Block,
    Claim,
    ErrorRecord,
    History,
    Operation,
    PrintedLine,
    record_error,
    without_folders,
)
from .sentences import Fact
from .session import Deliberate

if TYPE_CHECKING:
    from .adapters.base import Adapter
    from .session import Session

STUCK = {"kind": "stuck"}
# Where errors are raised that are nobody's but the suite's.
ROOT = Path(__file__).resolve().parents[2]
SUITE = tuple(f"{ROOT / folder}/" for folder in ("tests/compliance", "matrix/harness", "matrix/generated"))


class Recording:
    """Writes everything down, in the numbering of ``timeline``. What an error is, is the word of the ``adapter`` on a
    database of this ``kind``."""

    def __init__(self, timeline: Timeline, history: History, adapter: Adapter, kind: str) -> None:
        self.timeline = timeline
        self.history = history
        self.adapter = adapter
        self.kind = kind
        self.steps: list[tuple[str, Fact]] = []  # schedule token, what it did
        self.step_sequences: list[int] = []  # when each step was taken, in the numbering of history and frames
        self.on_step: Callable[[str, Fact], None] | None = None
        self.aftermath: list[tuple[Fact, bool]] = []
        self.after = False  # the program is over, and the next user asks
        self.own: list[BaseException] = []  # errors of the program that no operation has raised
        self.closing = False  # nothing is written down any more but steps: what the tear-down does is no history

    def classify(self, error: BaseException) -> str:
        if isinstance(error, Deliberate) or any(error is each for each in self.own):
            return OWN
        if isinstance(error, asyncio.CancelledError):
            return CANCELLED
        failed = server_failures.in_error(self.kind, error, self.adapter.server_code)
        # While the program keeps the database out of reach, what the driver says of it is the program's doing.
        if failed and not self.history.out_of_reach and not self.closing:
            self.timeline.failures.append(failed)
            return SERVER
        return self.adapter.classify(error)

    def note(self, session: str, event: str, fact: Fact) -> None:
        self._line(session, event, None, fact)

    def _line(self, session: str, event: str, operation: Operation | None, fact: Fact, error: Any = None) -> None:
        block = self.history.block(operation.block) if operation else None
        self.history.lines.append(
            PrintedLine(
                self.timeline.next(),
                self.timeline.elapsed(),
                session,
                event,
                operation.number if operation else None,
                operation.kind if operation else "",
                fact,
                block.name if block else None,
                str(operation.result) if operation and operation.outcome == "ok" and operation.result else None,
                error,
            )
        )

    def ended(self, session: Session, ended: str, error: ErrorRecord | None) -> None:
        """A session's task is over. An error that no operation has given it, raised in the suite's own code and not out
        of a driver or Tortoise, is a mistake of the suite's: the run says nothing of the driver."""
        session.record.ended, session.record.error = ended, error
        own = {"own": error.classed == OWN, "raised_by": error.raised_by} if error else {}
        fact = {"kind": "ended", "cancelled": ended == "cancelled", "error": error.fact if error else None, **own}
        self.note(session.name, "end", fact)
        given = {each.error.identity for each in self.history.operations if each.error is not None}
        if error is not None and error.classed == INTERNAL and error.identity not in given:
            frames = error.frames.stack if isinstance(error.frames, traceback.TracebackException) else []
            if frames and frames[-1].filename.startswith(SUITE):
                at = f"{without_folders(frames[-1].filename)}:{frames[-1].lineno}"
                failed = f"{session.name} ended with {error.type}: {error.message}, raised at {at}"
                self.timeline.failures.append(f"the scenario itself failed: {failed}")

    def invoke(
        self,
        session: Session,
        kind: str,
        asks: Fact,
        *,
        scope: str,
        block: int | None,
        nonce: str,
        misuse: bool,
        rows: tuple[str, ...] = (),
    ) -> Operation:
        operation = Operation(
            len(self.history.operations) + 1, session.name, kind, asks, block, scope, nonce, misuse, self.after, rows
        )
        self.history.operations.append(operation)
        self._line(session.name, "invoke", operation, asks)
        operation.started = self.timeline.sequence
        return operation

    def complete(self, operation: Operation, *, result: Any = None, error: BaseException | None = None) -> None:
        if self.closing:
            return  # what the tear-down does to a hung program is no part of its history
        if error is None:
            operation.outcome = "ok"
            operation.result = result if isinstance(result, (str, int, float)) else None
        elif isinstance(error, asyncio.CancelledError):
            operation.outcome = "cancelled"
        else:
            operation.outcome = "error"
            operation.error = record_error(error, self.classify(error))
        self._line(operation.session, operation.outcome, operation, operation.asks, operation.error)
        operation.ended = self.timeline.sequence

    def open_block(self, session: Session, parent: int | None, alias: str = "") -> Block:
        number = len(self.history.blocks) + 1
        name = f"{session.name}'s {'nested ' if parent else ''}transaction {number}"
        block = Block(number, session.name, parent, name, alias=alias)
        self.history.blocks.append(block)
        return block

    def close_block(self, block: Block, outcome: str, error: BaseException | None) -> None:
        if self.closing:
            return
        lost = outcome == "failed" and block.parent is None and answer_lost(self.history, block)
        block.outcome = outcome = IN_DOUBT if lost else outcome
        block.error = record_error(error, self.classify(error)) if error is not None else None
        self.note(block.session, "told", {"kind": "told", "block": block.name, "outcome": outcome})

    def claim(self, property: str, holds: bool, kind: str, *, foreign_state: bool = False, **facts: Any) -> None:
        """State a fact that the harness itself established: its ``kind`` (sentences.py) and what it tells."""
        fact = {"kind": kind, **facts}
        self.history.claims.append(Claim(property, holds, fact, self.after, foreign_state, self.timeline.next()))
        if self.after:
            self.aftermath.append((fact if not holds else {"kind": "as_it_should_be", "property": property}, holds))

    def claim_of(self, property: str, kind: str, operation: Operation, row: str) -> None:
        """State what is wrong with an operation and its row."""
        self.claim(property, False, kind, operations=[operation.number], session=operation.by, row=row)

    def step(self, token: str, fact: Fact) -> None:
        self.steps.append((token, fact))
        self.step_sequences.append(self.timeline.next())
        if self.on_step is not None:
            self.on_step(token, fact)

    def loop_was_stuck(self) -> None:
        """Remember that a call of the driver blocked the event loop's own thread (isolated.Pump)."""
        if not any(fact == STUCK for _, fact in self.steps):
            self.step("-", STUCK)
            self.note("event loop", "note", STUCK)

    def loop_error(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if self.closing:
            return
        message = str(context.get("message", ""))
        if error is None and "was destroyed but it is pending" not in message:
            self.note("event loop", "note", sentences.words(message))  # a driver's word of warning, nobody's error
            return
        error = error or RuntimeError(message)
        self.history.loop_errors.append(record_error(error, self.classify(error)))
        fact = {"kind": "loop_error", "message": str(context.get("message")), "error": repr(error)}
        self.note("event loop", "error", fact)

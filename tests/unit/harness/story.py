"""Histories made by hand, for tests of the checker: who asked what, was told what, and what was stored in the end."""

from __future__ import annotations

from typing import Any

from matrix.harness.checker import Violation, check, refusals
from matrix.harness.history import DOCUMENTED, Block, Claim, ErrorRecord, History, Operation, SessionRecord
from matrix.harness.sentences import words
from matrix.harness.verdict import derive


class Story:
    """Operations in the order in which they are told; each ``ask`` and each end takes the next sequence number."""

    def __init__(self) -> None:
        self.history = History()
        self.now = 0

    def _tick(self) -> int:
        self.now += 1
        return self.now

    def session(self, name: str, **fields: Any) -> SessionRecord:
        record = self.history.sessions.setdefault(name, SessionRecord(name, name[0].upper(), ended="done"))
        for field, value in fields.items():
            setattr(record, field, value)
        return record

    def block(self, session: str, parent: Block | None = None, outcome: str = "open") -> Block:
        number = len(self.history.blocks) + 1
        made = Block(number, session, parent.number if parent else None, f"{session}'s transaction {number}")
        made.outcome = outcome
        self.history.blocks.append(made)
        return made

    def ask(
        self, session: str, kind: str, nonce: str = "", *, block: Block | None = None, scope: str = "c1", **fields: Any
    ) -> Operation:
        self.session(session)
        number = len(self.history.operations) + 1
        made = Operation(number, session, kind, words(f"{kind} {nonce}".strip()), block and block.number, scope, nonce)
        for field, value in fields.items():
            setattr(made, field, value)
        made.started = self._tick()
        self.history.operations.append(made)
        return made

    def ok(self, operation: Operation, result: Any = None) -> Operation:
        operation.outcome, operation.result, operation.ended = "ok", result, self._tick()
        return operation

    def error(
        self, operation: Operation, classed: str = DOCUMENTED, message: str = "no", identity: int = 0
    ) -> Operation:
        operation.error = ErrorRecord("driver.Error", message, classed, "", identity or id(operation))
        operation.outcome, operation.ended = "error", self._tick()
        return operation

    def cancelled(self, operation: Operation) -> Operation:
        operation.outcome, operation.ended = "cancelled", self._tick()
        return operation

    # -- whole operations ------------------------------------------------------------------------------------------
    def reads(self, session: str, nonce: str, result: str | None = None, **fields: Any) -> Operation:
        return self.ok(self.ask(session, "read", nonce, **fields), nonce if result is None else result)

    def writes(self, session: str, token: str, *, stored: bool = True, **fields: Any) -> Operation:
        if stored:
            self.stores(token)
        return self.ok(self.ask(session, "write", token, **fields))

    def stores(self, *tokens: str) -> None:
        self.history.stored |= set(tokens)

    def claims(self, property: str, **fields: Any) -> None:
        if "sequence" in Claim.__dataclass_fields__:
            fields["sequence"] = self._tick()
        self.history.claims.append(Claim(property, False, words("so it was seen"), **fields))

    # -- judgement -------------------------------------------------------------------------------------------------
    @property
    def violations(self) -> list[Violation]:
        return check(self.history)

    @property
    def violated(self) -> set[str]:
        return {violation.property for violation in self.violations}

    @property
    def verdict(self) -> str:
        return derive(self.violations, refused=bool(refusals(self.history)))

"""The checker: a pure function from a recorded history to the properties that were violated, each with the facts.

It knows of no driver, no database and no schedule. The properties are those of docs/architecture.md.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from matrix.words import (
    ATOMICITY,
    CANCELLATION,
    CONTAINMENT,
    DURABILITY,
    LIVENESS,
    LOUDNESS,
    RECOVERY,
    ROUTING,
    TIMELINESS,
)

from .doubt import in_doubt, permanent
from .excuses import asked, consequence, entitled, expected, out_of_reach
from .history import (
    ABORTED,
    CREATED,
    DOCUMENTED,
    DROPPED,
    GRACE,
    IGNORED,
    INTERNAL,
    OWN,
    SEEN,
    THE_END,
    UNSEEN,
    History,
    Operation,
    SessionRecord,
)
from .sentences import Fact, sentence

REFUSED = "no_such_table"  # stands in the error of every statement that was sent to be refused


@dataclass(frozen=True)
class Violation:
    """One property and what was found. ``after``: seen when the program was over; ``warned``: an error had been shown;
    ``foreign_state``: the connection or pool kept somebody else's state."""

    property: str
    fact: Fact  # its kind, and the operations, sessions and rows that it is about
    after: bool = False
    warned: bool = False
    foreign_state: bool = False

    @functools.cached_property
    def sentence(self) -> str:
        """The fact in words."""
        return sentence(self.fact)


def check(history: History) -> list[Violation]:
    """All violations in a history, worst kinds first."""
    found: list[Violation] = []
    for rule in (
        _routing,
        _durability_and_atomicity,
        _ensured,
        _counted,
        _containment,
        _visibility,
        _serial,
        _cancellation,
        _loudness,
        _recovery,
        _liveness,
        _timeliness,
        _claims,
    ):
        found.extend(rule(history))
    return found


def refusals(history: History) -> list[Operation]:
    """Operations of the program that were refused in a documented way although nobody asked them to fail."""
    return [
        operation
        for operation in history.operations
        if operation.failed
        and not expected(history, operation)
        and not operation.after
        and operation.error is not None
        and operation.error.classed in (DOCUMENTED, ABORTED)
        and not consequence(history, operation)
        and not out_of_reach(history, operation)
    ]


def _warned(history: History, before: int) -> bool:
    """Whether any task had been shown an error or a cancellation by then."""
    return any(
        operation.outcome in ("error", "cancelled") and operation.ended and operation.ended < before
        for operation in history.operations
        if operation.kind != "fail"
    )


def _violation(history: History, operation: Operation, property: str, kind: str, **facts: Any) -> Violation:
    """A violation whose fact names the operation and whose it is, and ``facts``."""
    fact = {"kind": kind, "operations": [operation.number], "session": operation.by, **facts}
    return Violation(property, fact, operation.after, _warned(history, operation.ended or operation.started))


# -- routing ---------------------------------------------------------------------------------------------------------


def _routing(history: History) -> Iterator[Violation]:
    yield from _answers(history)
    for operation in history.operations:
        owner = _owner_of_error(history, operation)
        if owner is not None:
            assert operation.error is not None
            error = operation.error.fact
            yield _violation(history, operation, ROUTING, "foreign_error", owner=owner.by, error=error)


def _owner_of_error(history: History, operation: Operation) -> Operation | None:
    """The refused statement of another session whose error this operation was given as its own."""
    error = operation.error
    if operation.kind == "fail" or operation.after or error is None or REFUSED not in error.message:
        return None
    return next(
        (
            other
            for other in history.operations
            if other.kind == "fail" and other.session != operation.session and other.started < operation.ended
        ),
        None,
    )


def _answers(history: History) -> Iterator[Violation]:
    for operation in history.operations:
        if operation.outcome != "ok":
            continue
        if operation.kind == "probe" and operation.result != operation.nonce:
            setter = next((o for o in history.operations if o.kind == "set" and o.nonce == operation.result), None)
            found = _wrong(history, operation, "foreign_setting", setter, asked=operation.nonce)
            # A setting that somebody has left behind is foreign state: nobody was told anything untrue.
            yield replace(found, property=RECOVERY, foreign_state=True) if setter else found
        if operation.kind == "read" and operation.result != operation.nonce:
            owner = next(
                (o for o in history.operations if o.nonce not in ("", THE_END) and o.nonce == operation.result), None
            )
            yield _wrong(history, operation, "wrong_answer", owner, row=operation.nonce)
        if operation.kind == "fail":
            yield _violation(history, operation, ROUTING, "refused_succeeded")


def _wrong(history: History, operation: Operation, kind: str, owner: Operation | None, **asked: str) -> Violation:
    """An operation was given what it had not asked for, and whose that was, if it was anybody's."""
    whose = owner.by if owner else None
    return _violation(history, operation, ROUTING, kind, owner=whose, given=operation.result, **asked)


# -- durability and atomicity ----------------------------------------------------------------------------------------


def _durability_and_atomicity(history: History) -> Iterator[Violation]:
    for operation in history.written():
        stored = operation.nonce in history.stored
        fate = history.fate(operation.block)
        row = operation.nonce
        if operation.outcome == "ok" and fate == "committed" and not stored:
            in_block = operation.block is not None
            yield _violation(history, operation, DURABILITY, "row_lost", row=row, in_block=in_block)
        elif operation.outcome == "ok" and fate == "dropped" and stored:
            yield _kept_row(history, operation, outcome=_dropped(history, operation))
        elif operation.outcome == "error" and stored and not (operation.block is None and in_doubt(history, operation)):
            yield _kept_row(history, operation)
        elif operation.outcome == "cancelled" and fate == "dropped" and stored and operation.block:
            yield _kept_row(history, operation, outcome=_dropped(history, operation))
    yield from _in_part(history)


def _kept_row(history: History, operation: Operation, outcome: str = "") -> Violation:
    """A row is stored of which its task was told that it is not: its write had failed, or its block had an
    ``outcome``."""
    error, cancelled = operation.error.fact if operation.error else None, operation.outcome == "cancelled"
    facts = {"row": operation.nonce, "error": error, "cancelled": cancelled, "outcome": outcome}
    return _violation(history, operation, ATOMICITY, "row_stored", **facts)


def _dropped(history: History, operation: Operation) -> str:
    """How the innermost dropped block around an operation ended."""
    outcomes = [history.blocks[number - 1].outcome for number in history.around(operation.block)]
    return next(outcome for outcome in outcomes if outcome in DROPPED)


def _in_part(history: History) -> Iterator[Violation]:
    """A transaction of unknown end may be stored or not, but not in part; one that nobody ended is not stored."""
    for block in history.blocks:
        rows = [
            operation
            for operation in history.written()
            if operation.outcome == "ok" and history.unknown_in(operation.block) == block.number
        ]
        kept = [operation for operation in rows if operation.nonce in history.stored]
        if kept and block.outcome == "open" and asked(history, block.number, "commit", "rollback") is None:
            row = kept[0].nonce
            yield _violation(history, kept[0], ATOMICITY, "not_ended", session=block.session, row=row)
        elif kept and len(kept) < len(rows):
            lost = next(operation for operation in rows if operation.nonce not in history.stored)
            facts = {"session": block.session, "row": kept[0].nonce, "lost": lost.nonce}
            yield _violation(history, lost, ATOMICITY, "in_part", **facts)
    for operation in history.operations:
        there = [token for token in operation.rows if token in history.stored]
        gone = [token for token in operation.rows if token not in history.stored]
        if operation.block is None and _unheard(history, operation) and there and gone:
            parts = {"asked": operation.asks, "row": there[0], "lost": gone[0]}
            yield _violation(history, operation, ATOMICITY, "write_in_part", **parts)


def _ensured(history: History) -> Iterator[Violation]:
    """``get_or_create``: who is told that a row is there can rely on it, and one task at most has created it."""
    rows: dict[str, list[Operation]] = {}
    for operation in history.operations:
        if operation.kind == "ensure":
            rows.setdefault(operation.nonce, []).append(operation)
    for token, tries in rows.items():
        committed = [o for o in tries if o.outcome == "ok" and history.fate(o.block) == "committed"]
        created = [o for o in committed if o.result == CREATED]
        if committed and token not in history.stored:
            yield _violation(history, committed[0], DURABILITY, "found_and_lost", row=token)
        elif len(created) > 1:
            who = [each.by for each in created]
            yield _violation(history, created[1], DURABILITY, "created_twice", sessions=who, row=token)
        for ignored in (o for o in committed if o.result == IGNORED):
            yield _violation(history, ignored, DURABILITY, "not_updated", row=token)
        if token in history.stored and not created and not _may_have_created(history, tries):
            yield _violation(history, tries[0], ATOMICITY, "not_created", row=token)


def _may_have_created(history: History, tries: list[Operation]) -> bool:
    """Whether one of them created a row without anybody knowing: it was cancelled or its answer was lost, or the end of
    its block is unknown."""
    return any(_unheard(history, o) or history.fate(o.block) == "unknown" for o in tries)


def _unheard(history: History, operation: Operation) -> bool:
    """Whether nobody was told what came of an operation."""
    return operation.outcome in ("cancelled", "pending") or in_doubt(history, operation)


def _counted(history: History) -> Iterator[Violation]:
    """A counter went up by one for each increment that was told to be committed; those of unknown fate may count."""
    for name, (before, after) in history.counters.items():
        puts = [o for o in history.operations if o.kind == "put" and o.nonce == name]
        committed = [o for o in puts if o.outcome == "ok" and history.fate(o.block) == "committed"]
        open_ended = [
            o
            for o in puts
            if (_unheard(history, o) and history.fate(o.block) != "dropped")
            or (o.outcome == "ok" and history.fate(o.block) == "unknown")
        ]
        facts = {"row": name, "told": len(committed), "before": before, "after": after}
        if after - before < len(committed):
            both = _same_value_taken(history, name)
            yield _violation(history, committed[-1], DURABILITY, "increment_lost", both_read=both, **facts)
        elif after - before > len(committed) + len(open_ended):
            kind = "increment_unasked"
            alone = Violation(ATOMICITY, {"kind": kind, **facts})
            yield _violation(history, puts[-1], ATOMICITY, kind, **facts) if puts else alone


def _same_value_taken(history: History, name: str) -> dict[str, Any] | None:
    """Who read the same value of a counter that both of them had locked."""
    first: dict[object, Operation] = {}
    for operation in history.operations:
        if operation.kind == "take" and operation.nonce == name and operation.outcome == "ok":
            other = first.setdefault(operation.result, operation)
            if other is not operation:
                return {"sessions": [other.by, operation.by], "value": operation.result}
    return None


# -- containment -----------------------------------------------------------------------------------------------------


def _containment(history: History) -> Iterator[Violation]:
    for token in sorted(history.seen_early):
        operation = next(o for o in history.written() if o.nonce == token)
        yield _violation(history, operation, CONTAINMENT, "seen_early", row=token)
    owners: dict[tuple[int, int], Operation] = {}
    homes: dict[int, tuple[Operation, tuple[int, int] | None]] = {}
    for operation in history.written():
        if operation.outcome != "ok" or operation.nonce not in history.placed:
            continue
        place = history.placed[operation.nonce]
        root = history.root(operation.block)
        if root is not None:
            first, home = homes.setdefault(root, (operation, place))
            if place is None:
                yield _violation(history, operation, CONTAINMENT, "outside", row=operation.nonce)
            elif place != home and home is not None:
                facts = {"row": operation.nonce, "other": first.nonce}
                yield _violation(history, operation, CONTAINMENT, "split", **facts)
        if place is None:
            continue
        owner = owners.setdefault(place, operation)
        if history.root(owner.block) != root:
            stranger, guest = (owner, operation) if owner.block is not None else (operation, owner)
            whose = {"session": guest.by, "row": guest.nonce, "owner": stranger.by}
            yield _violation(history, operation, CONTAINMENT, "travelled", connection=place[0], **whose)


# -- what is seen of others' rows --------------------------------------------------------------------------------------


def _visibility(history: History) -> Iterator[Violation]:
    """Others see a row from its commit on and not before; its own transaction sees it at once."""
    rows = {operation.nonce: operation for operation in history.written()}
    for query in history.operations:
        row = rows.get(query.nonce)
        if query.kind != "look" or query.outcome != "ok" or row is None:
            continue
        if row.block is not None and query.block is not None and history.root(row.block) == history.root(query.block):
            if query.result == UNSEEN and row.outcome == "ok" and 0 < row.ended < query.started and _kept(history, row):
                yield _violation(history, query, CONTAINMENT, "not_seen_inside", row=row.nonce)
        elif query.result == SEEN and not _may_be_seen(history, row, query):
            yield _violation(history, query, CONTAINMENT, "seen_uncommitted", owner=row.by, row=row.nonce)
        elif query.result == UNSEEN and query.block is None and _must_be_seen(history, row, query):
            yield _violation(history, query, DURABILITY, "not_seen_committed", owner=row.by, row=row.nonce)


def _kept(history: History, row: Operation) -> bool:
    """No block around a row was rolled back."""
    return history.fate(row.block) != "dropped"


def _may_be_seen(history: History, row: Operation, query: Operation) -> bool:
    """The outermost block's commit was asked for before the look was answered, and nothing says that it failed."""
    if row.block is None:
        return True
    end = asked(history, history.root(row.block), "commit")
    return end is not None and end.started < query.ended and _kept(history, row)


def _must_be_seen(history: History, row: Operation, query: Operation) -> bool:
    """Its writer had been told that it is committed when the look was issued."""
    if row.outcome != "ok" or history.fate(row.block) != "committed":
        return False
    end = row if row.block is None else asked(history, history.root(row.block), "commit")
    return end is not None and 0 < end.ended < query.started


def _serial(history: History) -> Iterator[Violation]:
    """Two committed transactions that each looked at a counter which the other changed: one must have seen the other's
    change. Said of counters with one committed change only, where the value that was seen says which came first."""
    before: dict[tuple[int | None, int | None], Operation] = {}
    for name, (first, _) in history.counters.items():
        puts = [o for o in history.operations if o.kind == "put" and o.nonce == name and _committed(history, o)]
        views = [o for o in history.operations if o.kind == "view" and o.nonce == name and _committed(history, o)]
        for view in views if len(puts) == 1 else ():
            if view.result == first and history.root(view.block) != history.root(puts[0].block):
                before[history.root(view.block), history.root(puts[0].block)] = view
    for (one, other), view in before.items():
        back = before.get((other, one))
        if back is not None and view.number < back.number:
            who, rows = [view.by, back.by], [view.nonce, back.nonce]
            yield _violation(history, back, CONTAINMENT, "not_serial", sessions=who, rows=rows)


def _committed(history: History, operation: Operation) -> bool:
    """Whether it is in a transaction that was told to be committed."""
    return operation.outcome == "ok" and operation.block is not None and history.fate(operation.block) == "committed"


# -- loudness --------------------------------------------------------------------------------------------------------


def _loudness(history: History) -> Iterator[Violation]:
    shown = set()
    for operation in history.operations:
        if operation.after or not operation.failed or operation.error is None:
            continue
        shown.add(operation.error.identity)
        error = operation.error
        facts = {"asked": operation.asks, "error": error.fact}
        if error.classed == INTERNAL:
            yield _violation(history, operation, LOUDNESS, "internal_error", **facts)
        elif error.classed in (DOCUMENTED, ABORTED) and not entitled(history, operation):
            more = permanent(history, operation)
            kind = "innocent_for_ever" if more else "innocent_error"
            yield _violation(history, operation, LOUDNESS, kind, **facts, **({"more": more} if more else {}))
    for session in history.sessions.values():
        ended = session.error
        if ended is not None and ended.classed in (DOCUMENTED, ABORTED, INTERNAL) and ended.identity not in shown:
            shown.add(ended.identity)
            yield Violation(LOUDNESS, {"kind": "error_of_nothing", "session": session.name, "error": ended.fact})
    for error in history.loop_errors:
        if error.identity not in shown and error.classed != OWN:
            yield Violation(LOUDNESS, {"kind": "unhandled_error", "error": error.fact})


# -- cancellation ----------------------------------------------------------------------------------------------------


def _cancellation(history: History) -> Iterator[Violation]:
    for session in history.sessions.values():
        asked = _asked_to_stop(history, session)
        if session.ended == "cancelled" and not asked:
            yield Violation(CANCELLATION, {"kind": "wrongly_cancelled", "session": session.name})
        if session.cancelled and session.error is not None and session.error.classed in (DOCUMENTED, ABORTED, INTERNAL):
            facts = {"operations": [], "session": session.name, "error": session.error.fact}
            yield Violation(CANCELLATION, {"kind": "cancelled_with_error", **facts})
        if session.cancelled and session.cancelled_in is not None:
            operation = history.operations[session.cancelled_in - 1]
            if operation.outcome == "error":
                assert operation.error is not None
                error = operation.error.fact
                yield _violation(history, operation, CANCELLATION, "cancelled_with_error", error=error)
            elif session.ended == "done" and not session.caught and operation.outcome in ("ok", "cancelled"):
                yield _violation(history, operation, CANCELLATION, "swallowed")
    for operation in history.operations:
        session_record = history.sessions.get(operation.session)
        if operation.outcome == "cancelled" and session_record and not operation.after:
            asked = _asked_to_stop(history, session_record)
            if not asked and session_record.ended != "cancelled":
                kind = "operation_wrongly_cancelled"
                yield _violation(history, operation, CANCELLATION, kind, asked=operation.asks)


def _asked_to_stop(history: History, session: SessionRecord) -> bool:
    """Whether the program cancelled a session: itself, by its timeout, through its group, or as a waiting parent."""
    others = [other for other in history.sessions.values() if other is not session]
    ended_group = session.grouped and any(
        other.ended == "error" or other.cancelled or other.timed_out for other in others
    )
    return session.cancelled or session.timed_out or session.child_cancelled or ended_group


# -- recovery and liveness -------------------------------------------------------------------------------------------


def _recovery(history: History) -> Iterator[Violation]:
    for operation in history.operations:
        if operation.after and operation.failed:
            assert operation.error is not None
            facts = {"asked": operation.asks, "error": operation.error.fact}
            yield _violation(history, operation, RECOVERY, "next_user_failed", **facts)


def _liveness(history: History) -> Iterator[Violation]:
    if history.hang and not _waits_for_who_failed(history):
        yield Violation(LIVENESS, history.hang["fact"])


def _waits_for_who_failed(history: History) -> bool:
    """Whether tasks of the program wait and none of them for the database: all that they wait for is what another task
    did not come to, since it had ended with an error. That error is the finding, and the wait the scenario's own."""
    failed = any(
        each.ended == "error" and each.error is not None and each.error.classed != OWN
        for each in history.sessions.values()
    )
    waits = any(each.ended == "running" for each in history.sessions.values())
    asks = any(each.outcome == "pending" for each in history.operations)
    return failed and waits and not asks and not history.of_a_user


def _timeliness(history: History) -> Iterator[Violation]:
    """A limit that is over ends its block, and who needs nothing that is out of reach is served by then."""
    for limit in history.limits:
        facts = {"session": limit.session, "seconds": limit.seconds, "what": limit.what}
        if limit.ended is not None and limit.ended > limit.due + GRACE:
            yield Violation(TIMELINESS, {"kind": "late", **facts, "took": round(limit.ended - limit.began, 1)})
        if limit.owed and limit.over:
            yield Violation(TIMELINESS, {"kind": "not_in_time", **facts})


def _claims(history: History) -> Iterator[Violation]:
    for claim in history.claims:
        if not claim.holds:
            warned = _warned(history, claim.sequence)
            yield Violation(claim.property, claim.fact, claim.after, warned, claim.foreign_state)

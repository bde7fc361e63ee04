"""What excuses an error: that somebody asked for it, or that the server had to refuse what was asked. Pure functions of
a recorded history."""

from __future__ import annotations

import math

from .history import (
    ABORTED,
    DOCUMENTED,
    Block,
    History,
    Operation,
)

LOCKS = ("take", "seize", "put", "write")  # kinds of operations whose rows stay locked until their transaction ends
READS, WRITES = ("read", "look", "view", "take", "seize"), ("write", "put", "ensure")


def _overlapped(history: History, operation: Operation) -> bool:
    """Another task used the same connection when this operation was issued, which makes it the offender: an operation
    was under way, a result was being iterated over, or a transaction was open that is not around it."""
    return (
        any(
            other is not operation
            and other.scope == operation.scope
            and other.started < operation.started
            and (not other.ended or other.ended > operation.started)
            for other in history.operations
        )
        or any(
            each.session != operation.session
            and each.scope == operation.scope
            and each.started < operation.started
            and (not each.ended or each.ended >= operation.started)  # marked by the number of the event before it
            for each in history.iterations
        )
        or any(_meets(history, operation, block) for block in history.blocks)
    )


def _meets(history: History, operation: Operation, block: Block) -> bool:
    """Whether an operation was issued while another session's block was open on its connection, a block that is not
    around it and that had begun before its own."""
    begin = asked(history, block.number, "begin")
    end = asked(history, block.number, "commit", "rollback")
    own = asked(history, operation.block, "begin") if operation.block is not None else None
    return (
        block.session != operation.session
        and block.number not in history.around(operation.block)
        and begin is not None
        and begin.outcome == "ok"
        and operation.scope in {begin.scope, end.scope if end else f"transaction {history.root(block.number)}"}
        and begin.ended < operation.started
        and (end is None or not end.ended or end.ended > operation.started)
        and (own is None or own.started > begin.started or operation.block in history.around(block.number))
    )


def asked(history: History, block: int | None, *kinds: str) -> Operation | None:
    """The operation that began or ended a block."""
    return next((o for o in history.operations if o.block == block and o.kind in kinds), None)


def consequence(history: History, operation: Operation) -> bool:
    """A documented error in a transaction in which an earlier operation had failed already, or that lost its parent."""
    if operation.block is None or operation.error is None or operation.error.classed not in (DOCUMENTED, ABORTED):
        return False
    root = history.root(operation.block)
    return any(
        other.failed
        and other is not operation
        and history.root(other.block) == root
        and other.ended
        and (other.ended < operation.started or (operation.error.classed == ABORTED and other.ended < operation.ended))
        # Who is ended by a deadlock may have lost its whole transaction, not only what is inside the inner block.
        and (not _undone(history, other, operation) or _waits_in_cycle(history, other))
        for other in history.operations
    )


def _undone(history: History, failed: Operation, later: Operation) -> bool:
    """Whether a failure stayed inside a nested block that was rolled back before the later operation was issued."""
    inside = set(history.around(failed.block)) - set(history.around(later.block))
    return any(
        other.kind == "rollback"
        and other.block in inside
        and history.blocks[other.block - 1].outcome == "rolled back"
        and other.ended
        and other.ended < later.started
        for other in history.operations
        if other.block is not None
    )


def expected(history: History, operation: Operation) -> bool:
    """Whether the program asked for an error here, so that the right answer is to refuse: a statement that the server
    refuses, or the commit of a transaction that leaves a row behind which a deferred constraint forbids."""
    if operation.kind != "commit":
        return operation.kind == "fail"
    root = history.root(operation.block)
    return any(o.kind == "orphan" and o.outcome == "ok" and history.root(o.block) == root for o in history.operations)


def entitled(history: History, operation: Operation) -> bool:
    """Whether a documented error is this operation's own: it was asked to fail, misused, overlapping, on a connection
    that the program had ended, in a cycle of waits, not willing to wait, asked where nothing is initialised, or
    follows."""
    return (
        operation.kind in ("acquire", "close")  # a pool may say that it is exhausted; or that it is in use
        or expected(history, operation)
        or operation.misuse
        or _overlapped(history, operation)
        or _closed_under(history, operation)
        or out_of_reach(history, operation)
        or consequence(history, operation)
        or _waits_in_cycle(history, operation)
        or _nowait_refused(history, operation)
        or _would_not_be_serial(history, operation)
        or _writes_on_an_old_state(history, operation)
        or _finds_it_dead(history, operation)
        or _leaves_an_error(history, operation)
        or _not_serializable(history, operation)
        or _outside_of_init(history, operation)
        or any(operation.ended > history.ended[scope] for scope in (operation.scope, None) if scope in history.ended)
    )


def _leaves_an_error(history: History, operation: Operation) -> bool:
    """Whether it is the commit of a transaction in which a result was left before a row that is an error."""
    begin = asked(history, operation.block, "begin")
    return operation.kind == "commit" and any(
        other.asks.get("fails") and other.scope == operation.scope and begin.started < other.started < operation.started
        for other in history.operations
        if begin is not None and other.kind == "read"
    )


def _waits_in_cycle(history: History, operation: Operation) -> bool:
    """Whether an operation and those that it waited for were in each other's way (a deadlock): each wanted a row that
    the transaction of the next had locked, all at once. The server ends one of them; a second error is not excused."""
    paths = [[operation]]
    while paths:
        path = paths.pop()
        for holder in _waited_for(history, path[-1]):
            if holder is operation:
                return not any(other.failed and other.ended < operation.ended for other in path)
            if holder not in path:
                paths.append([*path, holder])
    return False


def _waited_for(history: History, operation: Operation) -> list[Operation]:
    """What other sessions were doing meanwhile whose transactions had locked a row that this operation wanted."""
    return [
        other
        for other in history.operations
        if other.session != operation.session
        and _at_once(operation, other)
        and any(_rows(lock) & _rows(operation) and _locked_by(history, lock, other) for lock in history.operations)
    ]


def _at_once(one: Operation, other: Operation) -> bool:
    """Whether two operations were under way at the same time."""
    return all(first.started < (second.ended or math.inf) for first, second in ((one, other), (other, one)))


def _locked_by(history: History, lock: Operation, holder: Operation) -> bool:
    """Whether a row that was locked before in an operation's transaction was still so when that one was issued."""
    return (
        lock.block is not None
        and lock.outcome == "ok"
        and lock.ended < holder.started
        and history.root(lock.block) == history.root(holder.block)
        and not _undone(history, lock, holder)
    )


def _rows(operation: Operation) -> set[str]:
    """The rows that an operation locks, or wants to."""
    return set(operation.rows or (operation.nonce,)) if operation.kind in LOCKS else set()


def _would_not_be_serial(history: History, operation: Operation) -> bool:
    """Whether an operation's transaction and another session's, of which nothing had been refused, each looked at a
    counter that the other changed: were both committed, it would be as in no order of the two."""
    root = history.root(operation.block)
    own = [o for o in history.operations if root is not None and history.root(o.block) == root]
    theirs: dict[int, list[Operation]] = {}
    for other in history.operations:
        place = history.root(other.block)
        if place is not None and other.session != operation.session:
            theirs.setdefault(place, []).append(other)
    return any(
        _of_kind("view", own) & _of_kind("put", others)
        and _of_kind("view", others) & _of_kind("put", own)
        and not any(other.failed and other.ended < operation.ended for other in others)
        for others in theirs.values()
    )


def _of_kind(kind: str, operations: list[Operation]) -> set[str]:
    return {operation.nonce for operation in operations if operation.kind == kind}


def _nowait_refused(history: History, operation: Operation) -> bool:
    """Whether an operation that was not to wait for a row met another transaction that had it, or was about to."""
    if operation.kind != "seize":
        return False
    return any(
        other.session != operation.session
        and other.block is not None
        and not other.failed
        and _rows(other) & _rows(operation)
        and other.started < operation.ended
        and _open_after(history, other, operation.started)
        for other in history.operations
    )


def _writes_on_an_old_state(history: History, operation: Operation) -> bool:
    """Whether an operation was to write in a transaction that had read before, and another one has written since, where
    one transaction writes at a time: to wait for that one would be a deadlock, or lose what it has written."""
    if not history.one_writer or operation.block is None or operation.kind not in WRITES:
        return False
    root = history.root(operation.block)
    reads = [
        other.started
        for other in history.operations
        if other.kind in READS
        and other.outcome == "ok"
        and other.ended < operation.started
        and history.root(other.block) == root
    ]
    return bool(reads) and any(
        other.kind in WRITES
        and other.session != operation.session
        and not other.failed
        and other.started < operation.ended
        and _open_after(history, other, min(reads))
        for other in history.operations
    )


def _finds_it_dead(history: History, operation: Operation) -> bool:
    """Whether an operation may be the one that finds a lost connection dead: each costs one refused operation at most,
    and who was using it when it was lost has been told."""
    for sequence, connections in history.losses:
        if operation.started < sequence:
            continue
        told = [o for o in history.operations if o.failed and not o.after and o.ended > sequence and o is not operation]
        before = [
            o for o in told if o.ended < operation.ended and (o.started < sequence or not consequence(history, o))
        ]
        if len(before) < connections:
            return True
    return False


def _not_serializable(history: History, operation: Operation) -> bool:
    """Whether an operation's transaction was to be serializable, and so was one that ran beside it and of which nothing
    had been refused: the server ends one of the two where each has read what the other writes."""
    isolated = {history.root(o.block) for o in history.operations if o.kind == "isolate" and o.outcome == "ok"}
    own = history.root(operation.block)
    begin = asked(history, own, "begin")
    if own not in isolated or begin is None:
        return False
    beside = [o for root in isolated - {own} for o in history.operations if history.root(o.block) == root]
    overlapping = [o for o in beside if o.kind == "begin" and o.started < operation.ended]
    earlier = any(o.failed and o.ended < operation.ended for o in beside)
    return any(_open_after(history, o, begin.started) for o in overlapping) and not earlier


def _outside_of_init(history: History, operation: Operation) -> bool:
    """Whether an operation was asked in an empty context and was told that the ORM is not initialised there: the only
    RuntimeError that is documented."""
    session = history.sessions.get(operation.session)
    error = operation.error
    return session is not None and session.empty and error is not None and error.type == RuntimeError.__name__


def _open_after(history: History, operation: Operation, sequence: int) -> bool:
    """Whether an operation and the transaction around it, as its task was told, had not ended by then."""
    root = history.root(operation.block)
    end = operation if root is None else asked(history, root, "commit", "rollback")
    return end is None or not end.ended or end.ended > sequence


def _closed_under(history: History, operation: Operation) -> bool:
    """Whether the program closed all connections under this operation."""
    return any(
        _under_way(history, operation, close.started, close.ended)
        for close in history.operations
        if close.kind == "close" and close.started
    )


def out_of_reach(history: History, operation: Operation) -> bool:
    """Whether the database was not to be reached, or ended all connections, under this operation."""
    return any(_under_way(history, operation, start, end) for start, end in history.out_of_reach)


def _under_way(history: History, operation: Operation, start: int, end: int) -> bool:
    """Whether an operation, or the transaction around it, was under way at some time between; 0: there is no end."""
    begin = asked(history, history.root(operation.block), "begin") if operation.block is not None else None
    # An absence is marked by the numbers of the events before it: the start with the number of its end came before.
    return start < operation.ended and (not end or end >= (begin or operation).started)

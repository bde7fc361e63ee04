"""Situations: what must happen in an order for it to count, as predicates on the history. No driver, no sentence.

An order in which a scenario's title does not happen says nothing of it. It is counted apart (``outcome.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import permutations

from .doubt import in_doubt
from .history import History, Operation

ENDS = ("commit", "rollback", "leave")


@dataclass(frozen=True)
class Situation:
    """``key`` names it in results. ``avoidable``: a remedy may be that it does not come to it, so nothing is asked of
    the orders of remedies; a cancellation or a conflict of locks they cannot avoid. ``never``: why no order may come to
    it with a driver, by what that does not do; the scenario then does not apply."""

    key: str
    met: Callable[[History], bool]
    avoidable: bool = True
    never: str = ""


def under_way(operation: Operation, moment: int) -> bool:
    """Whether an operation had been asked for by then, and nobody had been told anything."""
    return 0 < operation.started < moment and (not operation.ended or operation.ended > moment)


def _program(history: History, *kinds: str) -> list[Operation]:
    return [o for o in history.operations if not o.after and (not kinds or o.kind in kinds)]


def _strangers(operations: Iterable[Operation]) -> Iterator[tuple[Operation, Operation]]:
    """Each two operations of different sessions, both ways."""
    return ((one, other) for one, other in permutations(operations, 2) if one.session != other.session)


def overlap(*kinds: str) -> Situation:
    """On one connection or transaction a session asks while another's operation is under way; of these kinds, each of
    which takes part, where some are named."""

    def met(history: History) -> bool:
        return any(
            one.scope == other.scope and under_way(one, other.started) and set(kinds) <= {one.kind, other.kind}
            for one, other in _strangers(_program(history, *kinds))
        )

    return Situation("overlap", met)


def at_once(kind: str) -> Situation:
    """Two sessions have such an operation under way at once, on whatever connections."""

    def met(history: History) -> bool:
        return any(under_way(one, other.started) for one, other in _strangers(_program(history, kind)))

    return Situation("at once", met)


def _amid(history: History) -> bool:
    for iteration in history.iterations:
        fetches = [o for o in _program(history, "read") if o.session == iteration.session and o.asks["kind"] == "fetch"]
        first, last = fetches[0], fetches[-1]
        for other in _program(history):
            asked_on_it = other.scope == iteration.scope and other.session != iteration.session
            if asked_on_it and 0 < first.ended < other.started and (other.started < last.started or not last.ended):
                return True
    return False


def cancelled(*kinds: str, overlapping: bool = False) -> Situation:
    """A session is cancelled, or out of time, while an operation of these kinds is under way; ``overlapping``: while
    another session's is as well."""

    def met(history: History) -> bool:
        for moment in _moments(history, "cancelled"):
            pending = [o for o in _program(history) if under_way(o, moment)]
            hit = any(not kinds or o.kind in kinds for o in pending)
            if hit and (not overlapping or len({o.session for o in pending}) > 1):
                return True
        return False

    return Situation("cancelled", met, avoidable=False)


def _timed_out(history: History) -> bool:
    late = {name for name, record in history.sessions.items() if record.timed_out}
    return any(o.session in late and o.outcome in ("cancelled", "error") for o in _program(history))


def _met_silence(history: History) -> bool:
    """The network falls silent while an operation is under way, or before one is asked."""
    silences = [line for line in history.lines if line.fact["kind"] == "silent"]
    fallen = [line.sequence for line in silences if line.fact["open"] or line.fact["new"]]
    return any(not o.ended or o.ended > moment for moment in fallen for o in _program(history) if o.started)


def _silent_in_use(history: History) -> bool:
    """The connections fall silent while a session has one of the pool's."""
    fallen = [line.sequence for line in history.lines if line.fact["kind"] == "silent" and line.fact["open"]]
    return any(
        held.ended < moment and (not back or moment < back) for held, back in _holds(history) for moment in fallen
    )


def _silent_before_login(history: History) -> bool:
    """The network falls silent when no connection has come through its login yet, new ones included."""
    return any(
        line.fact["new"] and not line.fact["logged_in"] for line in history.lines if line.fact["kind"] == "silent"
    )


def lost_in_transaction(*kinds: str) -> Situation:
    """Connections are lost after a transaction's begin was answered and before its end was; where kinds are named,
    with such an operation of its session not yet answered."""

    def met(history: History) -> bool:
        begun = {o.block: o for o in _program(history, "begin") if o.outcome == "ok"}
        open_then = [
            (begun[n], moment)
            for n, ended in _ended_blocks(history)
            if n in begun
            for moment in _lost(history)
            if begun[n].ended < moment < ended
        ]
        return any(
            not kinds or (o.session == begin.session and (not o.ended or o.ended > moment))
            for begin, moment in open_then
            for o in _program(history, *kinds)
        )

    return Situation("lost in a transaction", met, avoidable=False)


def _lost(history: History) -> list[int]:
    """When open connections were ended."""
    return [moment for moment, number in history.losses if number]


def _out_of_reach(history: History) -> Iterator[tuple[int, int, int]]:
    """From when until when new connections were refused, and how many were tried meanwhile."""
    told = [line for line in history.lines if line.fact["kind"] == "reachable" and "opened" in line.fact]
    for away, back in zip(told[::2], told[1::2], strict=False):
        yield away.sequence, back.sequence, back.fact["opened"] - away.fact["opened"]


def _not_replaced(history: History) -> bool:
    """A connection was lost in use, and others wait for it when the server cannot be reached any more: until it can,
    another one is tried, or the lost one is given back."""
    for held, given in _holds(history):
        others = [o for o in _program(history, "acquire") if o.session != held.session]
        for away, back, tried in _out_of_reach(history):
            lost = any(held.ended < moment < min(given or back, back) for moment in _lost(history))
            if lost and (tried or away < given < back) and sum(under_way(o, away) for o in others) > 1:
                return True
    return False


def _request_not_sent(history: History) -> bool:
    """Somebody runs out of time, and a connection that is opened for it is refused."""
    return _timed_out(history) and any(tried for _, _, tried in _out_of_reach(history))


def _cancelled_again(history: History) -> bool:
    # An operation's own line says the same of what it was told.
    whom = [line.session for line in history.lines if line.event == "cancelled" and line.operation is None]
    return len(whom) > len(set(whom))


def _commit_in_doubt(history: History) -> bool:
    return any(in_doubt(history, o) for o in _program(history, "commit"))


def _stalled(history: History) -> bool:
    """The first connection that is given back is given back while another session waits for one."""
    first = min(_program(history, "release"), key=lambda o: o.started or 1 << 60, default=None)
    waiting = [o for o in _program(history, "acquire") if first is not None and o.session != first.session]
    return first is not None and any(under_way(o, first.started) for o in waiting)


def _moments(history: History, event: str) -> list[int]:
    return [line.sequence for line in history.lines if line.event == event]


def closed_over(*kinds: str) -> Situation:
    """Something is closed while another session's operation of these kinds is under way, or (none named) any or a
    block."""

    def met(history: History) -> bool:
        for close in _program(history, "close"):
            others = [o for o in _program(history, *kinds) if o.session != close.session]
            if any(under_way(o, close.started) for o in others):
                return True
            if not kinds and any(begun < close.started < ended for _, begun, ended in _spans(history)):
                return True
        return False

    return Situation("closed over", met)


def _holds(history: History) -> Iterator[tuple[Operation, int]]:
    """Each connection that was taken from a pool, and when it began to be given back (0: never)."""
    for taken in _program(history, "acquire"):
        if taken.outcome == "ok":
            back = (o.started for o in _program(history, "release") if o.session == taken.session)
            yield taken, min((moment for moment in back if moment > taken.ended), default=0)


def waits_at(event: str) -> Situation:
    """A session waits for a connection that another has taken from the pool when this happens: ``release`` or ``close``
    is asked for, somebody is ``cancelled``, or the connection is ``lost``; ``acquire``: it waits at all."""

    def met(history: History) -> bool:
        if event == "lost":
            moments = _lost(history)
        else:
            moments = _moments(history, event) or [o.started for o in _program(history, event)]
        waiting = [(a, h, back) for h, back in _holds(history) for a in _program(history, "acquire") if a is not h]
        if event == "acquire":
            return any(h.ended < a.started and (not back or under_way(a, back)) for a, h, back in waiting)
        return any(
            a.session != h.session and h.ended < moment and (not back or moment <= back) and under_way(a, moment)
            for a, h, back in waiting
            for moment in moments
        )

    return Situation(f"waits at {event}", met, avoidable=event not in ("cancelled", "lost"))


def _both_want_more(history: History) -> bool:
    """Two sessions that each hold a connection wait for a second one, or are refused it."""
    second = [o for o in _program(history, "acquire") for h, back in _holds(history) if _again(o, h, back)]
    return any(under_way(one, other.started) or one.failed for one, other in _strangers(second))


def _again(asked: Operation, held: Operation, back: int) -> bool:
    return asked.session == held.session and held.ended < asked.started and (not back or asked.started < back)


def _used_by_its_next_owner(history: History) -> bool:
    late = [o for o in _program(history) if o.misuse and o.kind != "release"]
    return any(
        o.session != held.session and held.ended < o.started and (not back or o.started < back)
        for o in late
        for held, back in _holds(history)
    )


def _spans(history: History) -> list[tuple[str, int, int]]:
    """Each block that was begun: its session, when it was asked to begin, when it was told its end."""
    found = []
    for block in history.blocks:
        own = [o for o in _program(history) if o.block == block.number]
        begins = [o.started for o in own if o.kind == "begin"]
        ends = [o.ended or 1 << 60 for o in own if o.kind in ENDS]
        if begins:
            # A begin that failed is a block all the same: it was wanted while another was open.
            never = next((o.ended for o in own if o.kind == "begin" and o.outcome != "ok" and o.ended), 1 << 60)
            found.append((block.session, begins[0], max(ends, default=never)))
    return found


def _blocks_at_once(history: History) -> bool:
    """Two sessions have a block each at once, none of them around the other session's start of its own."""
    roots = {block.session for block in history.blocks if block.parent is None}
    spans = [span for span in _spans(history) if len(roots) > 1 or span[0] not in roots]
    return any(a[0] != b[0] and a[1] < b[1] < a[2] for a, b in permutations(spans, 2))


def _asked_beside_block(history: History) -> bool:
    """A session asks while another one's nested block, inside the same transaction, is open."""
    for block, (session, begun, ended) in zip(_begun(history), _spans(history), strict=True):
        for other in _program(history) if history.blocks[block - 1].parent else ():
            beside = other.session != session and history.root(other.block) == history.root(block)
            if beside and (begun < other.started < ended or under_way(other, begun)):
                return True
    return False


def _begun(history: History) -> list[int]:
    begun = {o.block for o in _program(history, "begin")}
    return [block.number for block in history.blocks if block.number in begun]


def _crossed(history: History) -> bool:
    """Two sessions wait for each other's row, or the server ended one of them for it."""
    locks = _program(history, "put", "take", "seize")

    def had(session: str, row: str, moment: int) -> bool:
        return any(o.session == session and o.nonce == row and 0 < o.ended < moment and not o.failed for o in locks)

    return any(
        one.nonce != other.nonce
        and under_way(one, other.started)
        and had(one.session, other.nonce, other.started)
        and had(other.session, one.nonce, one.started)
        for one, other in _strangers(locks)
    )


def _found_locked(history: History) -> bool:
    """A row is asked for while another session's block that has locked it is open, or is said to be locked."""
    locks = _program(history, "take", "seize")
    ends = dict(_ended_blocks(history))
    return any(o.kind == "seize" and o.outcome == "error" for o in locks) or any(
        one.nonce == other.nonce and one.outcome == "ok" and one.ended < other.started < ends.get(one.block or 0, 0)
        for one, other in _strangers(locks)
    )


def _both_read(history: History) -> bool:
    """Two sessions have read in their blocks before either of them has written, or changed a counter where they do."""
    writes = [o.started for o in _program(history, "put") or _program(history, "write")]
    early = {o.session for o in _program(history, "read", "view") if o.ended and o.ended < min(writes, default=1 << 60)}
    return len(early) > 1


def _changed_meanwhile(history: History) -> bool:
    """A session looks at a row in its block and changes it later; another's change of it was done in between."""
    puts = [o for o in _program(history, "put") if o.started]
    return any(
        view.nonce == other.nonce == own.nonce
        and other.outcome == "ok"
        and view.session == own.session
        and 0 < view.ended < other.ended < own.started
        for view in _program(history, "view")
        for other, own in _strangers(puts)
    )


def _looked_before_commit(history: History) -> bool:
    commits = {
        o.nonce: ended for o in _program(history, "write") for b, ended in _ended_blocks(history) if b == o.block
    }
    looks = [o for o in _program(history, "look") if o.block is None]
    return any(o.started < commits.get(o.nonce, 0) for o in looks)


def _ended_blocks(history: History) -> list[tuple[int, int]]:
    return [(n, ended) for n, (_, _, ended) in zip(_begun(history), _spans(history), strict=True)]


def _failed_beside(history: History) -> bool:
    """A session ends with an error while another's operation is under way."""
    failed = [(line.session, line.sequence) for line in history.lines if line.event == "end" and line.fact.get("error")]
    return any(o.session != name and under_way(o, moment) for name, moment in failed for o in _program(history))


def _ended_beside(history: History) -> bool:
    """A transaction is ended while another session's operation in it is under way, or yet to be asked."""
    blocks = {n for n in _begun(history) if history.blocks[n - 1].parent is None}
    ends = [o for o in _program(history, *ENDS) if o.block in blocks and o.started]
    return any(
        other.session != end.session
        and (other.asks.get("late") or (other.block and history.root(other.block) == end.block))
        and not 0 < other.ended < end.started
        for end in ends
        for other in _program(history)
    )


AMID_ITERATION = Situation("amid an iteration", _amid)
TIMED_OUT = Situation("timed out", _timed_out, avoidable=False)
COMMIT_IN_DOUBT = Situation("commit in doubt", _commit_in_doubt, avoidable=False)
STALLED = Situation("stalled", _stalled, avoidable=False)
MET_SILENCE = Situation("met silence", _met_silence, avoidable=False)
SILENT_IN_USE = Situation("fell silent in use", _silent_in_use, avoidable=False)
SILENT_BEFORE_LOGIN = Situation("silent before a login", _silent_before_login, avoidable=False)
NOT_REPLACED = Situation("not replaced", _not_replaced, avoidable=False)
REQUEST_NOT_SENT = Situation(
    "cancel request not sent", _request_not_sent, avoidable=False, never="the driver sends no cancel request"
)
CANCELLED_AGAIN = Situation(
    "cancelled again",
    _cancelled_again,
    avoidable=False,
    never="with this driver nothing waits behind the first cancellation, so nobody can be cancelled once more",
)
BOTH_WANT_MORE = Situation("both hold and want more", _both_want_more)
USED_BY_NEXT_OWNER = Situation("used while its next owner has it", _used_by_its_next_owner)
BLOCKS_AT_ONCE = Situation("blocks at once", _blocks_at_once)
ASKED_BESIDE_BLOCK = Situation("asked beside a block", _asked_beside_block)
DEADLOCK = Situation("deadlock", _crossed, avoidable=False)
FOUND_LOCKED = Situation("found locked", _found_locked, avoidable=False)
BOTH_READ = Situation("both have read", _both_read, avoidable=False)
CHANGED_MEANWHILE = Situation(
    "changed meanwhile",
    _changed_meanwhile,
    avoidable=False,
    never="the database lets nobody change a row that a transaction has read",
)
LOOKED_BEFORE_COMMIT = Situation("looked at before the commit", _looked_before_commit)
FAILED_BESIDE = Situation("failed beside another", _failed_beside)
ENDED_BESIDE = Situation("ended beside another", _ended_beside)

"""Sentences about a run, made of facts: the only place that words what was done, answered, seen and found.

A fact is plain JSON data, a mapping with a ``kind``; whatever programs want to know of a run they read there. What this
module makes of it is for people alone: nothing reads a sentence back.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from matrix.lines import Fact

NEXT_USER = "the next task"  # who uses the connection when the program is over
AFTER = (NEXT_USER, "the next user")  # its name in a history; results of before have the second

_KINDS: dict[str, str | Callable[[Any], str]] = {}


def sentence(fact: Fact) -> str:
    """A fact in words. Raises KeyError for a kind that is not known."""
    form = _KINDS[fact["kind"]]
    text = form.format_map(_InWords(fact)) if isinstance(form, str) else form(fact)
    text = f"{text} (too late)" if fact.get("late") else text
    return f"{text} ({fact['at']})" if fact.get("at") else text


def kinds() -> list[str]:
    """Every kind of fact that has words."""
    return list(_KINDS)


def words(text: str) -> dict[str, Any]:
    """A fact that somebody else has worded: a scenario's own step, a driver's warning, why nothing was run."""
    return {"kind": "words", "text": text}


def _of(kind: str) -> Callable[[Callable[[Any], str]], Callable[[Any], str]]:
    def keep(form: Callable[[Any], str]) -> Callable[[Any], str]:
        _KINDS[kind] = form
        return form

    return keep


def _error(error: Fact) -> str:
    return f"{error['type']}: {error['message']}" if error["message"] else str(error["type"])


def _list(names: list[str]) -> str:
    return ", ".join(names)


class _InWords(dict[str, Any]):
    """A fact as a sentence takes its values: facts and errors within it, and names in a row, in words."""

    def __getitem__(self, key: str) -> Any:
        value = super().__getitem__(key)
        if isinstance(value, dict):
            return sentence(value) if "kind" in value else _error(value)
        return _list(value) if isinstance(value, list) else value


_KINDS["words"] = "{text}"

# -- what a session asks for: operations, and steps that are none -----------------------------------------------------

_BEGINS = {"": "", "implicit": " by the next statement", "statement": " by a statement of its own"}
_KINDS |= {
    "read": "read {row}",
    "fetch": "fetch {row}",
    "iterate": "iterate over {rows} and leave after the first",
    "write": "write {row}",
    "bulk_create": "bulk_create {rows}",
    "executemany": "executemany {rows}",
    "copy_in": "COPY {rows}",
    "row": "give {row} to the COPY",
    "listen": "listen for notifications",
    "notify": "notify of {row}",
    "hear": "wait for the notifications of {rows}",
    "pipeline": "begin a pipeline",
    "pipeline_end": "end the pipeline",
    "await_bulk_create": "await bulk_create {rows}, built before",
    "await_look": "await a look for {row}, built before",
    "derived_update": "await an update to {row} of query {of}, built before",
    "save": "save an object as {row}",
    "save_unchanged": "save an object as it was fetched, with force_update",
    "delete": "delete {row}",
    "bulk_update": "bulk_update {rows}",
    "fail": "send a statement that the server refuses",
    "fail_undoing": "send a statement with whose error the database undoes the transaction",
    "script": "run a script that makes a table",
    "orphan": "insert a row that a deferred constraint forbids",
    "isolate": "make the transaction serializable",
    "ping": "look whether the connection is alive",
    "look": "look for {row}",
    "get_or_create": "get_or_create {row}",
    "update_or_create": "update_or_create {row} with value {value}",
    "take": "select {row} for update",
    "take_values": "select {row} for update, by values()",
    "take_within_limit": "select {row} for update, with a limit of the server's",
    "seize": "select {row} for update nowait",
    "view": "look at {row}",
    "put": "store {row} as {value}",
    "count_up": "add 1 to {row}",
    "set": "change a setting",
    "probe": "look at the setting",
    "acquire": "acquire a connection",
    "release": lambda f: f"give {f['connection']} back{' once more' * f['again']}",
    "close": "close {connection}",
    "close_pool": "close the pool",
    "close_all": "close all connections",
    "no_autocommit": "switch autocommit off",
    "begin": lambda f: f"begin a {'nested ' * f['nested']}transaction{_BEGINS[f.get('begins', '')]}",
    "begin_and_forget": "begin, and never end it",
    "commit": lambda f: _end("commit", f),
    "rollback": lambda f: _end("roll back", f),
    "leave": lambda f: _end("leave", f),
    "thread": "start a thread",
    "cancel": "cancel {session}",
    "clock": "{seconds:g} s go by",
    "lose_connections": "the server ends all connections",
    "connect": "connect",
    "reset_connections": "every connection is reset",
    "fall_silent": lambda f: _silence(f),
    "end_server_sessions": "the server ends the driver's connections",
    "reach_server": lambda f: (
        f"the server {'can be reached again' if f['reachable'] else 'cannot be reached any more'}"
    ),
}


def _end(verb: str, f: Any) -> str:
    return f"{verb} {f['block']}{' by hand' * f['by_hand']}{' although it has ended' * f['again']}"


def _silence(f: Any) -> str:
    which = ["the connections that are open"] * f["open"] + ["new ones"] * f["new"]
    return f"falls silent on {' and '.join(which)}" if which else "serves new connections again"


# -- what else stands in the history and among the steps ---------------------------------------------------------------

_KINDS |= {
    "step": "{session}: {step}",
    "deliver": lambda f: f"{f['channel']} delivers {in_pieces(f)}",
    "start": lambda f: f"starts {f['session']}{' in a task group' * f['grouped']}",
    "wait": lambda f: f"waits for {'the end of ' * f['settles']}{_list(f['sessions'])}",
    "caught": lambda f: f"catches {f['type'] or 'the error'} and goes on",
    "reachable": lambda f: "can be reached again" if f["reachable"] else "cannot be reached",
    "lost": "ends all connections",
    "silent": lambda f: _silence(f),
    "outlived": "catches CancelledError and goes on",
    "server_ends": "the server ends {channel}",
    "ended_before": "had ended before it was cancelled",
    "cancelled": lambda f: "is cancelled" + (f" with {f['by']}, which waits for it" if f["by"] else ""),
    "time_over": "its {seconds:g} s are over: TimeoutError",
    "ended": lambda f: f"ends with {_error(f['error'])}" if f["error"] else f"ends{': cancelled' * f['cancelled']}",
    "told": "{block}: {outcome}",
    "loop_error": "{message}: {error}",
    "cursor_begins": "the cursor has begun a transaction of its own",
    "cursor_closed": "the cursor is closed, with its transaction if the driver ends it",
    "stuck": "the driver blocks the event loop's own thread; what was held is let through",
    "on_purpose": "{session} fails on purpose",
    "raised": "{session}: raises {error}",
    "busy_timeout": "SQLite's busy timeout (5 s) ends: nothing else can happen",
}


@_of("swept")
def _swept(f: Any) -> str:
    when = "the moment its wait no. {wait} ends" if f["as_it_ends"] else "while it waits (no. {wait})"
    return f"{f['session']} is cancelled {when.format_map(f)}"


def in_pieces(f: Any) -> str:
    """The first and the last of what is let through; ``ends``: the connection's end behind it."""
    made = [piece["kind"] + (f" {piece['text']!r}" if piece["text"] else "") for piece in f["pieces"]]
    made += ["the end of the connection"] * f["ends"]
    return ", ".join(made[:1] + made[-1:] if len(made) > 1 else made)


# -- what was found: the violations of the checker ---------------------------------------------------------------------

_DROPPED = {"rolled back": "rolled back", "failed": "failed", "never begun": "not begun"}

_KINDS |= {
    "refused_succeeded": "{session}'s statement, which the server refuses, was reported as done.",
    "not_ended": "nobody ended the transaction of {session}; its row {row} is stored.",
    "in_part": "the transaction of {session} is stored in part: {row} is there, {lost} is not.",
    "not_created": "row {row} is stored, although no task created it by what was reported.",
    "found_and_lost": "{session} was given row {row} by its query; the row is not stored.",
    "not_updated": "{session}'s update of row {row} was reported as done; it came back with another task's values.",
    "seen_early": "{session}'s row {row} was visible to others before its transaction committed.",
    "outside": "{session}'s row {row} was written outside of its transaction.",
    "not_seen_inside": "{session} does not see row {row}, written before in the same transaction.",
    "seen_uncommitted": "{session} saw {owner}'s row {row}, which was not committed.",
    "not_serial": (
        "{sessions} each committed and saw {rows} as before the other's change: no order of the two gives that."
    ),
    "not_seen_committed": "{owner}'s commit of row {row} was reported as done; {session} does not see the row.",
    "not_visible": (
        "{session}'s write of row {row}, outside of any transaction, was reported as done; nobody else sees it."
    ),
    "sent_later": "{session} was cancelled before anything was sent; {row} was sent later.",
    "wrongly_cancelled": "{session} saw CancelledError, although nobody had cancelled it.",
    "swallowed": "{session} was cancelled, and its cancellation was swallowed.",
    "still_held": "the pool gave {session} the connection that {owner} still holds.",
    "write_in_part": "{session}'s {asked} is stored in part: {row} is there, {lost} is not.",
    "increment_unasked": ("{row} went from {before} to {after} by {told} increments that were reported as committed."),
    "split": "{session}'s row {row} went into another server transaction than {other} of the same block.",
    "travelled": (
        "{session}'s row {row} travelled inside the transaction of {owner} (connection {connection}), "
        "to which it does not belong."
    ),
    "internal_error": "{session} got an internal error while it tried to {asked}: {error}",
    "innocent_error": "{session} had done nothing wrong and failed to {asked}: {error}",
    "innocent_for_ever": (
        "{session} had done nothing wrong and failed to {asked}: {error}; "
        "so did all that it asked from then on ({more} more)"
    ),
    "error_of_nothing": "{session} ended with an error that no operation had given: {error}",
    "unhandled_error": "the event loop reported an unhandled error: {error}",
    "operation_wrongly_cancelled": "{session}'s {asked} ended in CancelledError, although nobody had cancelled it.",
    "next_user_failed": f"afterwards {NEXT_USER} failed to {{asked}}: {{error}}",
    "foreign_error": "{session} got the error that {owner}'s statement had caused: {error}",
    "invariant": "afterwards {statement} gives {found}.",
    "done_twice": "the same work was to be done once, and was done {times} times.",
    "late": "{session}'s time limit of {seconds:g} s ({what}) ended its block after {took:g} s.",
    "not_in_time": "{session} was kept waiting for {seconds:g} s, although nothing that it needs was out of reach.",
    "transaction_open": "afterwards the server still has a transaction open on {channel}.",
}


@_of("program_failed")
def _program_failed(f: Any) -> str:
    return f"{f['session']} ended with {_error(f['error'])}" + (f", raised at {f['where']}" if f["where"] else "")


@_of("wrong_answer")
def _wrong_answer(f: Any) -> str:
    got = f"the answer that {f['owner']} had asked for" if f["owner"] else f"{f['given']!r}"
    return f"{f['session']} asked for {f['row']} and was given {got}."


@_of("foreign_setting")
def _foreign_setting(f: Any) -> str:
    whose = f"that {f['owner']} had left behind" if f["owner"] else "that nobody had asked for"
    return f"{f['session']} found the setting {f['given']!r} {whose}; a new session has {f['asked']!r}."


@_of("row_lost")
def _row_lost(f: Any) -> str:
    what = "commit" if f["in_block"] else "write"
    return f"{f['session']}'s {what} was reported as done; {f['session']}'s row {f['row']} is not stored."


@_of("row_stored")
def _row_stored(f: Any) -> str:
    who = f["session"]
    if f["error"]:
        what = f"{who}'s write was reported as failed ({f['error']['type']})"
    else:
        reported = "was" if f["cancelled"] else "was reported as"
        what = f"{who}'s transaction {reported} {_DROPPED[f['outcome']]}"
    return f"{what}; {who}'s row {f['row']} is stored."


@_of("created_twice")
def _created_twice(f: Any) -> str:
    return f"{' and '.join(f['sessions'])} were each given row {f['row']} as created by their own call."


@_of("increment_lost")
def _increment_lost(f: Any) -> str:
    made = (
        f"{f['told']} increments of {f['row']} were reported as committed; it went from {f['before']} to {f['after']}."
    )
    both = f["both_read"]
    return made + (f" {both['sessions'][0]} and {both['sessions'][1]} both read {both['value']}." if both else "")


@_of("cancelled_with_error")
def _cancelled_with_error(f: Any) -> str:
    how = "saw" if f["operations"] else "ended with"
    return f"{f['session']} was cancelled and {how} {_error(f['error'])} instead of CancelledError."


# -- what was found: claims of the harness and of scenarios ------------------------------------------------------------

_KINDS |= {
    "first_use_opened": "first use by {tasks} tasks opened {opened} connections; the pool's size is {size}.",
    "init_opened": "Tortoise.init() opened {opened} connections.",
    "nothing_opened": "the gate saw no connection although a query was answered.",
    "aliases_opened": ("two pools of {size} opened {opened} connections: one was replaced and never closed."),
    "sessions_left": "after the pool was closed {opened} of its connections are still open.",
    "pool_too_large": "a pool of {size} opened {opened} connections.",
    "piled_up": "after {loops} event loops {opened} connections are open; the pool's size is {size}.",
    "still_open": "after close_all() {opened} connections are still open.",
    "opened_again": "after closing, {opened} connections were opened by a pool of {size}.",
}


# -- a hang, a crash ---------------------------------------------------------------------------------------------------


@_of("hang")
def _hang(f: Any) -> str:
    names = _list([f"{entry['task']} (in {entry['innermost']})" for entry in f["waiting"]])
    blocked = "the server says that the request waits for a lock" if f["locked"] else "nothing is in flight"
    clock = f["clock"]
    when = "; no timer is pending" if clock is None else f"; {clock:,.0f} s of the program's clock changed nothing"
    return f"{names} can never go on: every task waits, {blocked}{when}."


@_of("process_ended")
def _process_ended(f: Any) -> str:
    what = f"the interpreter died of {f['signal']}" if f["signal"] else _PROOFS[f["proof"]].format_map(f)
    return f"{what}; the last step was: {sentence(f['step']) if f['step'] else 'the set-up'}."


_PROOFS = {
    "idle": "every thread of the process waits for a lock, without a time limit, and none is left to release one",
    "deadline": "for {limit:g} s nothing happened, and a thread of the driver did not return",
}

# -- what the evidence and the result line say -------------------------------------------------------------------------

_KINDS |= {
    "as_it_should_be": "as it should be ({property})",
    "answered": f"{NEXT_USER}'s questions were answered",
    "completed": "every operation completed as reported",
    "refused": "refused: {error}",
    "of_programs": "{count} of {programs} programs: {finding}",
    "in_database": "{database}: {finding}",
    "remedy_error": "{scenario}: {finding}",
}


@_of("was_told")
def _was_told(f: Any) -> str:
    return f"{NEXT_USER} got {f['error']['type']}: {f['error']['message']}"


@_of("reading")
def _reading(f: Any) -> str:
    """A row as reported to its writer against what the witness read."""
    stored = "is stored" if f["stored"] else "is not stored"
    answer = {
        "ok": {
            "committed": "commit was reported as done" if f["in_block"] else "write was reported as done",
            "dropped": "transaction was reported as not committed",
            "unknown": "transaction's end was not reported",
        }[f["fate"]],
        "error": "write was reported as failed",
        "cancelled": "write was cancelled",
        "pending": "write was never answered",
    }[f["outcome"]]
    return f"{f['session']}'s {answer}: row {f['row']} {stored}."


@_of("seen_once")
def _seen_once(f: Any) -> str:
    once = _list([f"{each['verdict']} by {each['schedule'] or 'its first steps'}" for each in f["once"]])
    return f"{sentence(f['finding'])} (seen once and not again: {once})"


@_of("remedy")
def _remedy(f: Any) -> str:
    """``broken``: pairs of a scenario and its verdict with the remedy."""
    if f["finding"] is None:
        return f"{_list(f['scenarios'])} comply {'with' if f.get('needed', True) else 'without'} it"
    if not f["broken"]:
        return f"worse than without it: {sentence(f['finding'])}"
    named = _list([f"{scenario} ({verdict})" for scenario, verdict in f["broken"]])
    return f"not {named}: {sentence(f['finding'])}"

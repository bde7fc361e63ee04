"""What a script looks at: the deciding violation of a result line, as a comparison that a plain program can make."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from matrix.harness.drivers import drivers
from matrix.harness.sentences import Fact, sentence
from matrix.reproduce import NotWritten
from matrix.reproduce.naming import name_of, quoted, short
from matrix.reproduce.reconstruct import AFTER


@dataclass(frozen=True)
class Symptom:
    """``shows``: a Python expression over ``told``, ``rows``, ``seen`` and ``open_transactions``; ``observed``: what
    ``print`` is given.

    ``expected`` is a sentence. ``after``: number of the next user's operation that shows it, or None. ``watched``:
    the row that is looked at from outside right after its write. ``looks_at_server``: asks it for open transactions.
    ``reuses_number``: another socket gets the number of one that is closed while somebody waits on it. ``seconds``: so
    long it takes until it shows.
    """

    expected: str
    shows: str
    observed: str
    after: Any = None
    sentence: str = ""  # what was found
    watched: str = ""
    looks_at_server: bool = False
    hangs: bool = False
    reuses_number: bool = False
    seconds: float = 0


def finding(line: Mapping[str, Any]) -> Mapping[str, Any]:
    """What decides, without how often or where it was seen. Raises NotWritten for a line that has no facts yet."""
    fact = line.get("finding")
    while isinstance(fact, Mapping) and isinstance(fact.get("finding"), Mapping):
        fact = fact["finding"]
    if not isinstance(fact, Mapping):
        raise NotWritten("the result is of a suite that did not record enough yet: run the cell again")
    return fact


def of(line: Mapping[str, Any]) -> Symptom:
    """The symptom of the deciding violation, or of the next one that a script can see. Raises NotWritten."""
    decides = finding(line)
    history = line["evidence"]["history"]
    for fact in (decides, *(v["fact"] for v in line.get("violations") or [])):
        made = KINDS[fact["kind"]](fact, history, line) if fact["kind"] in KINDS else None
        if made is not None:
            once = line["finding"].get("finding") if line["finding"]["kind"] == "in_database" else line["finding"]
            seen_once = fact is decides and once and once["kind"] == "seen_once"
            return replace(made, sentence=sentence(short(once if seen_once else fact)))
    if decides["kind"] == "unhandled_error":
        raise NotWritten(f"nobody but a loop that a thread has left behind is told of it: {sentence(decides)}")
    raise NotWritten(f"what decides is seen on the wire only: {sentence(short(decides))}")


def _operations(history: list[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """Each operation's question, with ``told`` added: the line that answers it, or None."""
    for event in history:
        if event["event"] == "invoke":
            answer = next((e for e in history if e.get("operation") == event["operation"] and e is not event), None)
            yield {**event, "told": answer}


def _about(fact: Fact, history: Any) -> Mapping[str, Any] | None:
    """The operation that a finding is about; None where that is not one, or one of several next users'."""
    numbers = fact.get("operations") or [None]
    found = next((o for o in _operations(history) if o["operation"] == numbers[0]), None)
    return None if found and _after(found) is not None and found["session"] not in AFTER else found


def _after(operation: Mapping[str, Any]) -> Any:
    return operation["operation"] if str(operation["session"]).startswith(AFTER) else None


def _key(operation: Mapping[str, Any]) -> str:
    """The name under which the script keeps what was told."""
    if operation["fact"]["kind"] == "begin":
        return f"begin {operation['block']}"
    return name_of(operation)


def _wrong_answer(fact: Fact, history: Any, line: Any) -> Symptom | None:
    wrong = _about(fact, history)
    if wrong is None:
        return None
    key, value = _told(wrong), short(fact["row"])
    return Symptom(
        f"{fact['session']}, who asks for {value}, is given {value} or an error",
        f"isinstance({key}, str) and {key} not in ({quoted(value)}, NOTHING)",
        _print(f"{fact['session']} asked for {value} and was given", key),
        _after(wrong),
    )


def _error(fact: Fact, history: Any, line: Any) -> Symptom | None:
    operation = _about(fact, history) if fact.get("operations") else _first_error(fact["session"], history)
    if operation is None or operation["told"] is None or operation["told"]["event"] != "error":
        return None
    key, kind = _told(operation), str(operation["told"]["error"]["type"]).rsplit(".", 1)[-1]
    what = sentence(short(operation["fact"]))
    own = ", or sees an error of its own" * (fact["kind"] == "foreign_error")
    return Symptom(
        f"{operation['session']} can {what}{own}",
        f"type({key}).__name__ == {quoted(kind)}",
        _print(f"{operation['session']} tried to {what}:", key),
        _after(operation),
    )


def _first_error(session: str, history: Any) -> Mapping[str, Any] | None:
    """The first operation of a session that failed."""
    asked = (o for o in _operations(history) if o["session"] == session and o["told"])
    return next((o for o in asked if o["told"]["event"] == "error"), None)


def _told(operation: Mapping[str, Any]) -> str:
    """What a task was told, as an expression; None where it never asked."""
    return f"told.get({quoted(_key(operation))})"


def _print(words: str, *expressions: str) -> str:
    """Arguments of ``print``: words, then what the script has seen."""
    return ", ".join([quoted(words), *(f"repr({each})" for each in expressions)])


STORED = ', "stored are:", rows'
Kind = Callable[[Fact, Any, Any], "Symptom | None"]


def _of_write(of: Callable[[str, Any, Any], Symptom | None]) -> Kind:
    """Of a finding about a row: ``of`` is given its short name, and the operation that wrote it."""

    def made(fact: Fact, history: Any, line: Any) -> Symptom | None:
        writes = (o for o in _operations(history) if o["what"] in ("write", "ensure"))
        write = next((o for o in writes if fact["row"] in (o["fact"].get("rows") or [o["fact"].get("row")])), None)
        return None if write is None else of(short(fact["row"]), write, history)

    return made


@_of_write
def _lost(token: str, write: Mapping[str, Any], history: Any) -> Symptom | None:
    ours = [o for o in _operations(history) if _after(o) is None]
    commits = [_key(o) for o in ours if o["what"] == "commit" and o["told"] and o["told"]["event"] == "ok"]
    keys = [_key(write), *(commits if write["block"] else [])]
    return Symptom(
        f"row {token}, whose write by {write['session']} was reported as done, is stored",
        " and ".join([f"well({quoted(key)})" for key in keys] + [f"{quoted(token)} not in rows"]),
        _print(f"{write['session']}'s write of row {token} was reported as done;") + STORED,
        _after(write),
    )


@_of_write
def _stored(token: str, write: Mapping[str, Any], history: Any) -> Symptom | None:
    key = _key(write)
    shows, what = f"failed({quoted(key)})", "the write failed:"
    if write["told"] is None or write["told"]["event"] == "ok":
        ends = [o for o in _operations(history) if o["block"] == write["block"] and o["what"] in ("commit", "rollback")]
        if not ends:
            return None
        key = _key(ends[-1])
        shows, what = f"failed({quoted(key)})", "its commit failed:"
        if ends[-1]["what"] == "rollback":
            shows, what = f"{quoted(key)} in told", "its transaction is rolled back:"
    return Symptom(
        f"row {token}, whose write by {write['session']} was reported as failed, is not stored",
        f"{shows} and {quoted(token)} in rows",
        _print(f"reported to {write['session']}: {what}", f"told.get({quoted(key)})") + STORED,
        _after(write),
    )


def _setting(fact: Fact, history: Any, line: Any) -> Symptom | None:
    look = _about(fact, history)
    if look is None:
        return None
    key = _told(look)
    return Symptom(
        f"{fact['session']} finds the setting as in a new session",
        f"{quoted(fact['given'])} in map(str, {key} or ())",
        _print(f"{fact['session']} looked at the setting and found", key),
        _after(look),
    )


def _swallowed(fact: Fact, history: Any, line: Any) -> Symptom | None:
    task = f"tasks[{quoted(fact['session'])}]"
    return Symptom(
        f"{fact['session']}, whose task is cancelled, ends with CancelledError",
        f"{task}.cancelling() and {task}.done() and not {task}.cancelled()",
        _print(f"{fact['session']} was cancelled and ended as", task),
    )


@_of_write
def _sent(token: str, write: Mapping[str, Any], history: Any) -> Symptom | None:
    key = _key(write)
    return Symptom(
        f"row {token}, whose write was cancelled before anything was sent, is not stored",
        f"failed({quoted(key)}) and {quoted(token)} in rows",
        _print(f"reported to {write['session']}: the write of {token} is cancelled:", f"told.get({quoted(key)})")
        + STORED,
    )


@_of_write
def _early(token: str, write: Mapping[str, Any], history: Any) -> Symptom | None:
    return Symptom(
        f"nobody else sees row {token} before its transaction commits",
        f"seen.get({quoted(token)}, False)",
        _print(f"whether another connection saw row {token} before the commit:", f"seen.get({quoted(token)})"),
        _after(write),
        watched=token,
    )


@_of_write
def _unseen(token: str, write: Mapping[str, Any], history: Any) -> Symptom | None:
    return Symptom(
        f"row {token} is visible when its write was reported to {write['session']} as done",
        f"well({quoted(_key(write))}) and not seen.get({quoted(token)}, True)",
        _print(f"whether another connection saw row {token} then:", f"seen.get({quoted(token)})"),
        _after(write),
        watched=token,
    )


def _looked(fact: Fact, history: Any, line: Any) -> Symptom | None:
    """A look that found what it must not find, or did not find what it must."""
    look = _about(fact, history)
    if look is None:
        return None
    finds, row, key = fact["kind"] == "seen_uncommitted", short(fact["row"]), _key(look)
    return Symptom(
        f"{fact['session']} {'does not see' if finds else 'sees'} row {row}",
        f"well({quoted(key)}) and {'' if finds else 'not '}told[{quoted(key)}]",
        _print(f"{fact['session']} looked for {row} and was given", f"told.get({quoted(key)})"),
        _after(look),
    )


def _hang(fact: Fact, history: Any, line: Any) -> Symptom | None:
    # Who polls looks again by itself, and would see that its socket is closed, were the number not another's by then.
    polling = tuple(each.script.polls for each in drivers().values() if each.script and each.script.polls)
    # Who listens polls until something is sent.
    listening = {o["session"] for o in _operations(history) if o["fact"]["kind"] == "hear" and o["told"] is None}
    others = [each for each in fact["waiting"] if each["task"] not in listening]
    polls = any(place in each["innermost"] for each in others for place in polling)
    reuses = polls and fact["clock"] is not None
    if reuses and not line["evidence"]["setup"].get("pools"):
        raise NotWritten("it waits on the number of a closed socket, which another one has got: no order decides that")
    if any(each["innermost"].startswith("compliance/") for each in fact["waiting"]):
        raise NotWritten("a task waits for what another one was to say, and no script keeps that yet")
    waiting, sessions = [], set()
    for operation in _operations(history):
        if operation["told"] is None and operation["session"] not in sessions:
            waiting += [] if _waited(operation, history) else [operation]
            sessions.add(operation["session"])  # what a task asks behind that is the run being taken down
    if not waiting:
        return None
    ours = [o for o in waiting if _after(o) is None] or waiting[:1]
    keys = [f"told.get({quoted(_key(o))}) is NOTHING" for o in ours]
    names = ", ".join(str(o["session"]) for o in ours)
    return Symptom(
        f"{names} can go on, or {'get' if len(ours) > 1 else 'gets'} an error",
        " and ".join(keys),
        '"nothing more came in", PATIENCE, "s; told so far:", told',
        _after(ours[0]),
        hangs=True,
        reuses_number=reuses,
    )


def _waited(operation: Mapping[str, Any], history: Any) -> bool:
    """Whether the task was waiting for another that has never ended: then it asked while the run was taken down."""
    before = [e for e in history if e["session"] == operation["session"] and e["n"] < operation["n"]]
    if not before or before[-1]["fact"]["kind"] != "wait":
        return False
    ended = {e["session"] for e in history if e["event"] == "end"}
    return any(name not in ended for name in before[-1]["fact"]["sessions"])


def _open(fact: Fact, history: Any, line: Any) -> Symptom | None:
    if not any(frame["kind"] == "ReadyForQuery" for frame in line["evidence"]["frames"]):
        return None  # only PostgreSQL tells everybody who is in a transaction
    return Symptom(
        "afterwards no transaction is open",
        "open_transactions > 0",
        '"connections that the server says are idle in a transaction:", open_transactions',
        looks_at_server=True,
    )


def _opened(fact: Fact, history: Any, line: Any) -> Symptom | None:
    most = int(fact["size"]) * len(line["evidence"]["setup"]["orm"]["aliases"])
    return Symptom(
        f"no more than {most} connections are opened",
        f"len(held) > {most}",
        '"connections that were opened:", len(held)',
    )


def _over_limit(fact: Fact, history: Any, line: Any) -> Symptom | None:
    """A limit that ended its block late, or one that ended what should have been served within it."""
    name, who, limit, late = fact["session"], quoted(fact["session"]), f"{fact['seconds']:g} s", fact["kind"] == "late"
    return Symptom(
        f"{name}'s time limit of {limit} ends its block" if late else f"{name} is served within {limit}",
        f"over.get({who}, 0) > 1" if late else f"{who} in over",
        _print(f"seconds by which {name} was over its limit:", f"over.get({who})"),
        seconds=float(fact["took"]) + 3 if late else 0,
    )


KINDS: dict[str, Kind] = {
    "wrong_answer": _wrong_answer,
    "row_lost": _lost,
    "row_stored": _stored,
    "not_ended": _stored,
    "not_created": _stored,
    "seen_early": _early,
    "seen_uncommitted": _looked,
    "not_seen_inside": _looked,
    "not_visible": _unseen,
    "foreign_error": _error,
    "internal_error": _error,
    "innocent_error": _error,
    "innocent_for_ever": _error,
    "next_user_failed": _error,
    "cancelled_with_error": _error,
    "refused": _error,  # where more is promised it is the error itself that shows
    "foreign_setting": _setting,
    "swallowed": _swallowed,
    "sent_later": _sent,
    "hang": _hang,
    "late": _over_limit,
    "not_in_time": _over_limit,
    "aliases_opened": _opened,
    "transaction_open": _open,
}

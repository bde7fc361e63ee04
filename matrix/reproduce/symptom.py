"""What a script looks at: the deciding violation of a result line, as a comparison that a plain program can make."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from matrix.reproduce import NotWritten
from matrix.reproduce.unfold import AFTER, name_of, quoted, short


@dataclass(frozen=True)
class Symptom:
    """``shows``: a Python expression over ``told``, ``rows``, ``seen`` and ``open_transactions``; ``observed``: what
    ``print`` is given.

    ``expected`` is a sentence. ``after``: number of the next user's operation that shows it, or None. ``watched``:
    the row that is looked at from outside right after its write. ``looks_at_server``: asks it for open transactions.
    ``reuses_number``: another socket gets the number of one that is closed while somebody waits on it.
    """

    sentence: str
    expected: str
    shows: str
    observed: str
    after: Any = None
    watched: str = ""
    looks_at_server: bool = False
    hangs: bool = False
    reuses_number: bool = False


def of(line: Mapping[str, Any]) -> Symptom:
    """The symptom of the deciding violation, or of the next one that a script can see. Raises NotWritten."""
    reason = re.sub(r"^(\d+ of \d+ programs|postgres|mariadb|sqlite): ", "", str(line.get("reason") or ""))
    sentences = [reason, *(str(v.get("sentence")) for v in line.get("violations") or [])]
    history = line["evidence"]["history"]
    for sentence in sentences:
        for pattern, make in KINDS:
            found = re.search(pattern, sentence, re.DOTALL)
            made = make(found, sentence, history, line) if found else None
            if made is not None:
                return made
    if sentences[0].startswith("the event loop reported"):
        raise NotWritten(f"nobody but a loop that a thread has left behind is told of it: {sentences[0]}")
    raise NotWritten(f"what decides is seen on the wire only: {sentences[0]}")


def _operations(history: list[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """Each operation's question, with ``told`` added: the line that answers it, or None."""
    for event in history:
        if event["event"] == "invoke":
            answer = next((e for e in history if e.get("operation") == event["operation"] and e is not event), None)
            yield {**event, "told": answer}


def _after(operation: Mapping[str, Any]) -> Any:
    return operation["operation"] if str(operation["session"]).startswith(AFTER) else None


def _key(operation: Mapping[str, Any]) -> str:
    """The name under which the script keeps what was told."""
    if operation["what"] == "begin" and "never end it" not in operation["text"]:
        return f"begin {operation['block']}"
    return name_of(operation)


def _wrong_answer(found: re.Match[str], sentence: str, history: Any, line: Any) -> Symptom | None:
    wrong = [
        o
        for o in _operations(history)
        if o["what"] == "read" and o["session"] == found["who"] and found["nonce"] in str(o["text"]) and o["told"]
    ]
    if not wrong:
        return None
    key, value = _told(wrong[0]), short(found["nonce"])
    return Symptom(
        short(sentence),
        f"{found['who']}, who asks for {value}, is given {value} or an error",
        f"isinstance({key}, str) and {key} not in ({quoted(value)}, NOTHING)",
        _said(f"{found['who']} asked for {value} and was given", key),
        _after(wrong[0]),
    )


def _error(found: re.Match[str], sentence: str, history: Any, line: Any) -> Symptom | None:
    groups = found.groupdict()
    text = groups.get("text")
    for operation in _operations(history):
        told = operation["told"]
        if operation["session"] != groups.get("who", AFTER) or told is None or told["event"] != "error":
            continue
        if text is None or text == str(operation["text"]):
            key, kind = _told(operation), str(told["error"]["type"]).rsplit(".", 1)[-1]
            what = short(operation["text"])
            return Symptom(
                short(sentence),
                f"{operation['session']} can {what}{', or sees an error of its own' * ('was shown' in sentence)}",
                f"type({key}).__name__ == {quoted(kind)}",
                _said(f"{operation['session']} tried to {what}:", key),
                _after(operation),
            )
    return None


def _refused(found: re.Match[str], sentence: str, history: Any, line: Any) -> Symptom | None:
    """Refused where more is promised: it is the error itself that shows."""
    for operation in _operations(history):
        told = operation["told"]
        if told is not None and told["event"] == "error" and told["error"]["type"] == found["type"]:
            text = f"{operation['session']} had done nothing wrong and failed to {operation['text']}: x"
            pattern = r"^(?P<who>.+?) had done nothing wrong and failed to (?P<text>.+?): \S"
            again = re.search(pattern, text, re.DOTALL)
            return _error(again, sentence, history, line) if again else None
    return None


def _told(operation: Mapping[str, Any]) -> str:
    """What a task was told, as an expression; None where it never asked."""
    return f"told.get({quoted(_key(operation))})"


def _said(words: str, *expressions: str) -> str:
    """Arguments of ``print``: words, then what the script has seen."""
    return ", ".join([quoted(words), *(f"repr({each})" for each in expressions)])


STORED = ', "stored are:", rows'


def _lost(found: re.Match[str], sentence: str, history: Any, line: Any) -> Symptom | None:
    write = _write(history, found["token"])
    if write is None:
        return None
    token = short(found["token"])
    ours = [o for o in _operations(history) if _after(o) is None]
    commits = [_key(o) for o in ours if o["what"] == "commit" and o["told"] and o["told"]["event"] == "ok"]
    keys = [_key(write), *(commits if write["block"] else [])]
    return Symptom(
        short(sentence),
        f"row {token}, which {write['session']} was told is written, is stored",
        " and ".join([f"well({quoted(key)})" for key in keys] + [f"{quoted(token)} not in rows"]),
        _said(f"{write['session']} was told that its row {token} is written;") + STORED,
        _after(write),
    )


def _stored(found: re.Match[str], sentence: str, history: Any, line: Any) -> Symptom | None:
    write = _write(history, found["token"])
    if write is None:
        return None
    token, key = short(found["token"]), _key(write)
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
        short(sentence),
        f"row {token}, of which {write['session']} was told that it failed, is not stored",
        f"{shows} and {quoted(token)} in rows",
        _said(f"{write['session']} was told that {what}", f"told.get({quoted(key)})") + STORED,
        _after(write),
    )


def _setting(found: re.Match[str], sentence: str, history: Any, line: Any) -> Symptom | None:
    looks = [o for o in _operations(history) if o["what"] == "probe" and o["session"] == found["who"]]
    if not looks:
        return None
    key = _told(looks[0])
    return Symptom(
        short(sentence),
        f"{found['who']} finds the setting as in a new session",
        f"{quoted(found['value'])} in map(str, {key} or ())",
        _said(f"{found['who']} looked at the setting and found", key),
        _after(looks[0]),
    )


def _swallowed(found: re.Match[str], sentence: str, history: Any, line: Any) -> Symptom | None:
    task = f"tasks[{quoted(found['who'])}]"
    return Symptom(
        short(sentence),
        f"{found['who']}, whose task is cancelled, ends with CancelledError",
        f"{task}.cancelling() and {task}.done() and not {task}.cancelled()",
        _said(f"{found['who']} was cancelled and ended as", task),
    )


def _sent(found: re.Match[str], sentence: str, history: Any, line: Any) -> Symptom | None:
    write = _write(history, found["token"])
    if write is None:
        return None
    token, key = short(found["token"]), _key(write)
    return Symptom(
        short(sentence),
        f"row {token}, whose write was cancelled before anything was sent, is not stored",
        f"failed({quoted(key)}) and {quoted(token)} in rows",
        _said(f"{write['session']} was told that the write of {token} is cancelled:", f"told.get({quoted(key)})")
        + STORED,
    )


def _early(found: re.Match[str], sentence: str, history: Any, line: Any) -> Symptom | None:
    write = _write(history, found["token"])
    if write is None:
        return None
    token = short(found["token"])
    return Symptom(
        short(sentence),
        f"nobody else sees row {token} before its transaction commits",
        f"seen.get({quoted(token)}, False)",
        _said(f"whether another connection saw row {token} before the commit:", f"seen.get({quoted(token)})"),
        _after(write),
        watched=token,
    )


def _unseen(found: re.Match[str], sentence: str, history: Any, line: Any) -> Symptom | None:
    write = _write(history, found["token"])
    if write is None:
        return None
    token = short(found["token"])
    return Symptom(
        short(sentence),
        f"row {token} is visible when {write['session']} has been told that it is written",
        f"well({quoted(_key(write))}) and not seen.get({quoted(token)}, True)",
        _said(f"whether another connection saw row {token} then:", f"seen.get({quoted(token)})"),
        _after(write),
        watched=token,
    )


def _write(history: Any, token: str) -> Mapping[str, Any] | None:
    return next((o for o in _operations(history) if o["what"] == "write" and token in str(o["text"]).split()), None)


def _hang(found: re.Match[str], sentence: str, history: Any, line: Any) -> Symptom | None:
    # psycopg looks again every 0.1 s and would see that its socket is closed, were the number not another's by then.
    reuses = "psycopg/waiting.py" in sentence and "clock changed nothing" in sentence
    if reuses and not line["evidence"]["setup"].get("pools"):
        raise NotWritten("it waits on the number of a closed socket, which another one has got: no order decides that")
    waiting, sessions = [], set()
    for operation in _operations(history):
        if operation["told"] is None and operation["session"] not in sessions and not _waited(operation, history):
            waiting.append(operation)  # what a task asks behind that is the run being taken down
            sessions.add(operation["session"])
    if not waiting:
        return None
    ours = [o for o in waiting if _after(o) is None] or waiting[:1]
    keys = [f"told.get({quoted(_key(o))}) is NOTHING" for o in ours]
    names = ", ".join(str(o["session"]) for o in ours)
    return Symptom(
        short(sentence),
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
    if not before or before[-1].get("what") != "wait":
        return False
    names = str(before[-1]["text"]).removeprefix("waits for the end of ").removeprefix("waits for ").split(", ")
    ended = {e["session"] for e in history if e["event"] == "end"}
    return any(name not in ended for name in names)


def _open(found: re.Match[str], sentence: str, history: Any, line: Any) -> Symptom | None:
    if "ReadyForQuery" not in str(line["evidence"]["frames"]):
        return None  # only PostgreSQL tells everybody who is in a transaction
    return Symptom(
        short(sentence),
        "afterwards no transaction is open",
        "open_transactions > 0",
        '"connections that the server says are idle in a transaction:", open_transactions',
        looks_at_server=True,
    )


def _opened(found: re.Match[str], sentence: str, history: Any, line: Any) -> Symptom | None:
    most = int(found["size"]) * len(line["evidence"]["setup"]["orm"]["aliases"])
    return Symptom(
        short(sentence),
        f"no more than {most} connections are opened",
        f"len(held) > {most}",
        '"connections that were opened:", len(held)',
    )


Kind = Callable[[re.Match[str], str, Any, Any], "Symptom | None"]
KINDS: tuple[tuple[str, Kind], ...] = (
    (r"^(?P<who>.+) asked for (?P<nonce>\S+) and was given", _wrong_answer),
    (r"row (?P<token>w-\S+) is lost\.$", _lost),
    (r"row (?P<token>w-\S+) is stored\.$", _stored),
    (r"row (?P<token>w-\S+) was visible to others before", _early),
    (r"told that row (?P<token>w-\S+) is written, .*nobody else can see", _unseen),
    (r"^(?P<who>.+?) was shown the error that ", _error),
    (r"^(?P<who>.+?) got an internal error while it tried to (?P<text>.+?): \S", _error),
    (r"^(?P<who>.+?) had done nothing wrong and failed to (?P<text>.+?): \S", _error),
    (r"^afterwards the next user failed to (?P<text>.+?): \S", _error),
    (r"^(?P<who>.+?) was cancelled and (?:saw|ended with) ", _error),
    (r"^(?P<who>.+?) found the setting '(?P<value>\w+)' that ", _setting),
    (r"^(?P<who>.+?) was cancelled, and its cancellation was swallowed", _swallowed),
    (r"^(?P<who>.+?) was cancelled before anything was sent; (?P<token>w-\S+) was sent later", _sent),
    (r"can never go on", _hang),
    (r"^refused: (?P<type>[\w.]+): ", _refused),
    (r"^two connections of (?P<size>\d+) at most opened \d+", _opened),
    (r"^afterwards the server still has a transaction open", _open),
)

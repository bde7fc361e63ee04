"""The sequence diagram of one run: inline SVG drawn from what a result line recorded, and from nothing else.

Columns are the tasks, the connections and the database; time goes down. The text of the same run stands on the
evidence page as the history, so the drawing may leave things out, and says so where it does.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import takewhile
from typing import Any

from matrix.harness.sentences import AFTER, NEXT_USER, in_pieces
from matrix.report.drawing import DATABASE, DiagramRow, draw
from matrix.report.loose import items, mapping, objects
from matrix.results.text import one_line

TASKS = 6  # more tasks than this share a column
OVERLAPS = 3  # of these in the folded middle are kept
ROWS = 80  # more rows than this are folded in the middle
SENTENCES = 10  # final words at most
DRIVER, OTHERS = "driver", "other tasks"
ANSWERS = ("ok", "error", "cancelled")
ROW_KINDS = ("Row", "DataRow", "ERR", "ErrorResponse")
ASKS = ("Query", "Parse", "Bind", "request")  # and COM_…: what a connection is for, once it is logged in
UNHEARD = ("ok", "unknown")  # outcome and fate of a write
LET_THROUGH = "let through: "  # begins the label of a delivery
OF_THE_TIME_AFTER = ("next_user_failed", "transaction_open")  # findings that only the next user shows


@dataclass
class _Run:
    """The recorded evidence while rows are made of it."""

    tasks: list[str]
    wires: dict[str, str]  # wire number -> name of its column
    wire_of: dict[str, str] = field(default_factory=dict)  # session -> the connection it last used
    logged_in: set[str] = field(default_factory=set)
    next_user: bool = False  # whether the next user has come


def diagram(line: Mapping[str, Any]) -> str:
    """Inline SVG of a result line's recorded run, or an empty text when nothing was recorded.

    ``line`` is a scenario line, or one of a remedy's ``cures`` entries with ``scenario`` and ``title`` added. All text
    in it is escaped; the same line gives the same SVG. It is as wide as it needs: put it where it can scroll sideways
    (``<div class="scroll" role="region" tabindex="0" aria-label="…">``).
    """
    evidence = line.get("evidence")
    if not isinstance(evidence, Mapping):
        return ""
    rows, columns = _story(evidence, _innermost(line.get("finding")))
    if not rows:
        return ""
    words = _final_words(evidence)
    name = f"Sequence diagram of {line.get('scenario') or 'a run'}: {line.get('verdict') or 'no verdict'}"
    return draw(columns, _bounded(rows), words, name)


# -- from evidence to rows -------------------------------------------------------------------------------------------


def _innermost(finding: Any) -> Mapping[str, Any]:
    """What decides, without how often or where it was seen; empty where a result has no facts."""
    while inner := mapping(mapping(finding).get("finding")):
        finding = inner
    return mapping(finding)


def _spoken_of(finding: Mapping[str, Any]) -> set[str]:
    """The tasks that a finding is about."""
    waiting = [each.get("task") for each in objects(finding.get("waiting"))]
    names = [finding.get("session"), finding.get("owner"), *items(finding.get("sessions")), *waiting]
    return {_text(name) for name in names if name}


def _fact(event: Mapping[str, Any]) -> Mapping[str, Any]:
    """What an event or a step says, as data; empty in older results."""
    return mapping(event.get("fact"))


def _story(evidence: Mapping[str, Any], finding: Mapping[str, Any]) -> tuple[list[DiagramRow], list[str]]:
    events, spoken_of = _events(evidence), _spoken_of(finding)
    run = _Run(_tasks(events, spoken_of), _wires(evidence, events))
    happened, left_out = _rows(events, run), False
    if finding.get("kind") in OF_THE_TIME_AFTER or any(name.startswith(AFTER) for name in spoken_of):
        rows = _compressed(_marked_after(happened))
    else:
        before = list(takewhile(lambda row: not row.after, happened))
        rows, left_out = _compressed(before), run.next_user
    rows += _waiting(mapping(evidence.get("hang")), run)
    if left_out:
        rows.append(_folded(f"afterwards: {NEXT_USER}'s questions are left out, the history below has them"))
    used = {name for row in rows for name in (row.left, row.right)}
    lifelines = [*run.tasks, *dict.fromkeys(run.wires.values()), DATABASE]
    return rows, [name for name in lifelines if name in used]


def _marked_after(rows: Iterable[DiagramRow]) -> list[DiagramRow]:
    """Whatever happens once the next user has come belongs to the time afterwards, frames too."""
    made: list[DiagramRow] = []
    for row in rows:
        made.append(row._replace(after=True) if made and made[-1].after and not row.after else row)
    return made


def _compressed(rows: Sequence[DiagramRow]) -> list[DiagramRow]:
    """A run of requests that were answered one by one (a driver's own set-up) is one arrow and its last request."""
    plain = _let_through(rows)
    made: list[DiagramRow] = []
    at = 0
    while at < len(plain):
        pairs = 0
        while _is_pair(plain, at + 2 * pairs, plain[at]):
            pairs += 1
        if pairs > 2:
            folded = at + 2 * (pairs - 1)
            text = f"{pairs - 1} requests, each answered: {plain[at].text} … {plain[folded - 2].text}"
            made.append(plain[at]._replace(text=text, marks=("quiet",)))
            at = folded
        made.append(plain[at])
        at += 1
    return made


def _let_through(rows: Sequence[DiagramRow]) -> list[DiagramRow]:
    """Rows in which each delivery says which held answer it is, as far as that is certain. An answer that was let
    through at once, with no other one before it, was not held for anything."""
    if not any("held" in row.marks for row in rows):
        return list(rows)
    made: list[DiagramRow] = []
    waiting: dict[str, list[DiagramRow]] = {}  # held answers per connection, oldest first
    for row in rows:
        queue = waiting.setdefault(row.left if row.delivers else row.right, [])
        if "held" in row.marks:
            queue.append(row)
        elif row.delivers and queue:
            oldest = queue.pop(0)
            if row.ends != oldest.ends:
                queue.clear()  # one arrow held more than one answer: from here on the steps' own words must do
            elif made[-1] is oldest:
                made[-1] = oldest._replace(marks=tuple(mark for mark in oldest.marks if mark != "held"), tag="")
                continue
            else:
                row = row._replace(text=LET_THROUGH + oldest.text)
        made.append(row)
    return made


def _is_pair(rows: Sequence[DiagramRow], at: int, first: DiagramRow) -> bool:
    """A request at this place and its answer on one connection with nothing in between."""
    if at + 1 >= len(rows):
        return False
    asked, answered = rows[at], rows[at + 1]
    if asked.marks or answered.marks or asked.after != first.after:
        return False
    return asked.right == answered.left == DATABASE and asked.left == answered.right == first.left


def _events(evidence: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """History, frames and deliveries in the order in which they happened; older results do not say when steps were."""
    made: list[tuple[str, Mapping[str, Any]]] = [("history", event) for event in objects(evidence.get("history"))]
    made += [("frame", frame) for frame in objects(evidence.get("frames"))]
    made += [("step", step) for step in objects(evidence.get("steps")) if "at" in step and _delivers(step)]
    positions: list[Any] = [event.get("at", event.get("n")) for _, event in made]
    if any(not isinstance(position, int) for position in positions):
        clock = [event.get("ms") for _, event in made]
        positions = [at if isinstance(at, (int, float)) else 0 for at in clock]
    return [made[index] for index in sorted(range(len(made)), key=positions.__getitem__)]


def _delivers(step: Mapping[str, Any]) -> bool:
    return _fact(step).get("kind") == "deliver"


def _tasks(events: Iterable[tuple[str, Mapping[str, Any]]], spoken_of: set[str]) -> list[str]:
    """The columns of the tasks; of a crowd the first ones and those that the finding is about keep their own."""
    named = [_text(e.get("session")) for kind, e in events if kind == "history" and e.get("session")]
    tasks = list(dict.fromkeys(name for name in named if name != "event loop"))
    if len(tasks) <= TASKS:
        return tasks
    kept = sorted(tasks, key=lambda name: name not in spoken_of)[: TASKS - 1]
    return [*(name for name in tasks if name in kept), OTHERS]


def _wires(evidence: Mapping[str, Any], events: Iterable[tuple[str, Mapping[str, Any]]]) -> dict[str, str]:
    """The name of each wire as the steps call it (``connection 1``, ``worker 1``)."""
    said = [_fact(step) for step in objects(evidence.get("steps")) if _delivers(step)]
    by_number = {_text(fact.get("wire")): _text(fact.get("channel")) for fact in said}
    wires = list(dict.fromkeys(_text(e.get("wire")) for kind, e in events if kind == "frame"))
    worker = "worker" if any(fact.get("worker") for fact in said) else "connection"
    return {wire: by_number.get(wire, f"{worker} {wire}") for wire in wires}


def _rows(events: Sequence[tuple[str, Mapping[str, Any]]], run: _Run) -> Iterator[DiagramRow]:
    index = 0
    while index < len(events):
        kind, event = events[index]
        if kind == "frame":
            frames = _together(events, index, run)
            yield _frames(frames, run)
            index += len(frames)
            continue
        if kind == "step":
            yield _delivery(event, run)
        else:
            row = _happening(events, index, run)
            if row is not None:
                yield row
        index += 1


def _together(events: Sequence[tuple[str, Mapping[str, Any]]], start: int, run: _Run) -> list[Mapping[str, Any]]:
    """The frames from here on that are one arrow: same connection, same way; or one login."""
    first = events[start][1]
    frames, wire, direction = [first], first.get("wire"), _direction(first)
    login = _text(wire) not in run.logged_in and not _is_ask(first)
    for kind, frame in events[start + 1 :]:
        if kind != "frame" or frame.get("wire") != wire:
            break
        if _is_ask(frame) if login else _direction(frame) != direction:
            break
        frames.append(frame)
    return frames


def _direction(frame: Mapping[str, Any]) -> tuple[Any, bool, bool]:
    return frame.get("direction"), bool(frame.get("held")), bool(frame.get("overlap"))


def _is_ask(frame: Mapping[str, Any]) -> bool:
    kind = str(frame.get("kind"))
    return frame.get("direction") == "->" and (kind in ASKS or kind.startswith("COM_"))


def _frames(frames: list[Mapping[str, Any]], run: _Run) -> DiagramRow:
    first = frames[0]
    wire = _text(first.get("wire"))
    column = run.wires.get(wire, DRIVER)
    if wire not in run.logged_in and not _is_ask(first):
        what = f"log in ({len(frames)} frames)" if len(frames) > 1 else _text(first.get("kind"))
        return DiagramRow(column, DATABASE, what, ("quiet",))
    run.logged_in.add(wire)
    marks, tag = [], []
    if first.get("overlap"):
        marks.append("overlap")
        tag.append("OVERLAP: another answer is due")
    if first.get("held"):
        marks.append("held")
        tag.append("held")
    ends = (column, DATABASE) if first.get("direction") == "->" else (DATABASE, column)
    outermost = tuple(_text(frame.get("kind")) for frame in (first, frames[-1]))
    if outermost[0] in ("answer", "error"):  # a worker's: its steps name the request, not the kind
        outermost = (_text(first.get("text")),) * 2
    return DiagramRow(*ends, _summary(frames), tuple(marks), ", ".join(tag), ends=outermost)


def _summary(frames: list[Mapping[str, Any]]) -> str:
    texts = [text for frame in frames if (text := _text(frame.get("text")))]
    if frames[0].get("direction") == "->":
        said = texts[0] if texts else _text(frames[0].get("kind"))
        return said if len(frames) == 1 else f"{said} ({len(frames)} frames)"
    if len(frames) == 1:
        kind = _text(frames[0].get("kind"))
        return f"{kind} {texts[0]}".strip() if texts else kind
    rows = [_text(frame.get("text")) for frame in frames if frame.get("kind") in ROW_KINDS]
    inside = f": {', '.join(filter(None, rows))}" if any(rows) else ""
    return f"answer ({len(frames)} frames){inside}"


def _delivery(step: Mapping[str, Any], run: _Run) -> DiagramRow:
    fact = _fact(step)
    pieces = [{"text": "", **piece, "kind": _text(piece.get("kind"))} for piece in objects(fact.get("pieces"))]
    kinds = [piece["kind"] for piece in pieces]
    last = "" if fact.get("ends") and len(kinds) > 1 else kinds[-1] if kinds else ""
    column = run.wires.get(_text(fact.get("wire")), _text(fact.get("channel")))
    text = LET_THROUGH + _text(in_pieces({"pieces": pieces, "ends": bool(fact.get("ends"))}))
    return DiagramRow(column, "", text, ("note",), ends=(kinds[0] if kinds else "", last), delivers=True)


def _happening(events: Sequence[tuple[str, Mapping[str, Any]]], at: int, run: _Run) -> DiagramRow | None:
    """A line of the history: a question, an answer, or a word on the task's own lifeline."""
    event = events[at][1]
    session, kind, text = _text(event.get("session")), _text(event.get("event")), _text(event.get("text"))
    fact, after = _fact(event), session.startswith(AFTER)
    run.next_user = run.next_user or after
    if session == "event loop" or not session:
        column = run.tasks[0] if run.tasks else DATABASE
        return DiagramRow(column, "", f"event loop: {text}", ("note", "bad"), after=after)
    task = session if session in run.tasks else OTHERS
    whose = f"{session}: " if task == OTHERS else ""
    if kind == "invoke":
        wire = _next_wire(events, at, run.wire_of.get(session, ""))
        if not wire:
            return DiagramRow(task, "", f"{whose}asks: {text}", ("note",), after=after)
        run.wire_of[session] = wire
        return DiagramRow(task, _column(run, session), f"{whose}{text}", ("ask",), after=after)
    if kind in ANSWERS and event.get("operation") is not None:
        said, bad = _reported(event, kind, text)
        marks = ("told", "bad") if bad else ("told",)
        return DiagramRow(_column(run, session), task, f"{whose}{said}", marks, after=after)
    if fact.get("kind") == "start":
        child = _text(fact.get("session"))
        return DiagramRow(task, child if child in run.tasks else OTHERS, text, ("ask",), after=after)
    text = "fails on purpose" if fact.get("own") else text
    failed = fact.get("kind") == "ended" and bool(fact.get("error")) and not fact.get("own")
    marks = ("note", "bad") if kind in ("error", "cancelled") or failed else ("note",)
    return DiagramRow(task, "", f"{whose}{'is told: ' if kind == 'told' else ''}{text}", marks, after=after)


def _reported(event: Mapping[str, Any], kind: str, text: str) -> tuple[str, bool]:
    """What a task is told, and whether that is bad news or another's answer."""
    error = event.get("error")
    if kind == "error" and isinstance(error, Mapping):
        return f"{_text(error.get('type')).rsplit('.', 1)[-1]}: {_text(error.get('message'))}", True
    if kind == "cancelled":
        return f"CancelledError ({text})", True
    if event.get("result") is None:
        return f"done: {text}", False
    given, asked = _text(event["result"]), _text(_asked(_fact(event)))
    wrong = event.get("what") == "read" and given != asked
    return f"is given {given}{f' and had asked for {asked}' if wrong else ''}", wrong


def _asked(fact: Mapping[str, Any]) -> Any:
    """The row that a question's answer is; of several the first."""
    return fact["row"] if "row" in fact else next(iter(items(fact.get("rows"))), None)


def _next_wire(events: Sequence[tuple[str, Mapping[str, Any]]], asked: int, last: str) -> str:
    """The connection on which this question goes out: that of the next frame, unless another question comes first."""
    for at in range(asked + 1, len(events)):
        kind, event = events[at]
        if kind == "frame" and event.get("direction") == "->":
            return _text(event.get("wire"))
        if kind == "history" and event.get("event") == "invoke":
            break
    return last


def _column(run: _Run, session: str) -> str:
    wires = list(run.wires.values())
    return run.wires.get(run.wire_of.get(session, ""), wires[0] if wires else DATABASE)


def _waiting(hang: Mapping[str, Any], run: _Run) -> Iterator[DiagramRow]:
    names = [_text(task.get("task")) for task in objects(hang.get("waiting"))]
    others = [name for name in names if name not in run.tasks] if OTHERS in run.tasks else []
    for name in names:
        if name not in others:
            yield DiagramRow(name if name in run.tasks else "", "", f"∞ {name} waits for ever", ("note", "bad"))
    if others:
        yield DiagramRow(OTHERS, "", f"∞ {len(others)} wait for ever: {', '.join(others)}", ("note", "bad"))


def _final_words(evidence: Mapping[str, Any]) -> list[tuple[str, bool]]:
    """What each writer was told against what is stored, and whether the two contradict each other."""
    witness = mapping(evidence.get("witness"))
    stored = {_text(row) for row in items(witness.get("rows"))}
    expected = {_text(row) for row in items(witness.get("expected"))}
    words: list[tuple[str, bool]] = []
    readings = objects(witness.get("readings"))
    for at, sentence in enumerate(items(witness.get("sentences"))):
        reading = readings[at] if at < len(readings) else {}
        # Of the second one the writer was not told how its transaction ended.
        unknown = reading.get("outcome") == "cancelled" or (reading.get("outcome"), reading.get("fate")) == UNHEARD
        odd = _text(reading.get("row")) in stored ^ expected and not unknown
        if odd or not reading.get("after"):
            words.append((_text(sentence), odd))
    words.sort(key=lambda word: not word[1])
    left_out = len(words) - SENTENCES
    return words[:SENTENCES] + ([(f"and {left_out} more", False)] if left_out > 0 else [])


_one_line = lru_cache(maxsize=8192)(one_line)  # the same statements and answers come again and again


def _text(value: Any) -> str:
    if isinstance(value, str):
        return _one_line(value)
    if type(value) is int:
        return str(value)
    return "" if value is None else one_line(value)


def _bounded(rows: list[DiagramRow]) -> list[DiagramRow]:
    """At most ROWS rows: the middle is folded, but for what went wrong and the first overlaps."""
    if len(rows) <= ROWS:
        return rows
    shown_rows = [row for row in rows if row.marks or row.left != DATABASE]
    if len(shown_rows) < len(rows):  # what the database answers at once is the least that can be missed
        note = f"{len(rows) - len(shown_rows)} answers that came at once are left out"
        return _bounded([_folded(note), *shown_rows])
    head, tail = ROWS // 3, ROWS // 5
    middle = range(head, len(rows) - tail)
    bad = [at for at in middle if "bad" in rows[at].marks]
    overlaps = [at for at in middle if "overlap" in rows[at].marks]
    limit = (ROWS - head - tail) // 2  # before each of them there may be a fold
    kept = sorted({*bad[: limit - 2], *overlaps[:OVERLAPS]})[:limit]
    made, before = rows[:head], head
    for at in [*kept, len(rows) - tail]:
        if at > before:
            made.append(_folded(f"{at - before} rows are left out here; the history below has them all"))
        made += [rows[at]] if at in kept else []
        before = at + 1
    return [*made, *rows[-tail:]]


def _folded(text: str) -> DiagramRow:
    return DiagramRow("", "", text, ("fold",))

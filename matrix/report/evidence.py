"""Evidence as the pages show it: the history in lanes, frames, the witness against what the tasks were told.

Every part of the evidence may be missing or odd; what is here is shown, nothing is required.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from matrix.report.loose import items, mapping, objects

LANES_AT_MOST = 6
ENCODER = json.JSONEncoder(ensure_ascii=False, default=str)
ANSWERS = ("ok", "error", "cancelled")
VERBS = {
    "invoke": "asks",
    "ok": "done:",
    "error": "fails:",
    "cancelled": "is cancelled:",
    "begin": "begins",
    "end": "ends",
    "told": "is told:",
    "note": "",
}
# Facts whose sentence begins with the kind of the operation, so that it need not be said twice.
BEGIN_WITH_THEIR_KIND = {"read", "write", "look", "acquire", "close", "close_pool", "close_all", "begin"}
BEGIN_WITH_THEIR_KIND |= {"begin_and_forget", "commit", "rollback", "leave"}


class ShownEvent(NamedTuple):
    """One line of the history. ``waiting`` holds, per lane, whether a question of that session is open."""

    kind: str
    verb: str
    ms: str
    session: str
    lane: int | None
    operation: str
    what: str
    text: str
    block: str
    result: str | None
    error: dict[str, str] | None
    waiting: tuple[bool, ...]

    @property
    def style(self) -> str:
        return self.kind if self.kind in VERBS else "note"


@dataclass(frozen=True)
class Lanes:
    """A part of the history in which the same sessions act; later parts are those of other sessions."""

    sessions: tuple[str, ...]
    events: tuple[ShownEvent, ...]

    @property
    def beside(self) -> bool:
        """Whether there are few enough sessions to have a column each."""
        return 0 < len(self.sessions) <= LANES_AT_MOST


class Reading(NamedTuple):
    """One row of the witness or of what was expected; ``alone`` when the other side has no such row."""

    text: str
    alone: bool


@dataclass(frozen=True)
class ShownEvidence:
    """The evidence of one run of a scenario, ready to be shown."""

    history: tuple[Lanes, ...] = ()
    frames: tuple[dict[str, Any], ...] = ()
    exceptions: tuple[dict[str, Any], ...] = ()
    steps: tuple[dict[str, Any], ...] = ()
    program: str = ""
    witness: bool = False
    rows: tuple[Reading, ...] = ()
    expected: tuple[Reading, ...] = ()
    sentences: tuple[str, ...] = ()
    aftermath: tuple[dict[str, Any], ...] = ()
    hang: dict[str, Any] = field(default_factory=dict)
    loop_errors: tuple[str, ...] = ()

    @property
    def overlapping(self) -> int:
        return sum(1 for frame in self.frames if frame.get("overlap"))


def read(raw: Any) -> ShownEvidence:
    """The evidence out of a result line; whatever is absent is empty."""
    if not isinstance(raw, Mapping):
        return ShownEvidence()
    witness = mapping(raw.get("witness"))
    rows, expected = ([shown(row) for row in items(witness.get(key))] for key in ("rows", "expected"))
    parts = [(part, _sessions(part)) for part in _parts(tuple(objects(raw.get("history"))))]
    return ShownEvidence(
        history=tuple(Lanes(sessions, _events(part, sessions)) for part, sessions in parts),
        frames=tuple(objects(raw.get("frames"))),
        exceptions=tuple(objects(raw.get("exceptions"))),
        steps=tuple(objects(raw.get("steps"))),
        program=str(raw.get("program") or ""),
        witness=isinstance(raw.get("witness"), Mapping),
        rows=_alone(rows, expected),
        expected=_alone(expected, rows),
        sentences=tuple(str(item) for item in items(witness.get("sentences"))),
        aftermath=tuple(objects(raw.get("aftermath"))),
        hang=_hang(raw.get("hang")),
        loop_errors=tuple(shown(item) for item in items(raw.get("loop_errors"))),
    )


def shown(value: Any) -> str:
    """A value as text: texts as they are, everything else as JSON on one line."""
    if isinstance(value, str):
        return value
    return str(value) if type(value) is int else ENCODER.encode(value)


def milliseconds(value: Any) -> str:
    return f"{value:.1f}" if isinstance(value, (int, float)) else ""


def _text(value: Any) -> str:
    return value if type(value) is str else "" if value is None else shown(value)


def _parts(history: tuple[dict[str, Any], ...]) -> list[tuple[dict[str, Any], ...]]:
    """The history, cut where all sessions so far are over and others begin: what came afterwards stands below."""
    if len(_sessions(history)) < 3:
        return [history] if history else []
    last = {_text(event.get("session")): at for at, event in enumerate(history) if event.get("event") != "note"}
    cuts, end = [0], 0
    for at, event in enumerate(history):
        if event.get("event") == "note":
            continue
        if at > end and at > 0:
            cuts.append(at)
        end = max(end, last[_text(event.get("session"))])
    return [history[start:stop] for start, stop in zip(cuts, [*cuts[1:], len(history)], strict=True)]


def _sessions(history: tuple[dict[str, Any], ...]) -> tuple[str, ...]:
    """Who acts; whoever only notes something (the event loop) gets no column."""
    named = (_text(event.get("session")) for event in history if event.get("event") != "note")
    return tuple(dict.fromkeys(name for name in named if name))


def _events(history: tuple[dict[str, Any], ...], sessions: tuple[str, ...]) -> tuple[ShownEvent, ...]:
    """The history with, for every lane, whether its session waits for an answer at that moment."""
    open_now: dict[str, set[str]] = {name: set() for name in sessions}
    lanes = {name: lane for lane, name in enumerate(sessions)}
    waiting = (False,) * len(sessions)
    events = []
    for number, raw in enumerate(history):
        session, kind = _text(raw.get("session")), str(raw.get("event") or "note")
        operation, block = _text(raw.get("operation")), _text(raw.get("block"))
        what, text = _text(raw.get("what")), _text(raw.get("text"))
        key = operation or f"event {number}"
        if kind == "invoke" and session in open_now:
            open_now[session].add(key)
            waiting = tuple(map(bool, open_now.values()))
        elif kind in ANSWERS and session in open_now:
            open_now[session].discard(key)
            waiting = tuple(map(bool, open_now.values()))
        fact = raw["fact"] if isinstance(raw.get("fact"), dict) else {}
        verb = "" if kind == "end" else VERBS.get(kind, kind)
        what = "" if fact.get("kind") in BEGIN_WITH_THEIR_KIND else what
        block = "" if kind in ANSWERS or block == fact.get("block") else block
        result = shown(raw["result"]) if kind == "ok" and raw.get("result") is not None else None
        error = raw.get("error")
        error = {key: _text(item) for key, item in error.items()} if isinstance(error, dict) else None
        ms, lane = milliseconds(raw.get("ms")), lanes.get(session)
        events.append(ShownEvent(kind, verb, ms, session, lane, operation, what, text, block, result, error, waiting))
    return tuple(events)


def _alone(own: list[str], other: list[str]) -> tuple[Reading, ...]:
    """One side, each row marked when the other one lacks it; a row that is there twice counts twice."""
    rest, readings = list(other), []
    for text in own:
        if text in rest:
            rest.remove(text)
            readings.append(Reading(text, alone=False))
        else:
            readings.append(Reading(text, alone=True))
    return tuple(readings)


def _hang(raw: Any) -> dict[str, Any]:
    if not isinstance(raw, Mapping):
        return {}
    return {
        "proof": _text(raw.get("proof")),
        "text": _text(raw.get("text")),
        "waiting": [{key: _text(item) for key, item in task.items()} for task in objects(raw.get("waiting"))],
        "connections": [_text(item) for item in items(raw.get("connections"))],
    }

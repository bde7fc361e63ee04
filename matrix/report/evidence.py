"""Evidence as the pages show it: the history in lanes, frames, the witness against what the tasks were told.

Every part of the evidence may be missing or odd; what is here is shown, nothing is required.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

LANES_AT_MOST = 6
SAID = {
    "invoke": "asks",
    "ok": "is told",
    "error": "gets an error",
    "cancelled": "is cancelled",
    "begin": "begins",
    "end": "ends",
    "note": "",
}


@dataclass(frozen=True)
class Event:
    """One line of the history. ``waiting`` holds, per lane, whether a question of that session is open."""

    kind: str
    said: str
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
    overlaps: bool


@dataclass(frozen=True)
class Reading:
    """One row of the witness or of what was expected; ``alone`` when the other side has no such row."""

    text: str
    alone: bool


@dataclass(frozen=True)
class Evidence:
    """The evidence of one run of a scenario, ready to be shown."""

    sessions: tuple[str, ...] = ()
    events: tuple[Event, ...] = ()
    frames: tuple[dict[str, Any], ...] = ()
    exceptions: tuple[dict[str, Any], ...] = ()
    steps: tuple[dict[str, Any], ...] = ()
    program: str = ""
    witness: bool = False
    rows: tuple[Reading, ...] = ()
    expected: tuple[Reading, ...] = ()
    server_sessions: tuple[str, ...] = ()
    sentences: tuple[str, ...] = ()
    aftermath: tuple[dict[str, Any], ...] = ()
    hang: dict[str, Any] = field(default_factory=dict)
    loop_errors: tuple[str, ...] = ()

    @property
    def in_lanes(self) -> bool:
        return 0 < len(self.sessions) <= LANES_AT_MOST

    @property
    def overlapping(self) -> int:
        return sum(1 for frame in self.frames if frame.get("overlap"))


def read(raw: Any) -> Evidence:
    """The evidence out of a result line; whatever is absent is empty."""
    if not isinstance(raw, Mapping):
        return Evidence()
    history, witness = _dicts(raw.get("history")), raw.get("witness")
    has_witness = isinstance(witness, Mapping)
    witness = witness if isinstance(witness, Mapping) else {}
    rows, expected = _compared(_list(witness.get("rows")), _list(witness.get("expected")))
    sessions = _sessions(history)
    return Evidence(
        sessions=sessions,
        events=_events(history, sessions),
        frames=tuple({**frame, "ms": milliseconds(frame.get("ms"))} for frame in _dicts(raw.get("frames"))),
        exceptions=_dicts(raw.get("exceptions")),
        steps=_dicts(raw.get("steps")),
        program=str(raw.get("program") or ""),
        witness=has_witness,
        rows=rows,
        expected=expected,
        server_sessions=tuple(shown(item) for item in _list(witness.get("sessions"))),
        sentences=tuple(str(item) for item in _list(witness.get("sentences"))),
        aftermath=_dicts(raw.get("aftermath")),
        hang=_hang(raw.get("hang")),
        loop_errors=tuple(shown(item) for item in _list(raw.get("loop_errors"))),
    )


def shown(value: Any) -> str:
    """A value as text: texts as they are, everything else as JSON on one line."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def milliseconds(value: Any) -> str:
    return f"{value:.1f}" if isinstance(value, (int, float)) else ""


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _dicts(value: Any) -> tuple[dict[str, Any], ...]:
    return tuple(item for item in _list(value) if isinstance(item, dict))


def _text(value: Any) -> str:
    return "" if value is None else shown(value)


def _sessions(history: tuple[dict[str, Any], ...]) -> tuple[str, ...]:
    named = (_text(event.get("session")) for event in history)
    return tuple(dict.fromkeys(name for name in named if name))


def _events(history: tuple[dict[str, Any], ...], sessions: tuple[str, ...]) -> tuple[Event, ...]:
    """The history with, for every lane, whether its session waits for an answer at that moment."""
    open_now: dict[str, set[str]] = {name: set() for name in sessions}
    events = []
    for number, raw in enumerate(history):
        session, kind = _text(raw.get("session")), str(raw.get("event") or "note")
        operation = _text(raw.get("operation"))
        key = operation or f"event {number}"
        others = any(waiting for name, waiting in open_now.items() if name != session)
        if kind == "invoke" and session:
            open_now[session].add(key)
        elif kind in ("ok", "error", "cancelled") and session:
            open_now[session].discard(key)
        error = raw.get("error")
        events.append(
            Event(
                kind=kind,
                said=SAID.get(kind, kind),
                ms=milliseconds(raw.get("ms")),
                session=session,
                lane=sessions.index(session) if session else None,
                operation=operation,
                what=_text(raw.get("what")),
                text=_text(raw.get("text")),
                block=_text(raw.get("block")),
                result=shown(raw["result"]) if kind == "ok" and raw.get("result") is not None else None,
                error={key: _text(item) for key, item in error.items()} if isinstance(error, dict) else None,
                waiting=tuple(bool(open_now[name]) for name in sessions),
                overlaps=kind == "invoke" and others,
            )
        )
    return tuple(events)


def _compared(rows: list[Any], expected: list[Any]) -> tuple[tuple[Reading, ...], tuple[Reading, ...]]:
    """Both sides as text, each row marked when the other side lacks it; a row that is there twice counts twice."""
    left, right = [shown(row) for row in rows], [shown(row) for row in expected]
    return _alone(left, right), _alone(right, left)


def _alone(own: list[str], other: list[str]) -> tuple[Reading, ...]:
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
        "waiting": [{key: _text(item) for key, item in task.items()} for task in _dicts(raw.get("waiting"))],
        "connections": [_text(item) for item in _list(raw.get("connections"))],
    }

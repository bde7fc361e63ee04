"""What a run leaves behind for people to read: a pure conversion of a finished world into plain JSON data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from matrix.lines import Error, Evidence, ExceptionSeen, Frame, Hang, WitnessReading

from .history import ErrorRecord, History, Operation
from .sentences import Fact, sentence

if TYPE_CHECKING:
    from .scenario import Scenario
    from .world import World

FRAMES = 600  # more frames than this are cut in the middle of the list, and the cut is named
TRACEBACK = 6000  # characters of a traceback


def of(world: World, scenario: Scenario) -> Evidence:
    """The evidence of one run; keys as in matrix/results/schema."""
    history, recording = world.history, world.recording
    return {
        "program": scenario.source,
        "declared": world.declared,
        "setup": world.setup,
        "blocks": [{"number": b.number, "name": b.name, "parent": b.parent} for b in history.blocks],
        "steps": [
            step_of(n, token, fact, at=sequence)
            for n, ((token, fact), sequence) in enumerate(
                zip(recording.steps, recording.step_sequences, strict=True), 1
            )
        ],
        "history": [
            {
                "n": line.sequence,
                "ms": round(line.seconds * 1000, 2),
                "session": line.session,
                "event": line.event,
                "operation": line.operation,
                "what": line.what,
                "text": sentence(line.fact),
                "fact": line.fact,
                "block": line.block,
                "result": line.result,
                "error": _error(line.error),
            }
            for line in history.lines
        ],
        "frames": _frames(world),
        "exceptions": _exceptions(history),
        "witness": _witness(history),
        "aftermath": [{"text": sentence(fact), "ok": ok} for fact, ok in recording.aftermath],
        "hang": cast("Hang | None", history.hang and {**history.hang, "text": sentence(history.hang["fact"])}),
        "loop_errors": [_exception("event loop", None, error) for error in history.loop_errors],
    }


def step_of(number: int, token: str, fact: Fact, **more: int) -> Any:
    """One step; ``at``: when it was taken, in the numbering of the history."""
    return {"n": number, **more, "action": token, "text": sentence(fact), "fact": fact}


def _error(error: ErrorRecord | None) -> Error | None:
    return None if error is None else {"type": error.type, "message": error.message}


def _frames(world: World) -> list[Frame]:
    frames: list[Frame] = [
        {
            "n": frame.sequence,
            "ms": round(frame.seconds * 1000, 2),
            "wire": frame.wire,
            "direction": frame.direction,
            "kind": frame.kind,
            "length": frame.length,
            "text": frame.text,
            "held": frame.held,
            "overlap": frame.overlap,
        }
        for frame in world.timeline.frames
    ]
    if len(frames) <= FRAMES:
        return frames
    cut: Frame = {**frames[FRAMES // 2], "kind": "(cut)", "text": f"{len(frames) - FRAMES} frames are left out here"}
    return [*frames[: FRAMES // 2], cut, *frames[-FRAMES // 2 :]]


def _exceptions(history: History) -> list[ExceptionSeen]:
    seen = set()
    made = []
    for operation in history.operations:
        if operation.error is not None and operation.error.identity not in seen:
            seen.add(operation.error.identity)
            made.append(_exception(operation.session, operation.number, operation.error))
    for session in history.sessions.values():
        if session.error is not None and session.error.identity not in seen:
            seen.add(session.error.identity)
            made.append(_exception(session.name, None, session.error))
    return made


def _exception(session: str, operation: int | None, error: ErrorRecord) -> ExceptionSeen:
    return {
        "session": session,
        "operation": operation,
        "type": error.type,
        "message": error.message,
        "traceback": error.traceback[-TRACEBACK:],
        "classed": error.classed,
    }


def _witness(history: History) -> WitnessReading:
    writes = history.written()
    readings: list[Fact | None] = [_reading(history, operation) for operation in writes]
    return {
        "rows": sorted(history.stored),
        "expected": sorted(o.nonce for o in writes if o.outcome == "ok" and history.fate(o.block) == "committed"),
        "sentences": [sentence(reading) for reading in readings if reading],
        "readings": readings,
    }


def _reading(history: History, operation: Operation) -> dict[str, Any]:
    """What the writer of a row was told, and whether it is stored."""
    return {
        "kind": "reading",
        "session": operation.session,
        "after": operation.after,
        "row": operation.nonce,
        "outcome": operation.outcome,
        "fate": history.fate(operation.block),
        "in_block": operation.block is not None,
        "stored": operation.nonce in history.stored,
    }

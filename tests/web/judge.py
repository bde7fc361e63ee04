"""What a request that was measured shows: a word of the project, a sentence, and what a reader should know besides."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from matrix.words import BREAKS, HANGS, LIES, REFUSES, SAFE

# What the code raises by itself, and how a server says that the client has gone.
OWN = (
    "fastapi.exceptions.HTTPException",
    "ValueError: what was saved does not add up",
    "ConnectionError: the mail server is down",
    "starlette.requests.ClientDisconnect",
    "asyncio.exceptions.CancelledError",
    "GeneratorExit",
)
INTERNAL = ("RuntimeError", "ValueError", "AttributeError", "AssertionError", "KeyError")


@dataclass
class Write:
    """One row that somebody wrote: what its task was given, and whether that was in a transaction."""

    text: str
    error: str = ""
    cancelled: bool = False
    inside: bool = False


@dataclass
class Request:
    """What happened. ``answer``: the status that the client got; None: it had gone. ``block``: how its end ended."""

    answer: int | None = None
    left: bool = False  # the client went away, with or without the first part of an answer
    answered_before_the_end: bool = False
    left_in_another_task: bool = False
    block: str = ""
    writes: list[Write] = field(default_factory=list)
    raised: list[str] = field(default_factory=list)  # what the server got, and what nobody took
    stored: list[str] = field(default_factory=list)


def judge(request: Request) -> dict[str, Any]:
    """``verdict``, ``reason`` and ``notes`` of a request."""
    verdict, reason = _verdict(request)
    return {"verdict": verdict, "reason": reason, "notes": list(_notes(request))}


def _verdict(request: Request) -> tuple[str, str]:
    done = [write.text for write in request.writes if not write.error and not write.cancelled]
    lost = [text for text in done if text not in request.stored]
    answered = f"The client was answered {request.answer}"
    if request.answer is not None and not request.left and request.answer < 400 and lost:
        why = f" (the transaction was {request.block})" if request.block.startswith("rolled back") else ""
        return LIES, f"{answered}, and {_rows(lost)} not stored{why}."
    if request.answer is not None and request.answer >= 400 and request.stored:
        return LIES, f"{answered}, and {_rows(request.stored)} stored."
    if request.block == "committed" and lost:
        return LIES, f"The transaction was committed, and {_rows(lost)} not stored."
    kept = [write.text for write in request.writes if write.inside and write.text in request.stored]
    if request.block.startswith("rolled back") and kept:
        return LIES, f"The transaction was rolled back, and {_rows(kept)} stored."
    errors = [write.error for write in request.writes if write.error]
    strange = [error for error in (*request.raised, *errors) if not error.startswith(OWN)]
    if any(error.startswith(INTERNAL) for error in strange):
        return BREAKS, f"An internal error: {next(error for error in strange if error.startswith(INTERNAL))}."
    if strange:
        return REFUSES, f"Refused: {strange[0]}."
    return SAFE, _well(request)


def _well(request: Request) -> str:
    stored = f"{_rows(request.stored)} stored" if request.stored else "nothing is stored"
    who = "The client had gone" if request.left else f"The client was answered {request.answer}"
    return f"{who}, and {stored}."


def _notes(request: Request) -> list[str]:
    notes = []
    if request.answered_before_the_end and not request.left:
        notes.append("the answer was sent before the transaction ended")
    if request.left_in_another_task:
        notes.append("the block was left in another task than it was entered in")
    outside = [write.text for write in request.writes if _by_itself(write)]
    if outside and request.block:
        notes.append(f"{_rows(outside)} written outside of the transaction")
    if request.left and request.block == "committed" and "two" not in request.stored:
        notes.append("the stream was cancelled half-way, and what it had written was committed")
    late = [write.error for write in request.writes if write.error]
    if late:
        notes.append(f"a write failed with {late[0]}")
    return notes


def _by_itself(write: Write) -> bool:
    return not write.inside and not write.error and not write.cancelled


def _rows(texts: list[str]) -> str:
    named = " and ".join(f"'{text}'" for text in texts)
    return f"{named} {'is' if len(texts) == 1 else 'are'}"


WRONG = "Wrong"  # how the name of an error ends that says that the answer was another's


def seen(told: str | None, stored: bool) -> dict[str, Any]:
    """``verdict`` and ``reason`` of one who wrote a row and read it. ``told``: the error, empty where it was told that
    all is done, None where it was told nothing for as long as the measurement waits."""
    if told is None:
        return {"verdict": HANGS, "reason": f"Nothing was told; its row is {'' if stored else 'not '}stored."}
    if not told:
        return {
            "verdict": SAFE if stored else LIES,
            "reason": "Served." if stored else "Told that it is done, not stored.",
        }
    verdict = BREAKS if told.startswith(INTERNAL) else REFUSES
    if stored or told.partition(":")[0].endswith(WRONG):
        verdict = LIES
    return {"verdict": verdict, "reason": f"{told.rstrip('.')}{'; its row is stored' * stored}."}


def described(error: BaseException) -> str:
    """Class and first line; of a group those of its only member."""
    while isinstance(members := getattr(error, "exceptions", None), tuple) and len(members) == 1:
        error = members[0]
    first = "" if isinstance(error, asyncio.CancelledError) else next(iter(str(error).splitlines()), "")
    return f"{type(error).__module__}.{type(error).__qualname__}: {first}".removeprefix("builtins.").rstrip(": ")

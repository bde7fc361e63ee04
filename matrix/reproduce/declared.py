"""What a result line declares of its program: who is cancelled and when, what its children are started in, what was set
up before it began."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matrix.reproduce import NotWritten
from matrix.reproduce.reconstruct import Task, steps_of_the_network
from matrix.words import CANCEL_POINT

BEGINNINGS = {"rollback": "roll back "}  # of an operation's name; others begin with their kind


@dataclass(frozen=True)
class Declared:
    """``during``: kinds of operations in which ``cancels`` is cancelled, all when it is empty.

    ``context``: children are started in an ``empty`` one, or in one copied ``before`` the program; ``lock``: they work
    under one lock. ``abandons``: its only block is in a generator that is given up. ``unreachable``: some tasks begin
    while the database cannot be reached; when they have ended it can be, and the rest begins. ``closes_first``: all
    connections are closed before the program; ``fills_pool``: they are opened."""

    cancels: str
    during: tuple[str, ...]
    hold_login: bool
    abandons: bool
    context: str
    lock: bool
    fills_pool: bool
    closes_first: bool
    unreachable: bool

    @property
    def by_frame(self) -> bool:
        """Whether answers come frame by frame."""
        return bool(self.cancels)

    @property
    def holds_login(self) -> bool:
        return self.by_frame and self.hold_login


def declared(evidence: Mapping[str, Any]) -> Declared:
    """What the evidence of a run declares. Raises NotWritten for evidence that has no facts yet."""
    data, setup = evidence.get("declared"), evidence.get("setup")
    if not isinstance(data, Mapping) or not isinstance(setup, Mapping):
        raise NotWritten("the result is of a suite that did not record enough yet: run the cell again")
    return Declared(
        str(data["cancels"]),
        tuple(map(str, data["during"])),
        bool(data["hold_login"]),
        bool(data["abandons"]),
        str(data["context"]),
        bool(data["lock"]),
        bool(setup.get("filled")),
        bool(setup.get("closed")),
        not steps_of_the_network(evidence)
        and any(event["fact"].get("reachable") is False for event in evidence["history"]),
    )


@dataclass(frozen=True)
class Cancellation:
    """Who is cancelled: while it waits, where the order says so, or ``as_it_ends``: in the instant in which its wait
    number ``wait`` ends. ``during``: how the names of the operations begin whose waits count."""

    victim: str
    wait: int
    as_it_ends: bool
    during: tuple[str, ...]


def sweep_of(line: Mapping[str, Any], tasks: Sequence[Task], facts: Declared) -> Cancellation | None:
    """The cancellation that the schedule begins with, if it does. Raises NotWritten."""
    found = CANCEL_POINT.fullmatch(str(line["schedule"]).partition(".")[0])
    if found is None:
        return None
    named = [task.name for task in tasks if facts.cancels in (task.name, "") or task.letter == found["victim"]]
    victim = next((name for name in named if name == facts.cancels), next(iter(named), None))
    if victim is None:
        raise NotWritten("who is cancelled never came to its first step")
    during = tuple(BEGINNINGS.get(kind, f"{kind} ") for kind in facts.during)
    return Cancellation(
        victim, int(found["wait"]), bool(found["as_it_ends"]) or _never_quiet(line, facts), during or ("",)
    )


def _never_quiet(line: Mapping[str, Any], facts: Declared) -> bool:
    """Whether the cancellation came while a first connection was being made, or when the whole answer had come and
    nothing was asked any more: that wait ended before all was quiet."""
    evidence = line["evidence"]
    cancelled_at = next((step["at"] for step in evidence["steps"] if "@" in str(step["action"])), None)
    asked = {event["n"] for event in evidence["history"] if event["event"] == "invoke"}
    if cancelled_at is None:
        return False
    before: Mapping[str, Any] = next((step["fact"] for step in evidence["steps"] if step["at"] == cancelled_at - 1), {})
    answered = [piece["kind"] for piece in before.get("pieces") or ()][-1:]
    return (facts.holds_login and cancelled_at - 1 in asked) or answered[:1] in (["OK"], ["ERR"], ["ReadyForQuery"])


def order_in_threads(line: Mapping[str, Any]) -> str:
    """The order of tasks and of what a thread pool hands over, without what travels on the wire meanwhile."""
    steps = [step for step in line["evidence"]["steps"] if step["fact"]["kind"] != "deliver" or step["fact"]["worker"]]
    return ".".join(str(step["action"]) for step in steps if step["action"] != "-")


def order_of(line: Mapping[str, Any]) -> str:
    """The order of a script's steps: the schedule, but a cancellation while somebody waits stands where it came; one in
    the instant in which a wait ends is no step of its own."""
    schedule = str(line["schedule"])
    if not CANCEL_POINT.match(schedule):
        return schedule
    actions = [str(step["action"]) for step in line["evidence"]["steps"]]
    return ".".join(action for action in actions if action != "-" and not action.endswith("+"))

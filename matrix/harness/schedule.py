"""Schedules: what can be chosen, how it is printed, and the record of what one run chose.

An action is one letter or number: a session that takes its next step, or a connection whose held answer is let through.
``A~`` is a sleep or a time limit of session A's program that ends (only where the program has its own: matrix/check).
A cancellation is ``A@3``, "session A is cancelled while it waits for the third time", or ``A@3+``, "in the very moment
in which its third wait ends". Who chooses is in strategies.py, which schedules are run in explorer.py.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field

from matrix.words import CANCEL_POINT

TIMER = "~"  # behind the letter of the session whose sleep or limit ends


def kind_of(token: str) -> str:
    """step, answer or timer"""
    if token.endswith(TIMER):
        return "timer"
    return "answer" if token.isdigit() else "step"


@dataclass(frozen=True)
class Action:
    """``token`` is what the schedule string shows: a session's letter, also with TIMER, or a connection's number."""

    token: str
    target: int | str

    @property
    def kind(self) -> str:
        return kind_of(self.token)


class ScheduleMismatch(Exception):
    """A replayed schedule asked for an action that was not possible: the harness does not own the order."""


@dataclass(frozen=True)
class CancelPoint:
    """When a session is cancelled: while it waits for the ``wait``-th time, or as that wait ends."""

    victim: str
    wait: int
    as_it_ends: bool = False

    @property
    def token(self) -> str:
        return f"{self.victim}@{self.wait}{'+' * self.as_it_ends}"

    @classmethod
    def parse(cls, token: str) -> CancelPoint | None:
        """The moment that a schedule's token names; None for the token of an action."""
        found = CANCEL_POINT.fullmatch(token)
        return cls(found["victim"], int(found["wait"]), bool(found["as_it_ends"])) if found else None


class Strategy(ABC):
    """Chooses the actions of one run."""

    cancel: CancelPoint | None = None  # when the scenario's victim is cancelled; None: not at all

    @abstractmethod
    def choose(self, enabled: Sequence[Action], taken: Sequence[str]) -> Action:
        """One of the ``enabled`` actions, of which there is at least one, after those with the tokens ``taken``.
        Raises ScheduleMismatch when the one it must take is not among them."""

    def ahead(self) -> Strategy:
        """One that chooses the same, and can be asked without this one noticing."""
        return self


@dataclass
class Execution:
    """One run under a strategy: the record of what was chosen, and of what could have been."""

    strategy: Strategy
    taken: list[str] = field(default_factory=list)
    enabled: list[tuple[str, ...]] = field(default_factory=list)  # the tokens among which each of them was chosen
    waits: int = 0  # how often the victim waited, told by the world
    victim: str = ""  # ... and its letter
    # point -> the token of a step that is no task's of the program: the clock's, the network's, an administrator's
    outside: dict[int, str] = field(default_factory=dict)
    # point -> tokens of the clock's steps that could have been taken there and would have ended no time limit
    idle: dict[int, frozenset[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.cancel = self.strategy.cancel  # None when the run is over and there was no such moment

    def choose(self, enabled: Sequence[Action]) -> Action:
        """The strategy's choice, which is remembered."""
        action = self.strategy.choose(enabled, self.taken)
        self.taken.append(action.token)
        self.enabled.append(tuple(each.token for each in enabled))
        return action

    @property
    def text(self) -> str:
        """The schedule as a short string, such as ``A.B.1.1`` or ``A@2.A.1``."""
        return ".".join([self.cancel.token, *self.taken] if self.cancel else self.taken)


def parse(text: str) -> tuple[str, ...]:
    """The tokens of a printed schedule."""
    return tuple(token for token in text.split(".") if token)

"""Strategies: how the next of the enabled actions is chosen, a class for each way. They know nothing of the world.

Two base orders stand behind all of them. Eager: sessions step before answers arrive, so that operations overlap as much
as possible. Otherwise answers arrive first and a session goes on as long as it can. In both a sleep or a time limit of
the program ends when nothing else can happen.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from .schedule import Action, CancelPoint, ScheduleMismatch, Strategy, kind_of, parse


def ranked(enabled: Sequence[Action], taken: Sequence[str], *, eager: bool) -> list[Action]:
    """The enabled actions as a base order prefers them, first its own choice."""
    last_step = next((token for token in reversed(taken) if kind_of(token) == "step"), "")
    steps, answers, timers = (
        [action for action in enabled if action.kind == kind] for kind in ("step", "answer", "timer")
    )
    if not eager:
        steps.sort(key=lambda action: action.token != last_step)  # stable: stay with the same session
        return answers + steps + timers
    # Fair turns: the session after the one that stepped last comes first.
    later = [action for action in steps if action.token > last_step]
    return later + [action for action in steps if action not in later] + answers + timers


@dataclass(frozen=True)
class Departing(Strategy):
    """A base order, left at some points (delay bounding): ``departures`` maps a choice point, from 0, to how many
    positions the choice moves on there."""

    eager: bool = True
    departures: dict[int, int] = field(default_factory=dict)

    def choose(self, enabled: Sequence[Action], taken: Sequence[str]) -> Action:
        order = ranked(enabled, taken, eager=self.eager)
        return order[self.departures.get(len(taken), 0) % len(order)]

    def further(self, enabled: Sequence[Sequence[str]]) -> Iterator[Departing]:
        """Every strategy with one departure more, behind the last, in a run that had these choices."""
        for point in range(max(self.departures, default=-1) + 1, len(enabled)):
            for shift in range(1, len(enabled[point])):
                yield Departing(self.eager, {**self.departures, point: shift})


@dataclass(frozen=True)
class Sampling(Strategy):
    """Every choice is drawn from a source of random numbers."""

    source: random.Random

    def choose(self, enabled: Sequence[Action], taken: Sequence[str]) -> Action:
        return self.source.choice(list(enabled))

    def ahead(self) -> Sampling:
        return Sampling(copy.copy(self.source))


@dataclass(frozen=True)
class Replay(Strategy):
    """The tokens of a printed schedule as far as they go, then the eager base order. ``lenient``: so it goes on as well
    where a token asks for what is not possible (drivers that race inside)."""

    tokens: Sequence[str]
    lenient: bool = False

    def choose(self, enabled: Sequence[Action], taken: Sequence[str]) -> Action:
        point = len(taken)
        asked = self.tokens[point] if point < len(self.tokens) else None
        found = next((action for action in enabled if action.token == asked), None)
        if found is None and asked is not None and not self.lenient:
            possible = ", ".join(action.token for action in enabled)
            raise ScheduleMismatch(f"step {point + 1} of the schedule is {asked!r}; possible: {possible}")
        return found or ranked(enabled, taken, eager=True)[0]


@dataclass(frozen=True)
class Cancelling(Strategy):
    """Another strategy's choices, and the victim is cancelled at a moment."""

    order: Strategy
    cancel: CancelPoint

    def choose(self, enabled: Sequence[Action], taken: Sequence[str]) -> Action:
        return self.order.choose(enabled, taken)

    def ahead(self) -> Cancelling:
        return Cancelling(self.order.ahead(), self.cancel)


@dataclass(frozen=True)
class Placing(Strategy):
    """Another strategy's choices, and a token is chosen at this point, as soon as it can be, and not before."""

    order: Strategy
    token: str
    point: int

    def choose(self, enabled: Sequence[Action], taken: Sequence[str]) -> Action:
        if self.token in taken[self.point :]:
            return self.order.choose(enabled, taken)
        late = len(taken) >= self.point
        others = [action for action in enabled if action.token != self.token]
        if len(others) < len(enabled) and (late or not others):
            return next(action for action in enabled if action.token == self.token)
        return self.order.choose(others, taken)

    def ahead(self) -> Placing:
        return Placing(self.order.ahead(), self.token, self.point)


def replay(schedule: str, *, lenient: bool = False) -> Strategy:
    """The strategy that follows a printed schedule, with the moment of cancellation that it may begin with."""
    tokens = parse(schedule)
    cancel_point = CancelPoint.parse(tokens[0]) if tokens else None
    return Cancelling(Replay(tokens[1:], lenient), cancel_point) if cancel_point else Replay(tokens, lenient)

"""Schedules: which enabled action comes next, as strategies that can be enumerated, printed and replayed.

An action is one letter or number: a session that takes its next step, or a connection whose held answer is let through.
Exploration follows delay bounding: two base orders, then every single departure from them, then two, and so on; where
that does not reach all orders, a seeded sample goes beyond. A cancellation is swept over every moment at which its
victim waits: ``A@3`` is "session A is cancelled while it waits for the third time", ``A@3+`` "in the very moment in
which its third wait ends".
"""

from __future__ import annotations

import collections
import math
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

_MOMENT = re.compile(r"(?P<victim>[A-Za-z])@(?P<wait>[1-9][0-9]*)(?P<as_it_ends>\+?)")


@dataclass(frozen=True)
class Action:
    """``token`` is what the schedule string shows: a session's letter, or a connection's number."""

    token: str
    kind: str  # step or answer
    target: int | str


class ScheduleMismatch(Exception):
    """A replayed schedule asked for an action that was not possible: the harness does not own the order."""


@dataclass(frozen=True)
class Moment:
    """When a session is cancelled: while it waits for the ``wait``-th time, or as that wait ends."""

    victim: str
    wait: int
    as_it_ends: bool = False

    @property
    def token(self) -> str:
        return f"{self.victim}@{self.wait}{'+' * self.as_it_ends}"

    @classmethod
    def parse(cls, token: str) -> Moment | None:
        """The moment that a schedule's token names; None for the token of an action."""
        found = _MOMENT.fullmatch(token)
        return cls(found["victim"], int(found["wait"]), bool(found["as_it_ends"])) if found else None


@dataclass
class Strategy:
    """Chooses among enabled actions and remembers what it chose.

    ``eager``: sessions step before answers arrive, so that operations overlap as much as possible; otherwise answers
    arrive first and a session goes on as long as it can. ``departures`` maps a choice point to how many positions the
    choice moves on from the base order's. ``replay`` (tokens) is followed as far as it goes;
    ``lenient``: where it asks for what is not possible, the base order goes on (drivers that race inside). ``cancel``:
    when the scenario's victim is cancelled, not at all when None. ``sample``: every choice is drawn from it.
    """

    eager: bool = True
    departures: dict[int, int] = field(default_factory=dict)
    replay: Sequence[str] = ()
    lenient: bool = False
    cancel: Moment | None = None
    sample: random.Random | None = None
    taken: list[str] = field(default_factory=list)
    widths: list[int] = field(default_factory=list)
    waits: int = 0  # how often the victim waited in this run, told by the world
    victim: str = ""  # ... and its letter

    def __post_init__(self) -> None:
        if self.replay and (moment := Moment.parse(self.replay[0])):
            self.cancel, self.replay = moment, self.replay[1:]

    def choose(self, enabled: Sequence[Action]) -> Action:
        point = len(self.taken)
        if point < len(self.replay):
            action = next((a for a in enabled if a.token == self.replay[point]), None)
            if action is None and self.lenient:
                action = self._rank(enabled)[0]
            if action is None:
                possible = ", ".join(a.token for a in enabled)
                raise ScheduleMismatch(
                    f"step {point + 1} of the schedule is {self.replay[point]!r}; possible: {possible}"
                )
        elif self.sample is not None:
            action = self.sample.choice(list(enabled))
        else:
            ranked = self._rank(enabled)
            action = ranked[self.departures.get(point, 0) % len(ranked)]
        self.taken.append(action.token)
        self.widths.append(len(enabled))
        return action

    def _rank(self, enabled: Sequence[Action]) -> list[Action]:
        first, second = ("step", "answer") if self.eager else ("answer", "step")
        steps = [a for a in enabled if a.kind == "step"]
        if self.eager:
            # Fair turns: the session after the one that stepped last comes first.
            later = [a for a in steps if a.token > self._last_step()]
            steps = later + [a for a in steps if a not in later]
        else:
            steps.sort(key=lambda a: a.token != self._last_step())  # stable: stay with the same session
        by_kind = {"step": steps, "answer": [a for a in enabled if a.kind == "answer"]}
        return by_kind[first] + by_kind[second]

    def _last_step(self) -> str:
        return next((token for token in reversed(self.taken) if not token[0].isdigit()), "")

    @property
    def text(self) -> str:
        """The schedule as a short string, such as ``A.B.1.1`` or ``A@2.A.1``."""
        return ".".join([self.cancel.token, *self.taken] if self.cancel else self.taken)


def parse(text: str) -> tuple[str, ...]:
    """The tokens of a printed schedule."""
    return tuple(token for token in text.split(".") if token)


SWEEPS = 100  # runs


class Explorer:
    """Enumerates strategies to run: at most ``bound`` orders one by one, then half as many drawn from ``seed``.

    First the two base orders, then departures, fewest first. An order with a victim is swept: run once more for every
    moment at which that waited. The sweeps of the base orders are complete; other orders are swept as long as there
    were fewer than SWEEPS runs. The sample is only drawn where orders are left. ``exhausted`` is True when every order
    was run.
    """

    def __init__(self, bound: int, seed: str = "") -> None:
        self.bound = bound
        self.exhausted = False
        self.swept = 0  # moments of cancellation
        self.sampled = 0
        self._orders: set[str] = set()
        # One queue for each base order, asked in turn: both kinds of departures have their share of the bound.
        self._queues = [collections.deque([Strategy(eager)]) for eager in (True, False)]
        self._random = random.Random(seed)
        self._moments: list[Moment] = []
        self._leaves: list[float] = []

    @property
    def explored(self) -> int:
        """How many distinct schedules were run."""
        return len(self._orders) + self.swept + self.sampled

    @property
    def estimate(self) -> int | None:
        """About how many schedules there are; None where nothing was sampled.

        The mean, over the sample, of the product of the choices at each point (Knuth 1975, "Estimating the efficiency
        of backtrack programs").
        """
        if not self._leaves:
            return None
        return max(round(sum(self._leaves) / len(self._leaves) * (1 + len(self._moments))), self.explored)

    def strategies(self) -> Iterator[Strategy]:
        """Strategies to run. The consumer runs each before asking for the next."""
        attempts = 0
        unswept = False
        while any(self._queues) and len(self._orders) < self.bound and attempts < 4 * self.bound:
            queue = self._queues[attempts % 2] or self._queues[1 - attempts % 2]
            strategy = queue.popleft()
            attempts += 1
            yield strategy
            if strategy.text in self._orders:
                continue
            self._orders.add(strategy.text)
            queue.extend(self._departures(strategy))
            if not strategy.departures or self.swept < SWEEPS:
                yield from self._sweep(strategy)
            else:
                unswept = True
        self.exhausted = not any(self._queues) and not unswept
        if not self.exhausted:
            yield from self._sample(self.bound // 2)

    def _departures(self, strategy: Strategy) -> list[Strategy]:
        start = max(strategy.departures, default=-1) + 1
        made = []
        for point in range(start, len(strategy.widths)):
            for shift in range(1, strategy.widths[point]):
                made.append(Strategy(strategy.eager, {**strategy.departures, point: shift}))
        return made

    def _sweep(self, base: Strategy) -> Iterator[Strategy]:
        """The same order, cancelled at each moment at which the victim waited."""
        moments = [Moment(base.victim, n + 1, ends) for n in range(base.waits) for ends in (False, True)]
        self._moments = self._moments or moments
        for moment in moments:
            swept = Strategy(base.eager, dict(base.departures), cancel=moment)
            yield swept
            self.swept += swept.cancel is not None

    def _sample(self, size: int) -> Iterator[Strategy]:
        seen = set(self._orders)
        for _ in range(size):  # a fixed number of draws, repeated ones included: else the estimate would be biased
            moment = self._random.choice([None, *self._moments])
            # A source of its own: the run may be in a child process, which would draw from a copy.
            strategy = Strategy(cancel=moment, sample=random.Random(self._random.getrandbits(64)))
            yield strategy
            self._leaves.append(math.prod(strategy.widths))
            if strategy.text not in seen:
                seen.add(strategy.text)
                self.sampled += 1

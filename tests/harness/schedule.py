"""Schedules: which enabled action comes next, as strategies that can be enumerated, printed and replayed.

An action is one letter or number: a session that takes its next step, or a connection whose held answer is let through.
Exploration follows delay bounding: two base orders, then every single departure from them, then two, and so on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Action:
    """``token`` is what the schedule string shows: a session's letter, or a connection's number."""

    token: str
    kind: str  # step or answer
    target: int | str


class ScheduleMismatch(Exception):
    """A replayed schedule asked for an action that was not possible: the harness does not own the order."""


@dataclass
class Strategy:
    """Chooses among enabled actions and remembers what it chose.

    ``eager``: sessions step before answers arrive, so that operations overlap as much as possible; otherwise answers
    arrive first and a session goes on as long as it can. ``departures`` maps a choice point to how many positions the
    choice moves on from the base order's. ``replay`` (tokens) is followed as far as it goes;
    ``lenient``: where it asks for what is not possible, the base order goes on (drivers that race inside).
    """

    eager: bool = True
    departures: dict[int, int] = field(default_factory=dict)
    replay: Sequence[str] = ()
    lenient: bool = False
    taken: list[str] = field(default_factory=list)
    widths: list[int] = field(default_factory=list)
    _last: str = ""

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
        else:
            ranked = self._rank(enabled)
            action = ranked[self.departures.get(point, 0) % len(ranked)]
        self.taken.append(action.token)
        self.widths.append(len(enabled))
        self._last = action.token
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
        """The schedule as a short string, such as ``A.B.1.1``."""
        return ".".join(self.taken)


def parse(text: str) -> tuple[str, ...]:
    """The tokens of a printed schedule."""
    return tuple(token for token in text.split(".") if token)


class Explorer:
    """Enumerates strategies: call ``next_strategy``, run it, give it back with ``ran``.

    ``exhausted`` is True when every order within the reach of departures was run before the bound was met.
    """

    def __init__(self, bound: int) -> None:
        self.bound = bound
        self.explored = 0
        self._seen: set[str] = set()
        self._queue: list[Strategy] = [Strategy(eager=True), Strategy(eager=False)]
        self.exhausted = False

    def strategies(self) -> Iterator[Strategy]:
        """Strategies to run, at most ``bound`` distinct schedules. The consumer runs each before asking for the
        next."""
        attempts = 0
        while self._queue and self.explored < self.bound and attempts < 4 * self.bound:
            strategy = self._queue.pop(0)
            attempts += 1
            yield strategy
            if strategy.text in self._seen:
                continue
            self._seen.add(strategy.text)
            self.explored += 1
            self._queue.extend(self._departures(strategy))
        self.exhausted = not self._queue

    def _departures(self, strategy: Strategy) -> list[Strategy]:
        start = max(strategy.departures, default=-1) + 1
        made = []
        for point in range(start, len(strategy.widths)):
            for shift in range(1, strategy.widths[point]):
                made.append(Strategy(strategy.eager, {**strategy.departures, point: shift}))
        return made

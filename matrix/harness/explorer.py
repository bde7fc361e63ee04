"""Which schedules of a scenario are run: two base orders, then every single departure from them, then two, and so on;
where that does not reach all orders, a seeded sample goes beyond. A cancellation is swept over every moment at which
its victim waits; what comes from outside of the program (a lost connection, silence, the clock) is placed at every
point of the base order in which answers arrive first. A strategy that would only choose again what was chosen in a run
before is not run.
"""

from __future__ import annotations

import collections
import math
import random
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field

from .schedule import Action, CancelPoint, Execution, Strategy
from .strategies import Cancelling, Departing, Placing, Sampling

SWEEPS = 100  # runs


@dataclass
class _Point:
    """Where runs came to: what was possible there and where each choice led, or the run that ended there."""

    enabled: tuple[str, ...] = ()
    after: dict[str, _Point] = field(default_factory=dict)
    end: Execution | None = None


class Tree:
    """The runs so far, as a tree of what was possible at each point. It has a root for each moment of cancellation."""

    def __init__(self) -> None:
        self._roots: dict[CancelPoint | None, _Point] = {}

    def add(self, asked: CancelPoint | None, run: Execution) -> None:
        """Add a run that was asked to cancel at this moment. Where there was none, it is also one without."""
        for cancel_point in {asked, run.cancel}:
            point = self._roots.setdefault(cancel_point, _Point())
            for enabled, token in zip(run.enabled, run.taken, strict=True):
                point.enabled = enabled
                point = point.after.setdefault(token, _Point())
            point.end = run

    def follow(self, asked: Execution) -> bool:
        """Fill in what its strategy would show, as if it had been run; False where it leaves what is known.

        A run without a cancellation that had fewer waits than the moment asks for has shown that there is none.
        """
        end = self._end(asked.strategy, asked.cancel)
        if end is None and asked.cancel is not None:
            end = self._end(asked.strategy, None)
            if end is not None and end.waits >= asked.cancel.wait:
                return False
        if end is None:
            return False
        for what in ("taken", "enabled", "waits", "victim", "outside", "idle", "cancel"):
            setattr(asked, what, getattr(end, what))
        return True

    def _end(self, strategy: Strategy, cancel: CancelPoint | None) -> Execution | None:
        """The run with this moment whose choices are those of the strategy; None where there was no such run."""
        point = self._roots.get(cancel)
        ahead = Execution(strategy.ahead())  # it may have to be asked again: by a run
        while point is not None and point.end is None:
            point = point.after.get(ahead.choose([Action(token, token) for token in point.enabled]).token)
        return point.end if point is not None else None


class Explorer:
    """Enumerates runs: at most ``bound`` orders one by one, then half as many drawn from ``seed``.

    First the two base orders, then departures, fewest first. An order with a victim is swept: run once more for every
    moment at which that waited. The sweeps of the base orders are complete; other orders are swept as long as there
    were fewer than SWEEPS runs, repeats among them. With ``moments`` a sweep is of so many, drawn. What comes from
    outside is placed at every point; with a number of ``placements`` only where something is due, at no more points
    than that. The sample is only drawn where orders are left. ``exhausted`` is True when every order was run. What is
    in the ``tree`` is not run again, nor is anything twice; without one, all is.
    """

    def __init__(
        self,
        bound: int,
        seed: str = "",
        tree: Tree | None = None,
        *,
        moments: int | None = None,
        placements: int | None = None,
    ) -> None:
        self.bound = bound
        self._moments = moments
        self.exhausted = False
        self.swept = 0  # orders with a moment of cancellation
        self.placed = 0  # orders in which a step from outside was placed
        self.unplaced = 0  # points at which one was possible, and was not
        self._placements = placements
        self.sampled = 0
        self._tree = tree
        self._sweeps = 0
        self._orders: set[str] = set()
        self._seen: set[str] = set()  # ... and with cancellations
        # One queue for each base order, asked in turn: both kinds of departures have their share of the bound.
        self._queues = [collections.deque([Departing(eager)]) for eager in (True, False)]
        self._random = random.Random(seed)
        self._cancel_points: list[CancelPoint] = []
        self._leaves: list[float] = []

    @property
    def explored(self) -> int:
        """How many distinct schedules were run."""
        return len(self._orders) + self.swept + self.placed + self.sampled

    @property
    def estimate(self) -> int | None:
        """About how many schedules there are; None where nothing was sampled.

        The mean, over the sample, of the product of the choices at each point (Knuth 1975, "Estimating the efficiency
        of backtrack programs").
        """
        if not self._leaves:
            return None
        return max(round(sum(self._leaves) / len(self._leaves) * (1 + len(self._cancel_points))), self.explored)

    def executions(self) -> Iterator[Execution]:
        """What to run, each schedule once. The consumer runs each before asking for the next."""
        attempts = 0
        unswept = False
        while any(self._queues) and len(self._orders) < self.bound and attempts < 4 * self.bound:
            queue = self._queues[attempts % 2] or self._queues[1 - attempts % 2]
            strategy = queue.popleft()
            attempts += 1
            base = Execution(strategy)
            yield from self._run(base)
            if base.text in self._orders:
                continue
            self._orders.add(base.text)
            self._seen.add(base.text)
            queue.extend(strategy.further(base.enabled))
            if not (strategy.departures or strategy.eager):
                yield from self._place(base)
            if not strategy.departures or self._sweeps < SWEEPS:
                yield from self._sweep(base)
            else:
                unswept = True
        self.exhausted = not any(self._queues) and not unswept and self._moments is None
        if not self.exhausted:
            yield from self._sample(self.bound // 2)

    def _run(self, execution: Execution) -> Iterator[Execution]:
        """Have it run, where it would not only repeat what was."""
        asked = execution.cancel
        if self._tree is None:
            yield execution
        elif not self._tree.follow(execution):
            yield execution
            self._tree.add(asked, execution)

    def _is_new(self, run: Execution) -> bool:
        new = run.text not in self._seen
        self._seen.add(run.text)
        return new

    def _sweep(self, base: Execution) -> Iterator[Execution]:
        """The same order, cancelled at each moment at which the victim waited."""
        cancel_points = [CancelPoint(base.victim, n + 1, ends) for n in range(base.waits) for ends in (False, True)]
        self._cancel_points = self._cancel_points or cancel_points
        if self._moments is not None and self._moments < len(cancel_points):
            cancel_points = self._random.sample(cancel_points, self._moments)
        for cancel_point in cancel_points:
            swept = Execution(Cancelling(base.strategy, cancel_point))
            yield from self._run(swept)
            if swept.cancel is not None:
                self._sweeps += 1
                self.swept += self._is_new(swept)

    def _place(self, base: Execution) -> Iterator[Execution]:
        """The same order, with a step that is no task's of the program at each other point; not one of a session that
        does something else as well, such as a task that sleeps."""
        steps = list(base.outside.values())
        for token in (each for each in dict.fromkeys(steps) if steps.count(each) == base.taken.count(each)):
            points = [each for each in range(len(base.taken)) if base.outside.get(each) != token]
            if self._placements is not None and points:
                latest = yield from self._put(base, token, points.pop())
                points = self._due(latest, token, points, self._placements)
            for point in points:
                yield from self._put(base, token, point)

    def _put(self, base: Execution, token: str, point: int) -> Generator[Execution, None, Execution]:
        placed = Execution(Placing(base.strategy, token, point))
        yield from self._run(placed)
        self.placed += self._is_new(placed)
        return placed

    def _due(self, latest: Execution, token: str, points: list[int], most: int) -> list[int]:
        """Those points at which a step that came as late as it could would have done more than move a clock; where they
        are too many, evenly spread."""
        possible = [each for each in points if each < len(latest.taken) and token in latest.enabled[each]]
        due = [each for each in possible if token not in latest.idle.get(each, ())]
        number = min(len(due), most)
        self.unplaced += len(possible) - number
        return [due[each * len(due) // number] for each in range(number)]

    def _sample(self, size: int) -> Iterator[Execution]:
        for _ in range(size):  # a fixed number of draws, repeated ones included: else the estimate would be biased
            cancel_point = self._random.choice([None, *self._cancel_points])
            # A source of its own: the run may be in a child process, which would draw from a copy.
            order: Strategy = Sampling(random.Random(self._random.getrandbits(64)))
            drawn = Execution(Cancelling(order, cancel_point) if cancel_point else order)
            yield from self._run(drawn)
            self._leaves.append(math.prod(map(len, drawn.enabled)))
            self.sampled += self._is_new(drawn)

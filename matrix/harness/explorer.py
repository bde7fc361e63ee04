"""Which schedules of a scenario are run: two base orders, then every single departure from them, then two, and so on;
where that does not reach all orders, a seeded sample goes beyond. A cancellation is swept over every moment at which
its victim waits.
"""

from __future__ import annotations

import collections
import math
import random
from collections.abc import Iterator

from .schedule import CancelPoint, Execution, Strategy
from .strategies import Cancelling, Departing, Sampling

SWEEPS = 100  # runs


class Explorer:
    """Enumerates runs: at most ``bound`` orders one by one, then half as many drawn from ``seed``.

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
        self._queues = [collections.deque([Departing(eager)]) for eager in (True, False)]
        self._random = random.Random(seed)
        self._cancel_points: list[CancelPoint] = []
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
        return max(round(sum(self._leaves) / len(self._leaves) * (1 + len(self._cancel_points))), self.explored)

    def executions(self) -> Iterator[Execution]:
        """What to run. The consumer runs each before asking for the next."""
        attempts = 0
        unswept = False
        while any(self._queues) and len(self._orders) < self.bound and attempts < 4 * self.bound:
            queue = self._queues[attempts % 2] or self._queues[1 - attempts % 2]
            strategy = queue.popleft()
            attempts += 1
            base = Execution(strategy)
            yield base
            if base.text in self._orders:
                continue
            self._orders.add(base.text)
            queue.extend(strategy.further(base.enabled))
            if not strategy.departures or self.swept < SWEEPS:
                yield from self._sweep(base)
            else:
                unswept = True
        self.exhausted = not any(self._queues) and not unswept
        if not self.exhausted:
            yield from self._sample(self.bound // 2)

    def _sweep(self, base: Execution) -> Iterator[Execution]:
        """The same order, cancelled at each moment at which the victim waited."""
        cancel_points = [CancelPoint(base.victim, n + 1, ends) for n in range(base.waits) for ends in (False, True)]
        self._cancel_points = self._cancel_points or cancel_points
        for cancel_point in cancel_points:
            swept = Execution(Cancelling(base.strategy, cancel_point))
            yield swept
            self.swept += swept.cancel is not None

    def _sample(self, size: int) -> Iterator[Execution]:
        seen = set(self._orders)
        for _ in range(size):  # a fixed number of draws, repeated ones included: else the estimate would be biased
            cancel_point = self._random.choice([None, *self._cancel_points])
            # A source of its own: the run may be in a child process, which would draw from a copy.
            order: Strategy = Sampling(random.Random(self._random.getrandbits(64)))
            drawn = Execution(Cancelling(order, cancel_point) if cancel_point else order)
            yield drawn
            self._leaves.append(math.prod(map(len, drawn.enabled)))
            if drawn.text not in seen:
                seen.add(drawn.text)
                self.sampled += 1

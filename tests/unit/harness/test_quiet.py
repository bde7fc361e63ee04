"""What the loop's thread does while something is in flight: whom it asks of the server, and how often it looks."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from matrix.harness import quiet
from matrix.harness.channel import Channel
from matrix.harness.loop import MatrixLoop
from matrix.harness.quiet import Quiet

pytestmark = pytest.mark.asyncio


class Busy(Channel):
    """Something moves on it for so many looks."""

    def __init__(self, looks: int, *, due: bool, logged_in: bool) -> None:
        self.looks, self._due, self._logged_in = looks, due, logged_in

    def busy(self) -> bool:
        self.looks -= 1
        return self.looks >= 0

    def due(self) -> bool:
        return self._due

    def may_wait_for_lock(self) -> bool:
        return self._logged_in

    def in_transaction(self) -> bool:
        return False


async def watched(monkeypatch: pytest.MonkeyPatch, channel: Busy) -> tuple[int, list[float]]:
    """How often the server was asked who waits for a lock until the world was quiet, and the naps between the looks."""
    loop = cast("MatrixLoop", asyncio.get_running_loop())
    asked = 0
    naps: list[float] = []

    def lock_waits() -> dict[int, Any]:
        nonlocal asked
        asked += 1
        return {}

    def nap(seconds: float) -> list[Any]:
        naps.append(seconds)
        return []

    monkeypatch.setattr(quiet, "ASK_SERVER_AFTER", -1.0)
    monkeypatch.setattr(loop.idle_selector, "wait", nap)
    workers = SimpleNamespace(channels=[])
    gates: Any = SimpleNamespace(channels=lambda: [channel], connecting=lambda: False, workers=workers)
    try:
        await Quiet(loop, gates, SimpleNamespace(lock_waits=lock_waits), lambda _: True).wait()
    finally:
        loop.idle_selector.on_idle = None
    return asked, [seconds for seconds in naps if seconds]


async def test_who_logs_in_waits_for_no_lock(monkeypatch):
    asked, _ = await watched(monkeypatch, Busy(5, due=True, logged_in=False))
    assert asked == 0
    asked, _ = await watched(monkeypatch, Busy(5, due=True, logged_in=True))
    assert asked > 0


async def test_naps_grow_only_where_an_event_ends_them(monkeypatch):
    shortest, longest = quiet.NAPS
    _, naps = await watched(monkeypatch, Busy(9, due=True, logged_in=False))
    assert naps == sorted(naps)
    assert (naps[0], naps[-1]) == (2 * shortest, longest)
    _, naps = await watched(monkeypatch, Busy(9, due=False, logged_in=False))
    assert set(naps) == {shortest}

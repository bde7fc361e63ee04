"""What is done before a world counts as quiet: requests to cancel that came with what they cancel are sent then."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from matrix.harness.loop import MatrixLoop
from matrix.harness.quiet import Quiet


class Busy:
    """A channel whose request waits for a lock, until it is cancelled."""

    cancelled = False

    def busy(self) -> bool:
        return not self.cancelled

    def due(self) -> bool:
        return not self.cancelled

    def in_transaction(self) -> bool:
        return False

    def backend_id(self) -> int:
        return 7


@pytest.fixture
def loop() -> Iterator[MatrixLoop]:
    made = MatrixLoop()
    yield made
    made.close()


WAITS = {7: frozenset({8})}  # who waits in the server for whom


def quiet_of(loop: MatrixLoop, channels: list[Busy], requests: list[int], waits: Any = WAITS) -> Quiet:
    """One by one the requests are sent when the world is quiet, by the loop, and end the wait of all channels."""

    def sent() -> None:
        requests.pop()
        for channel in channels:
            channel.cancelled = True

    def heard() -> bool:
        if requests:
            loop.call_soon(sent)
        return bool(requests)

    workers = SimpleNamespace(channels=[], held_threads=list)
    gates: Any = SimpleNamespace(channels=lambda: channels, connecting=lambda: False, heard=heard, workers=workers)
    witness = SimpleNamespace(lock_waits=lambda: waits)
    return Quiet(loop, gates, witness, lambda seconds: True)


def test_a_request_to_cancel_is_sent_where_nothing_else_is_due(loop):
    requests = [1, 2]
    quiet = quiet_of(loop, [], requests)
    loop.run_until_complete(quiet.wait())
    assert requests == []


def test_a_request_to_cancel_is_sent_where_what_it_cancels_waits_for_a_lock(loop):
    requests = [1]
    quiet = quiet_of(loop, [Busy()], requests)
    loop.run_until_complete(quiet.wait())
    assert requests == []
    assert quiet.blocked == []


def test_a_request_to_cancel_is_sent_where_what_it_cancels_goes_on_and_on(loop, monkeypatch):
    """No lock, and no answer: as a statement that sleeps, or computes."""
    monkeypatch.setattr("matrix.harness.quiet.DEADLINE", 0.02)
    requests = [1]
    quiet = quiet_of(loop, [Busy()], requests, waits={})
    loop.run_until_complete(quiet.wait())
    assert (requests, quiet.stalled) == ([], False)


def test_what_waits_for_a_lock_and_is_not_cancelled_is_blocked(loop):
    channel = Busy()
    quiet = quiet_of(loop, [channel], [])
    loop.run_until_complete(quiet.wait())
    assert quiet.blocked == [channel]


def test_a_request_to_cancel_is_sent_where_the_loop_goes_round_and_round_until_then(loop, monkeypatch):
    monkeypatch.setattr("matrix.harness.loop.RESTLESS", 0.05)
    requests = [1]
    quiet = quiet_of(loop, [], requests)

    async def spins():
        while requests:  # noqa: ASYNC110 - a program that polls
            await asyncio.sleep(0)

    async def both():
        await asyncio.gather(spins(), quiet.wait())

    loop.run_until_complete(both())
    assert (requests, quiet.restless) == ([], False)

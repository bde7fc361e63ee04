"""The gates of one run as one: their channels by number, and what is done to all of them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from matrix.harness.channel import Timeline
from matrix.harness.gates import Gates


class Recorded:
    """A channel that knows what was done to it."""

    def __init__(self, number: int, unread: int = 0) -> None:
        self.number, self.bytes, self.done = number, unread, []

    def __getattr__(self, name: str) -> Any:
        return lambda: self.done.append(name)

    def unread(self) -> int:
        return self.bytes


@pytest.fixture
def gates() -> Gates:
    return Gates(Timeline(), lambda: None)


def relay(*wires: Recorded, port: int = 1, connecting: bool = False) -> Any:
    return SimpleNamespace(wires=list(wires), port=port, connecting=lambda: connecting)


def test_channels_are_numbered_from_one_whichever_gate_makes_them(gates):
    assert [gates.number_channel(), gates.workers.channel("pool", serial=False).number, gates.number_channel()] == [
        1, 2, 3,
    ]  # fmt: skip


def test_the_gate_for_threads_knows_the_run_and_whom_to_tell():
    told: list[int] = []
    timeline = Timeline()
    gates = Gates(timeline, lambda: told.append(1))
    for _ in range(2):
        assert gates.workers.timeline is timeline
        gates.workers._came_to_rest()
        gates.workers.channel("pool", serial=False)
        gates.forget()
    assert told == [1, 1]
    assert gates.number_channel() == 3  # numbers go on
    assert gates.workers.channels == []


def test_all_channels_come_in_the_order_of_their_numbers(gates):
    first, third = Recorded(gates.number_channel()), gates.workers.channel("pool", serial=False)
    second = Recorded(7)
    gates.add(relay(second))
    gates.add(relay(first))
    assert gates.channels() == [first, third, second]
    gates.forget()
    assert gates.channels() == list(gates) == []


def test_the_driver_connects_to_the_first_gate_if_there_is_one(gates):
    assert gates.port() is None
    gates.add(relay(port=5))
    gates.add(relay(port=6))
    assert gates.port() == 5


@pytest.mark.parametrize("held", [True, False])
def test_what_is_held_is_held_everywhere_now_and_from_now_on(gates, held):
    wires = Recorded(1), Recorded(2)
    relays = [relay(wire) for wire in wires]
    for each in relays:
        gates.add(each)
    gates.hold(held)
    assert [each.done for each in wires] == [["hold" if held else "release"]] * 2
    assert [each.hold for each in relays] == [held] * 2
    assert gates.workers.hold is held


@pytest.mark.parametrize("refused", [True, False])
def test_new_connections_are_refused_by_all(gates, refused):
    relays = relay(), relay()
    for each in relays:
        gates.add(each)
    gates.refuse_connections(refused)
    assert [each.refuse_connections for each in relays] == [refused] * 2


def test_the_driver_s_sockets_are_known_by_their_numbers_as_far_as_they_are_there(gates):
    wires = [
        SimpleNamespace(driver_socket=SimpleNamespace(number=lambda number=number: number)) for number in (7, None)
    ]
    gates.add(relay(*wires))
    assert gates.sockets() == {7}


@pytest.mark.parametrize("connecting", [True, False])
def test_one_that_connects_and_all_that_is_unread_counts(gates, connecting):
    assert not gates.connecting()
    assert gates.unread() == 0
    gates.add(relay(Recorded(1, 5), Recorded(2, 7), connecting=connecting))
    gates.add(relay(Recorded(3, 11)))
    assert gates.connecting() == connecting
    assert gates.unread() == 23

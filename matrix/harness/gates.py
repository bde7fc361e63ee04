"""All gates of one run, in front of servers and of threads, and their channels as one."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator

from .channel import Channel, Timeline
from .gate import Gate
from .workers import WorkerGate


class Gates:
    """Iterates over the gates in front of servers; ``workers`` is the one for threads."""

    def __init__(self, timeline: Timeline, came_to_rest: Callable[[], None]) -> None:
        self._numbers = itertools.count(1)
        self._relays: list[Gate] = []
        self._made_workers = functools.partial(WorkerGate, timeline, self.number_channel, came_to_rest)
        self.workers = self._made_workers()

    def __iter__(self) -> Iterator[Gate]:
        return iter(self._relays)

    def forget(self) -> None:
        """Let go of all gates and their channels."""
        self._relays.clear()
        self.workers = self._made_workers()

    def add(self, gate: Gate) -> None:
        self._relays.append(gate)

    def number_channel(self) -> int:
        """The number of a new channel, of whichever gate."""
        return next(self._numbers)

    def channels(self) -> list[Channel]:
        wires: list[Channel] = [wire for gate in self._relays for wire in gate.wires]
        return sorted([*wires, *self.workers.channels], key=lambda channel: channel.number)

    def port(self) -> int | None:
        """Where the driver shall connect to, instead of to the server; None where there is no server."""
        return self._relays[0].port if self._relays else None

    def hold(self, held: bool) -> None:
        """Hold answers from now on, or let everything through."""
        self.workers.hold = held
        for gate in self._relays:
            gate.hold = held
        for channel in self.channels():
            if held:
                channel.hold()
            else:
                channel.release()

    def refuse_connections(self, refused: bool) -> None:
        """Cut new connections off at once, or serve them again."""
        for gate in self._relays:
            gate.refuse_connections = refused

    def fall_silent(self, *, open_ones: bool, new_ones: bool) -> None:
        """Nothing passes on what is open now any more, or on what is opened from now on, and nothing closes."""
        for gate in self._relays:
            gate.silent = new_ones
            for wire in gate.wires if open_ones else ():
                wire.fall_silent()

    def connecting(self) -> bool:
        return any(gate.connecting() for gate in self._relays)

    def heard(self) -> bool:
        """The world is quiet: the server has begun with all that it was asked. Returns whether it is not so any more: a
        request to cancel, which came at the same time as what it cancels, has gone to the server."""
        return sum(wire.heard() for gate in self._relays for wire in gate.wires) > 0

    def unread(self) -> int:
        """Bytes that were delivered to the driver's sockets and that it has not read."""
        return sum(wire.unread() for gate in self._relays for wire in gate.wires)

    def sockets(self) -> set[int]:
        """The numbers of the driver's sockets: on these nothing comes but what the gates send."""
        ends = [wire.driver_socket for gate in self._relays for wire in gate.wires]
        return {number for end in ends if (number := end.number()) is not None}

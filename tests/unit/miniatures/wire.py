"""The wire between miniature driver and database: its answers are held and delivered like those of the real gate."""

from __future__ import annotations

import asyncio
import collections
from collections.abc import Callable
from typing import Any

from matrix.harness.channel import TOKEN, Channel, FrameRecord, Segments

from .database import Answer, Database, ServerSession


class MiniatureWire(Channel):
    """One connection. The server answers each statement at once; the answer waits here until it is delivered."""

    server_type: type[ServerSession] = ServerSession

    def __init__(self, gate: MiniatureGate) -> None:
        self.gate = gate
        self.number = gate.world.gates.number_channel()
        self.label = f"connection {self.number}"
        self.segments = Segments(self.number)
        self.holding = gate.hold
        self.closed = False
        self.held: collections.deque[Answer | None] = collections.deque()  # None: the end of the connection
        self.server = self.server_type(gate.database)
        self.server.lost = self.lose
        self.lost = False
        self.silent = gate.silent
        self.logged_in = not gate.silent
        self.server.answered, self.server.notified = self.answered, self.arrive
        self.backlog: collections.deque[str] = collections.deque()  # behind a statement that waits for a lock
        self.locked = False
        self.loop = asyncio.get_running_loop()  # whoever delivers may be in another thread
        self.receive: Callable[[Answer | None], None] = lambda answer: None  # None: the connection is lost
        gate.wires.append(self)

    def send(self, statement: str) -> None:
        """The driver's bytes; what the server makes of them is on its way back when this returns."""
        self._record("->", statement)
        if self.lost or self.silent:
            return  # into the void
        self.segments.statement(statement)
        for token in TOKEN.findall(statement.encode()):
            self.segments.token(token.decode())
        self.backlog.append(statement)
        self.work()

    def work(self) -> None:
        """The server takes one statement after the other."""
        while self.backlog and not self.locked and not self.closed:
            answer = self.server.execute(self.backlog.popleft())
            if answer is None:
                self.locked = True
            else:
                self.arrive(answer)

    def answered(self, answer: Answer) -> None:
        """What had to wait for a lock."""
        self.locked = False
        self.arrive(answer)
        self.work()

    def arrive(self, answer: Answer) -> None:
        if self.silent:
            return
        self._record("<-", answer.error or f"{answer.tag} {answer.value}")
        self.held.append(answer)
        if not self.holding:
            self.release()

    def close(self) -> None:
        """The driver hangs up."""
        self.closed = True
        self.held.clear()
        self.backlog.clear()
        self.server.end()

    def busy(self) -> bool:
        return False  # an answer is either held here or on its way through the loop, which is not idle then

    def unread(self) -> int:
        return 0

    def deliverable(self) -> bool:
        return bool(self.held)

    def deliver(self) -> dict[str, Any]:
        answer = self.held.popleft()
        self._tell(answer)
        if answer is None:
            return {"pieces": [], "ends": True}
        return {"pieces": [{"kind": answer.error or f"{answer.tag} {answer.value}".strip(), "text": ""}], "ends": False}

    def backend_id(self) -> int | None:
        return None if self.lost else id(self.server)

    def expect_end(self) -> None:
        self.held.clear()

    def lose(self) -> None:
        """The server has ended the session."""
        self.lost = True
        if self.silent:
            return
        self.held.append(None)
        if not self.holding:
            self.release()

    def release(self) -> None:
        self.holding = self.gate.hold
        while self.held:
            self.deliver()

    def fall_silent(self) -> None:
        self.silent = True
        self.held.clear()

    def cut(self) -> None:
        if not self.closed:
            self.close()
            self._tell(None)

    def _tell(self, answer: Answer | None) -> None:
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self.receive, answer)

    def in_transaction(self) -> bool:
        return self.server.open and not self.silent

    def _record(self, direction: str, text: str) -> None:
        timeline = self.gate.world.timeline
        held, overlap = self.holding and direction == "<-", bool(self.held) and direction == "->"
        record = FrameRecord(
            timeline.next(), timeline.elapsed(), self.number, direction, "frame", len(text), text, overlap, held
        )
        timeline.frames.append(record)


class MiniatureGate:
    """The duck type of ``matrix.harness.gate.Gate``: makes wires, and knows whether their answers are held."""

    port = 0

    def __init__(self, world: Any, database: Database) -> None:
        self.world = world
        self.database = database
        self.hold = False
        self.refuse_connections = False
        self.silent = False
        self.wires: list[MiniatureWire] = []

    def connecting(self) -> bool:
        return False

    def end_silence(self) -> None:
        self.silent = False
        for wire in self.wires:
            if wire.silent:
                wire.cut()

    async def close(self) -> None:
        """Nothing listens."""

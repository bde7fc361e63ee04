"""When a world is quiet: every task waits, and nothing moves but what is held or waits for a lock.

Here is what an idle loop means: what is still in flight between driver, gate and server, which threads rest, and which
requests wait for locks by the server's own word.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from .channel import Channel
from .gates import Gates
from .loop import RESTLESS, Events, MatrixLoop, thread_rests
from .threads import all_asleep, others
from .witness import cycle

DEADLINE = 30.0  # seconds of real time; reached only when the proof of a hang failed, a defect of the harness
ANSWER = 1.0  # seconds that the server may then take to answer its witness
ASK_SERVER_AFTER = 0.004  # seconds of real time that a server may take before it is asked whether it waits for a lock
SHORTEST_PAUSE, LONGEST_PAUSE = 0.0002, 0.001  # seconds of real time between two looks
UNSEEN_AFTER = 3.0  # seconds of real time after which a server that looks for deadlocks every second has not seen one


class Quiet:
    """Watches a loop and the gates. ``witness`` is asked who waits for whom in the server; ``answers``, whether the
    server answers within so many seconds.

    What the last quiet moment was like: ``next_timer`` (seconds until the loop's next timer, None without one),
    ``blocked`` (channels whose requests wait for locks), ``stalled`` (it was none: the deadline had come), ``restless``
    (it was none: the loop is never idle).
    """

    def __init__(self, loop: MatrixLoop, gates: Gates, witness: Any, answers: Callable[[float], bool]) -> None:
        self._answers = answers
        self._loop = loop
        self._gates = gates
        self._witness = witness
        self.next_timer: float | None = None
        self.blocked: list[Channel] = []
        self.stalled = False
        self.restless = False
        self.locks_time_out = False  # the server ends each wait for a lock: that is waited for, like an answer
        self._circle = False  # requests wait for each other in the server
        self._unseen = False  # and also for somebody who can go on
        self._quiet: asyncio.Future[None] | None = None
        self._thread_state: tuple[Any, ...] = ()
        self._thread_looks = 0
        loop.idle_selector.on_idle = self._idle
        loop.idle_selector.on_restless = self._restless

    def wrong(self) -> str:
        """What is wrong with a server that moved nothing to the deadline; empty when nothing is known to be."""
        if self.restless:
            return (
                f"for {RESTLESS:.0f} s of real time the program did not wait: a task goes round and round, by sleep(0) "
                "perhaps; let it wait for an Event, or sleep for a while"
            )
        if self.stalled and not self._answers(ANSWER):
            return f"for {DEADLINE:.0f} s nothing happened, and the server did not answer its witness"
        if self.stalled and self._circle:
            return f"the server left a deadlock alone for {DEADLINE:.0f} s: is its detection off?"
        return ""

    def _restless(self) -> None:
        if self._gates.heard():  # it may go round and round until something is cancelled
            self._loop.idle_selector.count_anew()
        elif self._quiet is not None and not self._quiet.done():
            self.restless = True
            self._quiet.set_result(None)

    async def wait(self) -> None:
        """Wait until every task waits and nothing is in flight but what is held or waits for a lock."""
        self.restless = False
        self._quiet = self._loop.create_future()
        await self._quiet

    def _idle(self, timeout: float | None) -> Events:
        """Called when the loop is about to block. Waits for what is in flight, then tells who waits for quiet."""
        selector = self._loop.idle_selector
        since = time.monotonic()
        asked, pause = 0.0, SHORTEST_PAUSE / 2
        self.blocked = []
        self.stalled = self._circle = self._unseen = False
        while True:
            seen = self._movement()
            busy = [channel for channel in self._gates.channels() if channel.busy()]
            resting = not busy and not self._gates.connecting() and self._workers_rest()
            if resting and seen == self._movement():
                events = selector.wait(0)
                if events:
                    return events
                if self._gates.heard():
                    return []  # the loop sends it
                break
            # How long decides nothing. Where nobody is waited for but servers, the loop hears each of them; the end of
            # what else is busy is an event too; the going to sleep of a thread is none.
            pause = min(2 * pause, LONGEST_PAUSE) if busy else SHORTEST_PAUSE
            heard = self._alone() and all(channel.due() for channel in busy)
            events = selector.block(ASK_SERVER_AFTER) if heard else selector.wait(pause)
            if events:
                return events
            waited = time.monotonic() - since
            if busy and not self.locks_time_out and waited > max(ASK_SERVER_AFTER, 2 * asked):
                asked = waited
                # Not in a cycle, which the server ends by itself; unless it does not see it.
                if self._all_wait_for_locks(busy) or (self._unseen and waited > UNSEEN_AFTER):
                    events = selector.wait(0)
                    if events:
                        return events
                    if self._gates.heard():
                        return []
                    self.blocked = busy
                    break
            if waited > DEADLINE:
                if self._gates.heard():  # what it cancels is no lock and no end: a statement that sleeps, perhaps
                    return []
                self.stalled = True
                self.blocked = busy
                break
        self.next_timer = min(
            (timer for timer in (timeout, *(side.next_timer() for side in self._loop.sides)) if timer is not None),
            default=None,
        )
        if self._quiet is not None and not self._quiet.done():
            self._quiet.set_result(None)
            return []
        # Nobody asked: the loop runs without a conductor (set-up, tear-down). Wait as any loop would.
        return selector.wait(1.0 if timeout is None else min(timeout, 1.0))

    def _alone(self) -> bool:
        """Whether no other thread is at work."""
        return self._loop.workers.at_rest() and not self._loop.sides and not self._gates.workers.channels

    def _movement(self) -> tuple[Any, ...]:
        """What counts up when something moves in another thread: two looks at two threads are no look at both."""
        sides = [side.side_selector.rounds for side in self._loop.sides]
        return (*sides, *(channel.moves() for channel in self._gates.workers.channels))

    def _workers_rest(self) -> bool:
        """Whether every thread of the default executor waits: for the gate, or asleep for good (threads.py), or, where
        the kernel does not say for what, asleep without having run since last asked.

        A thread to whose socket an answer was delivered that it has not read yet is about to wake up.
        """
        threads, on_its_way = self._loop.workers.state()
        sides = list(self._loop.sides)
        if on_its_way or 0 in threads or not all(side.rests() for side in sides):
            return False
        at_side = {side.thread for side in sides}
        threads = [thread for thread in threads if thread not in at_side]
        if not threads:
            return True
        workers = self._gates.workers
        counted = [channel for channel in workers.channels if channel.exact and not channel.serial]
        if counted:
            return len(threads) == sum(channel.pending for channel in counted)  # else one is on its way out
        # They may wait for each other: of these, and of whatever thread is still busy with a job's end, the kernel must
        # show that they all sleep at once. What is held has left the driver, and waits for nobody else.
        held, everybody, bystanders = workers.held_threads(), others(), at_side | self._loop.bystanders
        if all_asleep(everybody - bystanders, self._gates.sockets, everybody & bystanders):
            return True
        counts = []
        for thread in threads:
            if thread in held:
                continue
            sleeps, switches = thread_rests(thread)
            if not sleeps:
                self._thread_state = ()  # the looks begin again: before it sleeps it is switched
                return False
            counts.append((thread, switches))
        unread = self._gates.unread()
        state = (unread, *sorted(counts))
        if state != self._thread_state:
            self._thread_state, self._thread_looks = state, 0
        self._thread_looks += 1
        return self._thread_looks > (100 if unread else 4)

    def _all_wait_for_locks(self, busy: list[Channel]) -> bool:
        """Whether these requests wait for locks, by the server's word, and for somebody who can do something about it:
        a cycle of waits is none of the program's, since the server resolves it."""
        ids = {channel.backend_id() for channel in busy}
        waits = {session: holders for session, holders in self._witness.lock_waits().items() if session in ids}
        # Where the server does not say who holds a lock: somebody with a transaction who does not wait, if anybody.
        free = {channel.backend_id() for channel in self._gates.channels() if channel.in_transaction()} - waits.keys()
        suspects = frozenset(waits) if not free else frozenset()
        waits = {session: holders or suspects - {session} for session, holders in waits.items()}
        found = cycle(waits)
        self._circle = bool(found)
        # InnoDB follows one of the holders that a request waits for. Where that one is free to go on, a cycle through
        # the others is not seen until it has.
        self._unseen = ids == waits.keys() and any(not holders <= waits.keys() for holders in found.values())
        return ids == waits.keys() and not self._circle

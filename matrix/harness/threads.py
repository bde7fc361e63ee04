"""What threads wait for, as the kernel shows it: whether any of them can ever go on by itself.

The kernel shows a thread's system call only of one that is off its core and asleep. What ends some of these calls is
known: another thread of this process gives a lock free, or bytes come on a socket. Any other call proves nothing, above
all one with a time limit (Python's waiting for the interpreter lock is one).

To look at one thread after the other is no look at all of them: one that was asleep may be woken by one that is looked
at next. So each is looked at twice, and the kernel counts how often it was given a core. Who was asleep both times, and
was given none between, slept all the while; and between the last first look and the first second one, all of them did,
so that none was left who could wake another.

A thread that was woken is still shown in its call while a core that idles has yet to be told of it (TASK_WAKING; on a
virtual machine for as long as its host needs to let that core run). Its state is "R" then already: the second look is
at the state, and who has state "S" and was given no core since the first look was not woken before that one either.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import platform
import select
import struct
import threading
from collections.abc import Callable, Collection
from pathlib import Path

from .loop import rests
from .sockets import first_aside

# The call in which a thread waits for a lock, its kinds of waiting, and the flag that says that no other process could
# wake it (linux/futex.h).
FUTEX = {"x86_64": b"202", "aarch64": b"98"}.get(platform.machine())
FUTEX_WAITS = (0, 6, 9, 13)  # WAIT, LOCK_PI, WAIT_BITSET, LOCK_PI2
FUTEX_PRIVATE, FUTEX_CLOCK = 128, 256
READS = {"x86_64": (b"0", b"45", b"47"), "aarch64": (b"63", b"207", b"212")}.get(platform.machine(), ())  # read, recv…
POLL = {"x86_64": b"7"}.get(platform.machine())  # its limit is a number, negative without one
PPOLL = {"x86_64": b"271", "aarch64": b"73"}.get(platform.machine())  # ... the address of one, 0 without
POLLED = struct.Struct("=ihh")  # struct pollfd
MOST_POLLED = 8
MOST_FILES = 200  # kept open by each thread that looks


def fast_asleep(process: int, but: int) -> frozenset[tuple[int, int]] | None:
    """The threads of a process, one left out, each with how often it was switched, if every one of them waits for a
    lock of this process without a time limit. Then only one of them could wake another: two equal answers are proof
    that none ever will. None if that is not so, or cannot be known (Linux only)."""
    found = set()
    try:
        for task in Path(f"/proc/{process}/task").iterdir():
            if int(task.name) == but:
                continue
            if not _waits_for_a_lock((task / "syscall").read_bytes().split()):
                return None
            asleep, switches = rests((task / "status").read_bytes())
            if not asleep:
                return None
            found.add((int(task.name), switches))
    except OSError:
        return None
    return frozenset(found)


def all_asleep(
    threads: Collection[int], sockets: Callable[[], Collection[int]], bystanders: Collection[int] = ()
) -> bool:
    """Whether there was a moment just now at which all these threads of this process slept, none of whom can be woken
    but by a thread that is not among them: each waits without a time limit for a lock of this process, or for bytes on
    one of these ``sockets``, and there are none. Of ``bystanders``, which do nothing for the others, it is enough that
    they slept too: one that is interrupted may hold the interpreter's own lock, for which others wait without a limit.
    False where that cannot be known."""
    every = [*threads, *bystanders]
    try:
        # One that was awake a moment ago mostly still is: then no other need be looked at.
        if _files.awake in threads and not _sleeps_for_good(_files.awake, sockets):
            return False
        counts = [*map(_times_run, every)]
        if b"0\n" in counts:  # the kernel does not count that
            return False
        return (
            all(_sleeps_for_good(thread, sockets) for thread in threads)
            and all(map(_sleeps, bystanders))
            and all(_state(thread) == b"S" for thread in threads)
            and all(_state(thread) in (b"S", b"D") for thread in bystanders)
            and counts == [*map(_times_run, every)]
        )
    except OSError:  # it has ended, or the kernel does not say
        return False


def _times_run(thread: int) -> bytes:
    """How often a thread of this process was given a core, as the kernel writes it."""
    return _files.read(thread, "schedstat").rpartition(b" ")[2]


def _sleeps(thread: int) -> bool:
    """Whether a thread sleeps in a call: "running" is shown of one that does not, -1 of one that is in none."""
    return _files.read(thread, "syscall").split()[0].isdigit()


def _state(thread: int) -> bytes:
    """One letter: R of one that runs or is about to, S of one that sleeps, D of one that goes on by itself. It stands
    behind the thread's name, which may be anything."""
    return _files.read(thread, "stat").rpartition(b") ")[2][:1]


def _sleeps_for_good(thread: int, sockets: Callable[[], Collection[int]]) -> bool:
    call = _files.read(thread, "syscall").split()
    if _waits_for_a_lock(call) or _waits_for_bytes(call, sockets):
        return True
    _files.awake = thread
    return False


class _Files(threading.local):
    """The kernel's files about threads, kept open for each thread that asks: a run asks tens of thousands of times, and
    to open one takes four times as long as to read it. Their numbers are not taken from the driver's sockets."""

    def __init__(self) -> None:
        self.open: dict[tuple[int, str], int] = {}
        self.awake = 0  # the thread that was seen awake last

    def read(self, thread: int, what: str) -> bytes:
        """Raises OSError of a thread that has ended."""
        if (file := self.open.get((thread, what))) is not None:
            try:
                return os.pread(file, 4096, 0)
            except OSError:  # it has ended; another one may have its number now
                os.close(self.open.pop((thread, what)))
        if len(self.open) >= MOST_FILES:
            self.close()
        opened = os.open(f"/proc/self/task/{thread}/{what}", os.O_RDONLY)
        try:
            with contextlib.suppress(OSError):  # no number is left: then it is opened each time
                self.open[thread, what] = fcntl.fcntl(opened, fcntl.F_DUPFD_CLOEXEC, first_aside())
            return os.read(opened, 4096)
        finally:
            os.close(opened)

    def close(self) -> None:
        """Also in a process that was forked off: they show the threads of the one before."""
        for file in self.open.values():
            os.close(file)
        self.open.clear()


_files = _Files()
os.register_at_fork(after_in_child=_files.close)


def _waits_for_bytes(call: list[bytes], sockets: Callable[[], Collection[int]]) -> bool:
    """Whether a thread's system call waits without a time limit for bytes on some of these sockets, and there are
    none. A thread for which there are some is about to wake up."""
    if len(call) < 4:
        return False
    if call[0] in READS:
        polled = [(int(call[1], 16), select.POLLIN)]
    elif (call[0] == POLL and int(call[3], 16) & 1 << 31) or (call[0] == PPOLL and not int(call[3], 16)):
        polled = _polled(int(call[1], 16), int(call[2], 16))
    else:
        return False
    known = sockets()
    poll = select.poll()
    for file, events in polled:
        poll.register(file, events)
    return bool(polled) and all(file in known for file, _ in polled) and not poll.poll(0)


def _polled(address: int, count: int) -> list[tuple[int, int]]:
    """The files that a thread of this process waits for in poll(), and what for; none where they are too many."""
    if count > MOST_POLLED:
        return []
    memory = os.open("/proc/self/mem", os.O_RDONLY)  # it may have gone on meanwhile, and its stack with it
    try:
        listed = os.pread(memory, count * POLLED.size, address)
    finally:
        os.close(memory)
    return [(file, events) for file, events, _ in POLLED.iter_unpack(listed)]


def others() -> set[int]:
    """Native ids of all threads of this process, whoever started them, but of the one that asks."""
    return {int(name) for name in os.listdir("/proc/self/task")} - {threading.get_native_id()}  # noqa: PTH208


def _waits_for_a_lock(call: list[bytes]) -> bool:
    """Whether a thread's system call (its number and arguments, as the kernel shows them; none of a thread that runs)
    is a wait for a lock that nobody but its own process can end."""
    if len(call) < 5 or call[0] != FUTEX:
        return False
    kind, limit = int(call[2], 16), int(call[4], 16)
    return kind & ~(FUTEX_PRIVATE | FUTEX_CLOCK) in FUTEX_WAITS and bool(kind & FUTEX_PRIVATE) and not limit

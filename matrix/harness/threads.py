"""What the threads of another process do, seen from outside: whether any of them can ever go on by itself."""

from __future__ import annotations

import platform
import re
from pathlib import Path

# The call in which a thread waits for a lock, its kinds of waiting, and the flag that says that no other process could
# wake it (linux/futex.h).
FUTEX = {"x86_64": "202", "aarch64": "98"}.get(platform.machine())
FUTEX_WAITS = (0, 6, 9, 13)  # WAIT, LOCK_PI, WAIT_BITSET, LOCK_PI2
FUTEX_PRIVATE, FUTEX_CLOCK = 128, 256
SWITCHES = re.compile(r"ctxt_switches:\s*(\d+)")


def fast_asleep(process: int, but: int) -> frozenset[tuple[int, int]] | None:
    """The threads of a process, one left out, each with how often it was switched, if every one of them waits for a
    lock of this process without a time limit. Then only one of them could wake another: two equal answers are proof
    that none ever will. None if that is not so, or cannot be known (Linux only)."""
    found = set()
    try:
        for task in Path(f"/proc/{process}/task").iterdir():
            if int(task.name) == but:
                continue
            if not _waits_for_a_lock((task / "syscall").read_text().split()):
                return None
            switches = SWITCHES.findall((task / "status").read_text())
            found.add((int(task.name), sum(map(int, switches))))
    except OSError:
        return None
    return frozenset(found)


def _waits_for_a_lock(call: list[str]) -> bool:
    """Whether a thread's system call (its number and arguments, as the kernel shows them; none of a thread that runs)
    is a wait for a lock that nobody but its own process can end."""
    if len(call) < 5 or call[0] != FUTEX:
        return False
    kind, limit = int(call[2], 16), int(call[4], 16)
    return kind & ~(FUTEX_PRIVATE | FUTEX_CLOCK) in FUTEX_WAITS and bool(kind & FUTEX_PRIVATE) and not limit

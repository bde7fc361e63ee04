"""The tests of a mutant run among processes of their own, as there are mutants that end any other. Where the system
does not let us (it takes Linux, and root), they run as they are."""

from __future__ import annotations

import ctypes
import os

from matrix.parent import end_with

CLONE_NEWNS, CLONE_NEWPID, MS_REC, MS_PRIVATE = 0x20000, 0x20000000, 0x4000, 0x40000
ENDED_BY = 128  # and the number of the signal: how a process ends whose tests were ended by one


def go_apart() -> None:
    """Goes on in a grandchild, the second process of a namespace; the first one takes in who has lost his parent. What
    they leave in memory goes with them."""
    system = ctypes.CDLL(None)
    if system.unshare(CLONE_NEWNS | CLONE_NEWPID):
        return
    if first := os.fork():
        _end_as(os.waitpid(first, 0)[1])
    end_with(0)  # seen from here our parent has no number
    system.mount(None, b"/", None, MS_REC | MS_PRIVATE, None)
    system.mount(b"proc", b"/proc", b"proc", 0, None)
    system.mount(b"tmpfs", b"/dev/shm", b"tmpfs", 0, None)
    if tests := os.fork():
        while (ended := os.wait())[0] != tests:
            pass
        _end_as(ended[1])
    os.setsid()  # a group of processes reaches over namespaces


def _end_as(status: int) -> None:
    """As the tests did."""
    os._exit(os.WEXITSTATUS(status) if os.WIFEXITED(status) else ENDED_BY + os.WTERMSIG(status))

"""A plugin for the tests of a mutant: they run among processes of their own, as there are mutants that end any other,
mutmut among them. Where the system does not let us (it takes Linux, and root), they run as they are."""

from __future__ import annotations

import ctypes
import os
from typing import Any

import pytest

from matrix.parent import end_with

CLONE_NEWNS, CLONE_NEWPID, MS_REC, MS_PRIVATE = 0x20000, 0x20000000, 0x4000, 0x40000


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: Any) -> None:
    """Goes on in a grandchild, the second process of a namespace; the first one takes in who has lost his parent."""
    if "__mutmut_" not in os.environ.get("MUTANT_UNDER_TEST", ""):
        return
    system = ctypes.CDLL(None)
    if system.unshare(CLONE_NEWNS | CLONE_NEWPID):
        return
    if first := os.fork():
        _end_as(os.waitpid(first, 0)[1])
    end_with(0)  # mutmut ends a mutant that takes too long; seen from here its process has no number
    system.mount(None, b"/", None, MS_REC | MS_PRIVATE, None)
    system.mount(b"proc", b"/proc", b"proc", 0, None)
    if tests := os.fork():
        while (ended := os.wait())[0] != tests:
            pass
        _end_as(ended[1])
    os.setsid()  # a group of processes reaches over namespaces


def _end_as(status: int) -> None:
    """As the tests did; who is ended by a signal has not passed them."""
    os._exit(os.WEXITSTATUS(status) if os.WIFEXITED(status) else 1)

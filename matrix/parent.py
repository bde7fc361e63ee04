"""Processes that end with the one that started them, however that ends. Standard library only: for every room.

By the kernel (Linux). It looks at the *thread* that started a process, so this is for what a program's main thread
starts. A program that starts processes from threads has a watchman instead (matrix/runs/children.py).
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
# Looked up now: between fork and exec, and after a change of user, files may be out of reach.
_prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None


def end_with(parent: int, number: int = signal.SIGKILL) -> None:
    """Have this process get a signal when its parent, whose id this is, has ended; end at once if it has already."""
    if _prctl is not None:
        _prctl(PR_SET_PDEATHSIG, int(number), 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)

"""A file system in memory, for tests that make and throw away many files."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

MEMORY_NEEDED = 1 << 30  # bytes


def roomy_memory() -> str | None:
    """One that has room for a few servers, if there is one; containers often have a tiny one."""
    memory = Path("/dev/shm")
    if not (memory.is_dir() and os.access(memory, os.W_OK)):
        return None
    return str(memory) if shutil.disk_usage(memory).free > MEMORY_NEEDED else None

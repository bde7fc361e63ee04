"""Who made a database or a folder that may outlive its process, so that a later run can take away what a kill left.

Standard library only: for every room.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import os
import platform
import re
import shutil
import signal
import tempfile
import time
from pathlib import Path
from types import FrameType

DAY = 86400.0  # seconds: what another machine's process made is left alone for so long
MARK = re.compile(r"matrix_(?P<host>[0-9a-f]{12})_(?P<pid>\d+)_(?P<started>\d+)_(?P<when>\d+)")


def start_time(pid: int) -> str:
    """A value that differs between two processes with the same pid; empty when there is no such process, or it is over
    and only its parent has not asked how it ended (a zombie)."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    fields = text.rpartition(")")[2].split()
    return "" if fields[0] in "ZX" else fields[19]


def mark() -> str:
    """This process: ``matrix_<host>_<pid>_<start>_<now, in seconds since 1970>``, at most 52 characters. It is part of
    the name of what is made, so that there is no moment at which that is nobody's."""
    return f"matrix_{_host()}_{os.getpid()}_{start_time(os.getpid()) or 0}_{int(time.time())}"


def is_left(text: str) -> bool:
    """Whether ``text`` holds a mark whose process is over. One of another machine is not known to be until a day after;
    what has no mark was made by somebody else."""
    found = MARK.search(text)
    if found is None:
        return False
    if is_of_here(text):
        return start_time(int(found["pid"])) != found["started"]
    return time.time() - float(found["when"]) > DAY


def is_of_here(text: str) -> bool:
    """Whether ``text`` holds a mark of this machine, whose system says which of its processes are over."""
    found = MARK.search(text)
    return found is not None and found["host"] == _host() and found["started"] != "0"


def _host() -> str:
    """This boot of this machine, as far as process ids reach: a container has its own, on the same kernel."""
    known = [platform.node()]
    with contextlib.suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
        known = [boot, str(Path("/proc/self/ns/pid").readlink())]
    return hashlib.sha256("\n".join(known).encode()).hexdigest()[:12]


def folder(prefix: str, parent: str | os.PathLike[str] | None = None) -> str:
    """A new temporary folder with this process's mark in its name. Those with the same prefix that killed ones left in
    the same place are removed."""
    place = Path(parent or tempfile.gettempdir())
    for each in place.glob(f"{glob.escape(prefix)}*"):
        if is_left(each.name):
            shutil.rmtree(each, ignore_errors=True)
    return tempfile.mkdtemp(prefix=f"{prefix}{mark()}-", dir=place)


def clean_up_when_told_to_end() -> None:
    """SIGTERM and SIGHUP end this program as Ctrl-C does: it cleans up. SIGHUP stays without effect under nohup, SIGINT
    behind a script's ``&``. The first one counts: a later one would end the cleaning."""
    numbers = [signal.SIGTERM]
    numbers += [each for each in (signal.SIGINT, signal.SIGHUP) if signal.getsignal(each) is not signal.SIG_IGN]

    def interrupt(number: int, frame: FrameType | None) -> None:
        for each in numbers:
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt

    for each in numbers:
        signal.signal(each, interrupt)

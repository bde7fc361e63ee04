"""Prints the quickest ``python3`` of the PATH that is new enough and can make environments.

A Python that was built without its compiler's profile takes a third longer for everything, and a machine often has one
of each kind: the distribution's, and one that somebody has compiled. The first of the PATH stays where no other is
quicker by more than a tenth. Exits with 1 where there is none.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

OLDEST = (3, 11)
CLEARLY = 0.9  # of the time of the one before: less is chance
LOOK = f"""
import ensurepip, sys, time
assert sys.version_info >= {OLDEST}
def work():
    began, found = time.process_time(), {{}}
    for number in range(40_000):
        found[str(number % 100)] = found.get(str(number % 100), 0) + number
    return time.process_time() - began
print(min(work() for _ in range(9)), sys.executable)
"""


def candidates(path: str) -> list[str]:
    """Where a ``python3`` may be on a PATH, in its order."""
    return [str(Path(folder, "python3").absolute()) for folder in path.split(os.pathsep)]


def look(candidate: str) -> tuple[float, str] | None:
    """The seconds that it takes for a little work, and its own path; None where it is too old or not there."""
    try:
        done = subprocess.run([candidate, "-c", LOOK], capture_output=True, text=True, check=True, timeout=30)
        seconds, _, executable = done.stdout.splitlines()[-1].partition(" ")
        return float(seconds), executable
    except (OSError, ValueError, IndexError, subprocess.SubprocessError):
        return None


def quickest(path: str) -> str:
    """Empty where there is none."""
    best: tuple[float, str] | None = None
    for candidate in candidates(path):
        found = look(candidate)
        if found is not None and (best is None or found[0] < CLEARLY * best[0]):
            best = found
    return best[1] if best else ""


if __name__ == "__main__":
    chosen = quickest(os.environ.get("PATH", os.defpath))
    if not chosen:
        version = ".".join(map(str, OLDEST))
        sys.exit(f"no python3 of the PATH is {version} or newer and has ensurepip (Debian: apt install python3-venv)")
    print(chosen)

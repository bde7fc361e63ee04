"""What the guard costs a test suite: ``python guard/overhead.py [--pairs N] PYTEST-ARGUMENTS``.

Started in the suite's folder and environment, it runs pytest with and without the guard in turns and prints the CPU
seconds of each pair, and their ratio."""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def cpu_seconds(mode: str, arguments: list[str]) -> float:
    """Of one run, all of its processes. Exits where pytest ran no tests."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "tortoise_guard.plugin", f"--tortoise-guard={mode}"]
    paths = [str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [*command, *arguments], env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)}, capture_output=True, text=True
    )
    if done.returncode not in (0, 1):
        sys.exit(f"pytest {' '.join(arguments)} ran no tests:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=5)
    options, arguments = parser.parse_known_args()
    ratios = []
    for number in range(options.pairs):
        order = ("off", "report") if number % 2 == 0 else ("report", "off")
        seconds = {mode: cpu_seconds(mode, arguments) for mode in order}
        ratios.append(seconds["report"] / seconds["off"])
        print(f"without {seconds['off']:.2f} s, with {seconds['report']:.2f} s, {ratios[-1]:.3f} times", flush=True)
    print(f"median {statistics.median(ratios):.3f} times")


if __name__ == "__main__":
    main()

"""Processes of cells that replay on demand (matrix/cell/replayer.py), and busy cores beside them."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from matrix.runs import process, registry
from matrix.runs.children import Children

# Of lower priority than the repeats, which shall come to an end: no core rests, and who is interrupted waits; several
# repeats at once (--workers) press harder.
BUSY = "import os\nos.nice(5)\nwhile True:\n    sum(range(100_000))"


class StabilityError(Exception):
    """Nothing can be repeated: one line that says why and what to do."""


@contextlib.contextmanager
def busy(cores: int) -> Iterator[list[int]]:
    """Keeps as many cores busy as long as the block lasts; gives the ids of the processes that do."""
    watched = Children()
    with contextlib.ExitStack() as open_ones:
        burners = []
        for _ in range(cores):
            burner = subprocess.Popen([sys.executable, "-c", BUSY], start_new_session=True)
            open_ones.callback(burner.wait)
            open_ones.callback(burner.kill)
            open_ones.enter_context(watched.one(burner))
            burners.append(burner.pid)
        yield burners


class Worker(AbstractContextManager["Worker"]):
    """A process of a cell that replays on demand."""

    rule: str
    replays: list[dict[str, Any]]  # those that the suite of today knows

    def __init__(self, python: Path, cell: str, log: Path) -> None:
        self.log = log
        with log.open("wb") as errors:
            streams: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": errors}
            self.process = process.start(python, cell, module="matrix.cell.replayer", encoding="utf-8", **streams)

    def begin(self, replays: Sequence[dict[str, Any]], axes: Mapping[str, Any]) -> None:
        """Say what to replay, and on which versions it was recorded. Raises StabilityError."""
        answer = self.ask({"replays": list(replays), "axes": dict(axes)})
        self.rule, self.replays = answer["rule"], answer["replays"]

    def ask(self, message: dict[str, Any]) -> dict[str, Any]:
        """One line there, one line back. Raises StabilityError when the process says that it cannot, or ends."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(json.dumps(message) + "\n")
            self.process.stdin.flush()
        if line := self.process.stdout.readline():
            answer: dict[str, Any] = json.loads(line)
            if "error" in answer:
                raise StabilityError(str(answer["error"]))
            return answer
        last = registry.last_line(self.log.read_text("utf-8", "replace"))
        raise StabilityError(f"its process ended with {self.process.wait()}: {last}")

    def __exit__(self, kind: Any, *_: object) -> None:
        """After what it is at, or at once where the program is told to end."""
        if kind is KeyboardInterrupt:
            self.process.terminate()
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

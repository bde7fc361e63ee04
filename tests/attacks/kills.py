"""Programs that are ended, at a server that was given. What a kill has to leave, the next run takes away."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from tests.attacks import Tried, cells
from tests.attacks.failing import CELLS, Target, target_of
from tests.unit.results.samples import write_folder

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
SCENARIOS = ("CON-1", "TXN-1", "NST-4")
SERVED = ("postgres", "mysql", "mariadb")


def ended(
    command: Sequence[str],
    number: int,
    variables: Mapping[str, str],
    ripe: Callable[[], bool],
    background: bool = False,
) -> tuple[str, str]:
    """Start a program and end it when the moment is ``ripe``; what was wrong, and what was left."""
    mark = uuid.uuid4().hex
    words = ["sh", "-c", '"$@" & wait', "sh", *command] if background else command
    with tempfile.TemporaryFile("w+") as said:
        child = subprocess.Popen(
            words, cwd=cells.environments.ROOT, env={**os.environ, **variables, cells.MARK: mark},
            stdout=said, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        while not ripe():
            if child.poll() is not None:
                return "it ended before the attack", ""
            time.sleep(0.005)
        for pid in cells.running(mark)[: 2 if background else 1]:  # the shell, and what it started
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        child.wait()
        left = cells.left_of(mark)
        said.seek(0)
        text = said.read()
    return text[-500:] if "Traceback" in text else "", f"{len(left)} processes" if left else ""


def swept(target: Target, folder: Path, url: Mapping[str, str]) -> tuple[int, list[str]]:
    """How many databases were left, and which still are after another run."""
    before = target.databases()
    if before:
        cells.run(CELLS[target.server.kind], ["CON-1"], folder / "next", url)
    return len(before), target.databases()


def attack(folder: Path, kinds: Sequence[str] = SERVED) -> Iterator[Tried]:
    for kind in kinds:
        with target_of(kind, folder / kind) as target:
            url = {f"MATRIX_{kind.upper()}_URL": target.server.url}
            python = str(cells.python_of(CELLS[kind]))
            command = [python, "-m", "matrix.cell", CELLS[kind], "--only", ",".join(SCENARIOS)]
            for number in SIGNALS:
                results = folder / f"{kind}{number}"
                part = results / f"{CELLS[kind]}.jsonl.part"
                begun = lambda: part.exists() and part.read_bytes().count(b"\n") > 1  # noqa: B023, E731
                wrong, left = ended([*command, "--results", str(results)], number, url, begun)
                count, still = swept(target, folder, url)
                if number != signal.SIGKILL and count:
                    still.append(f"{count} databases, which the next run had to drop")
                told = f"{CELLS[kind]}, {signal.Signals(number).name}: {count} databases until the next run"
                yield Tried(told, wrong, ", ".join([left, *still] if left else still))
    yield from reports(folder)


def reports(folder: Path) -> Iterator[Tried]:
    """A report with its workers at work, and one that a script started in the background."""
    results = write_folder(folder / "many")
    command = [sys.executable, "-m", "matrix", "report", "--results", str(results)]
    for number in SIGNALS:
        for background in (False, True):
            if number == signal.SIGINT and background:
                continue  # it is deaf to that, as all that a script starts there
            out = folder / f"out{number}{background}"
            words = [*command, "--out", str(out)]
            at_work = lambda: any(out.glob(".*"))  # noqa: B023, E731
            wrong, left = ended(words, number, {}, at_work, background)
            workspaces = list(out.glob(".*"))
            if number == signal.SIGKILL and workspaces:
                subprocess.run(words, cwd=cells.environments.ROOT, capture_output=True, check=False)
                workspaces = list(out.glob(".*"))
            where = " in the background" if background else ""
            left = ", ".join([left, *map(str, workspaces)] if left else map(str, workspaces))
            yield Tried(f"report{where}, {signal.Signals(number).name}", wrong, left)

"""``python -m matrix.runs.stability``: do the cells give the same again, at rest and with every core kept busy?

A repeat replays the schedule that decided each verdict on record, with and without remedies, in one process per cell
(tests/again.py); ``--whole`` also repeats whole explorations. What was done is kept, so that a second start goes on.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import math
import os
import platform
import queue
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matrix.lines import Cure, ScenarioLine
from matrix.results import documents
from matrix.results.read import CellResult, ResultError, read_cell, read_folder
from matrix.results.text import clean
from matrix.results.write import utc_now
from matrix.words import VERDICTS, rank

ROOT = Path(__file__).resolve().parents[2]
# What is repeated; a change to it makes earlier repeats worthless.
SUITE = ("matrix/harness", "tests/compliance", "matrix/generated")
Z95 = 1.959964  # the normal distribution's 97.5 % point
# A busy core ends with its parent, however and whenever that ends. Of lower priority than the repeats, which shall come
# to an end: no core rests, and who is interrupted waits; several repeats at once (--workers) press harder.
BUSY = "import os, sys\nos.nice(5)\nwhile os.getppid() == int(sys.argv[1]):\n    sum(range(100_000))"


Ask = Callable[[dict[str, Any]], dict[str, Any]]


class StabilityError(Exception):
    """Nothing can be repeated: one line that says why and what to do."""


def wilson(disagreements: int, repeats: int) -> tuple[float, float]:
    """The interval in which the share of disagreements lies, 95 %. Nothing is known of no repeats: (0, 1).

    E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927), 209-212.
    """
    if not repeats:
        return 0.0, 1.0
    share, square = disagreements / repeats, Z95**2
    centre = (share + square / (2 * repeats)) / (1 + square / repeats)
    half = Z95 / (1 + square / repeats) * math.sqrt(share * (1 - share) / repeats + square / (4 * repeats**2))
    return max(0.0, centre - half), min(1.0, centre + half)


# -- what to repeat --------------------------------------------------------------------------------------------------


def replays_of(result: CellResult) -> list[dict[str, Any]]:
    """The deciding schedules of a cell: scenario, remedy, database, and what they showed."""
    made = []
    for line in result.scenarios:
        cures = line.get("cures") or {}
        for scenario, seen, remedy in (
            [(name, cure, line["scenario"]) for name, cure in cures.items()]
            if cures
            else [(line["scenario"], line, None)]
        ):
            generated = line.get("generated")
            if seen["verdict"] in VERDICTS and (generated is None or "deciding" in generated):
                variants: Mapping[str, str] = line.get("variants") or {}
                made.append(
                    {
                        "scenario": scenario,
                        "remedy": remedy,
                        "program": generated and generated["deciding"],
                        "database": max(variants, key=lambda kind: rank(variants[kind]), default=None),
                        "schedule": seen.get("schedule") or "",
                        "verdict": seen["verdict"],
                        "properties": sorted({violation["property"] for violation in seen["violations"]}),
                    }
                )
    return made


def fingerprint(result: CellResult, replays: Sequence[dict[str, Any]]) -> str:
    """Changes with the suite, the cell's versions and what is replayed: repeats of another one do not count."""
    seen = hashlib.sha256(json.dumps([result.header["packages"], result.axes, replays], sort_keys=True).encode())
    for folder in SUITE:
        for path in sorted((ROOT / folder).rglob("*.*")):
            if path.suffix in (".py", ".toml"):
                seen.update(path.read_bytes())
    return seen.hexdigest()[:16]


def named(replay: dict[str, Any]) -> str:
    properties = ", ".join(replay["properties"])
    return f"{replay['verdict']}{': ' if properties else ''}{properties}"


# -- repeating -------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def busy(cores: int) -> Iterator[list[int]]:
    """Keeps as many cores busy as long as the block lasts; gives the ids of the processes that do."""
    burners = [subprocess.Popen([sys.executable, "-c", BUSY, str(os.getpid())]) for _ in range(cores)]
    try:
        yield [burner.pid for burner in burners]
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()


class Worker:
    """A process of a cell that replays on demand."""

    rule: str
    replays: list[dict[str, Any]]  # those that the suite of today knows

    def __init__(self, python: Path, cell: str, log: Path) -> None:
        self.log = log
        with log.open("wb") as errors:
            self.process = subprocess.Popen(
                [python, "-m", "matrix.cell.again", cell],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                encoding="utf-8",
            )

    def begin(self, replays: Sequence[dict[str, Any]]) -> None:
        """Say what to replay. Raises StabilityError."""
        told = self.ask({"replays": list(replays)})
        self.rule, self.replays = told["rule"], told["replays"]

    def ask(self, message: dict[str, Any]) -> dict[str, Any]:
        """One line there, one line back. Raises StabilityError when the process says that it cannot, or ends."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(json.dumps(message) + "\n")
            self.process.stdin.flush()
        for line in self.process.stdout:
            if line.startswith("{"):  # what is fetched is told in plain words
                answer: dict[str, Any] = json.loads(line)
                if "error" in answer:
                    raise StabilityError(str(answer["error"]))
                return answer
        last = self.log.read_text("utf-8", "replace").strip().splitlines()[-1:]
        raise StabilityError(f"its process ended with {self.process.wait()}{': ' if last else ''}{''.join(last)}")

    def close(self) -> None:
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@dataclass
class Done:
    """Repeats that were done, one JSON line each: kept in a file, so that a second start goes on."""

    path: Path

    def load(self, cell: str, print_of: str) -> list[dict[str, Any]]:
        """The repeats of this very cell; a line that was cut off is passed over."""
        found = []
        with contextlib.suppress(FileNotFoundError):
            for text in self.path.read_text("utf-8").splitlines():
                with contextlib.suppress(ValueError):
                    line = json.loads(text)
                    if line.get("cell") == cell and line.get("fingerprint") == print_of:
                        found.append(line)
        return found

    def add(self, line: dict[str, Any]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def planned(repeats: int, load: str) -> list[bool]:
    """Whether each repeat is loaded: those at rest come first."""
    loaded = {"none": 0, "half": repeats // 2, "all": repeats}[load]
    return [False] * (repeats - loaded) + [True] * loaded


def left(plan: Sequence[bool], done: Sequence[dict[str, Any]]) -> list[bool]:
    """What of a plan is not done yet."""
    had = Counter(bool(line["loaded"]) for line in done)
    return [loaded for loaded in (False, True) for _ in range(plan.count(loaded) - had[loaded])]


class Progress:
    """How far a cell is and how long it will take: a line that changes in a terminal, lines now and then elsewhere."""

    def __init__(self, cell: str, what: str, total: int, done: int) -> None:
        self.cell, self.what, self.total, self.done, self.before = cell, what, total, done, done
        self.began = self.shown = time.monotonic()
        self.disagreements = 0

    def step(self, loaded: bool, disagreements: int) -> None:
        self.done += 1
        self.disagreements += bool(disagreements)
        now = time.monotonic()
        each = (now - self.began) / (self.done - self.before)
        text = (
            f"{self.cell:<18} {self.what} {self.done:>3}/{self.total}{' with load' if loaded else ''}, "
            f"{self.disagreements} disagreed, {each:.1f} s each, {(self.total - self.done) * each:.0f} s left"
        )
        if sys.stderr.isatty():
            end = "\n" if self.done == self.total else ""
            print(f"\r\x1b[K{text}", end=end, file=sys.stderr, flush=True)
        elif self.done == self.total or now - self.shown > 10:
            self.shown = now
            print(text, file=sys.stderr, flush=True)


@dataclass
class CellRun:
    """Everything that is repeated of one cell."""

    result: CellResult
    python: Path
    done: Done
    options: argparse.Namespace

    def run(self) -> dict[str, Any]:
        """The cell's part of the document. Raises StabilityError."""
        cell, replays = self.result.cell, replays_of(self.result)
        mark: dict[str, Any] = {"cell": cell, "fingerprint": fingerprint(self.result, replays)}
        had = self.done.load(cell, mark["fingerprint"])
        began = time.monotonic()
        repeats = [line for line in had if "whole" not in line]
        plan = planned(self.options.repeats, self.options.load)
        with contextlib.ExitStack() as open_ones:
            # Each its own server. At least one, to say what the rule of this cell is.
            count = max(1, min(self.options.workers, len(left(plan, repeats))))
            workers = [self._worker(number, replays, open_ones) for number in range(count)]
            repeats += self._repeats("replays", plan, repeats, mark, [worker.ask for worker in workers])
        worker = workers[0]
        whole = [line for line in had if line.get("whole")]
        plan = planned(self.options.whole, self.options.load)
        whole += self._repeats("whole runs", plan, whole, {**mark, "whole": True}, [lambda _: self._whole(worker.rule)])
        return self._summary(worker, repeats, whole, time.monotonic() - began)

    def _worker(self, number: int, replays: Sequence[dict[str, Any]], open_ones: contextlib.ExitStack) -> Worker:
        log = self.done.path.with_name(f"{self.result.cell}-{number + 1}.log")
        log.parent.mkdir(parents=True, exist_ok=True)
        worker = Worker(self.python, self.result.cell, log)
        open_ones.callback(worker.close)
        worker.begin(replays)
        return worker

    def _repeats(
        self, what: str, plan: list[bool], had: list[dict[str, Any]], mark: dict[str, Any], asks: Sequence[Ask]
    ) -> list[dict[str, Any]]:
        """What is left of a plan, as many at once as there is somebody to ask."""
        undone = left(plan, had)
        progress = Progress(self.result.cell, what, len(plan), len(plan) - len(undone))
        free: queue.SimpleQueue[Ask] = queue.SimpleQueue()
        for ask in asks:
            free.put(ask)

        def repeat(number: int) -> dict[str, Any]:
            ask = free.get()
            try:
                return ask({"repeat": number})
            finally:
                free.put(ask)

        made = []
        for loaded in (False, True):
            with busy(os.cpu_count() or 1) if loaded in undone and loaded else contextlib.nullcontext():
                pool = ThreadPoolExecutor(len(asks))
                try:
                    asked = [pool.submit(repeat, number) for number in range(undone.count(loaded))]
                    for future in as_completed(asked):
                        made.append({**mark, "loaded": loaded, **future.result()})
                        self.done.add(made[-1])
                        progress.step(loaded, len(made[-1]["disagreements"]))
                finally:
                    pool.shutdown(cancel_futures=True)
        return made

    def _whole(self, rule: str) -> dict[str, Any]:
        """One whole run of the cell, compared with the one on record."""
        with tempfile.TemporaryDirectory(prefix="matrix-stability-") as folder:
            command = [str(self.python), "-m", "matrix.cell", self.result.cell, "--results", folder]
            ended = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
            try:
                again = read_cell(Path(folder) / f"{self.result.cell}.jsonl")
            except ResultError as error:
                last = (ended.stdout + ended.stderr).strip().splitlines()[-1:]
                raise StabilityError(f"a whole run gave no result: {''.join(last) or error}") from None
        keys = ("verdict", "remedy") if rule == "seen twice" else ("verdict", "remedy", "schedule")
        differing = []
        for line in self.result.scenarios:
            other: Any = again.by_id.get(line["scenario"], {})
            pairs: list[tuple[ScenarioLine | Cure, Any]] = [(line, other)]
            pairs += [
                (cure, (other.get("cures") or {}).get(name, {})) for name, cure in (line.get("cures") or {}).items()
            ]
            differing += [
                f"{line['scenario']}: {key} {one.get(key)}, then {two.get(key)}"
                for one, two in pairs
                for key in keys
                if one.get(key) != two.get(key)
            ]
        return {"disagreements": differing}

    def _summary(self, worker: Worker, repeats: list[Any], whole: list[Any], seconds: float) -> dict[str, Any]:
        loaded = [line for line in repeats if line["loaded"]]
        return {
            "cell": self.result.cell,
            "rule": worker.rule,
            "schedules": len(worker.replays),
            "seconds": round(seconds, 1),
            "replays": {
                **_share(repeats),
                "loaded": len(loaded),
                "loaded_disagreements": _share(loaded)["disagreements"],
                "runs": sum(line["runs"] for line in repeats),
                "first_tries": sum(line["first_tries"] for line in repeats),
            },
            "whole": {**_share(whole), "differing": _differing(whole)} if whole else None,
            "disagreeing": _disagreeing(worker.replays, repeats),
        }


def _share(lines: Sequence[dict[str, Any]]) -> dict[str, Any]:
    disagreements = sum(bool(line["disagreements"]) for line in lines)
    interval = [round(end, 4) for end in wilson(disagreements, len(lines))]
    return {"repeats": len(lines), "disagreements": disagreements, "interval": interval}


def _differing(whole: Sequence[dict[str, Any]]) -> dict[str, int]:
    return dict(Counter(text for line in whole for text in line["disagreements"]))


def _disagreeing(replays: Sequence[dict[str, Any]], repeats: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every replay that ever disagreed: how often, and what was seen instead."""
    seen: dict[int, list[tuple[dict[str, Any], bool]]] = {}
    for line in repeats:
        for each in line["disagreements"]:
            seen.setdefault(each["replay"], []).append((each, line["loaded"]))
    made = []
    for number, found in sorted(seen.items()):
        replay = replays[number]
        instead = [
            named(each) + ("" if each["schedule"] == replay["schedule"] else " by another course") for each, _ in found
        ]
        made.append(
            {
                "scenario": replay["scenario"],
                "remedy": replay["remedy"],
                "schedule": replay["schedule"],
                "expected": named(replay),
                "disagreements": len(found),
                "loaded": sum(loaded for _, loaded in found),
                "seen": dict(Counter(instead)),
                "sentence": found[0][0]["sentence"],
            }
        )
    return made


# -- the command -----------------------------------------------------------------------------------------------------


def results_of(options: argparse.Namespace) -> list[CellResult]:
    """The results that are repeated. Raises StabilityError or ResultError."""
    states = {state.cell: state for state in read_folder(options.results)}
    asked = [name for name in options.cells.split(",") if name] or list(states)
    found = []
    for name in asked:
        state = states.get(name)
        if state is None or state.result is None:
            raise StabilityError(f"{options.results} has no complete result of {name}; run it first: tox -e {name}")
        found.append(state.result)
    if not found:
        raise StabilityError(f"{options.results} has no complete result; run the cells first (tox)")
    return found


def python_of(cell: str, options: argparse.Namespace) -> Path:
    """The Python of a cell's environment. Raises StabilityError."""
    python = Path(options.envs) / cell / "bin" / "python"
    if not python.exists():
        raise StabilityError(f"{cell} has no environment in {options.envs}; make it first: tox -e {cell} --notest")
    return python.absolute()


def document(cells: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What is written (matrix/results/schema/stability-1.schema.json)."""
    from matrix.harness.cell import commit

    return {
        "type": "stability",
        "schema": 1,
        "commit": commit(),
        "finished": utc_now(),
        "platform": platform.platform(),
        "cores": os.cpu_count() or 1,
        "cells": list(cells),
    }


def show(cells: Sequence[dict[str, Any]]) -> None:
    """The table, and every disagreement in a line."""
    from rich.console import Console
    from rich.table import Table

    table = Table(
        "cell", "rule", "repeats that disagreed", "95 %", "with load", "first tries that agreed", "whole runs"
    )
    for cell in cells:
        replays, whole = cell["replays"], cell["whole"]
        low, high = replays["interval"]
        table.add_row(
            cell["cell"],
            cell["rule"],
            f"{replays['disagreements']}/{replays['repeats']}",
            f"{100 * low:.1f} to {100 * high:.1f} %",
            f"{replays['loaded_disagreements']}/{replays['loaded']}",
            f"{replays['first_tries']}/{cell['schedules'] * replays['repeats']}",
            f"{whole['disagreements']}/{whole['repeats']}" if whole else "",
        )
    Console(markup=False, highlight=False).print(table)
    for cell in cells:
        for each in cell["disagreeing"]:
            under = f" with {each['remedy']}" if each["remedy"] else ""
            seen = "; ".join(f"{number} × {what}" for what, number in each["seen"].items())
            schedule = each["schedule"] if len(each["schedule"]) <= 60 else f"{each['schedule'][:60]}…"
            where = f"{cell['cell']}: {each['scenario']}{under} by {schedule}"
            print(clean(f"{where} was {each['expected']}, then {seen}"))
        for text, number in (cell["whole"] or {}).get("differing", {}).items():
            print(clean(f"{cell['cell']}: {text} ({number} whole runs)"))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m matrix.runs.stability", description=__doc__)
    parser.add_argument("--cells", default="", metavar="NAME,NAME", help="default: all that have a result")
    parser.add_argument("--repeats", type=int, default=20, metavar="N", help="replays of all schedules (default: 20)")
    parser.add_argument("--whole", type=int, default=0, metavar="K", help="repeats of whole runs (default: none)")
    parser.add_argument("--load", choices=("half", "none", "all"), default="half", help="repeats with busy cores")
    cores = os.cpu_count() or 1
    parser.add_argument("--workers", type=int, default=cores, help=f"repeats at once (default: one per core, {cores})")
    parser.add_argument("--results", default="results", metavar="FOLDER", help="what is repeated (default: results)")
    parser.add_argument("--envs", default=".tox", metavar="FOLDER", help="the cells' environments (default: .tox)")
    parser.add_argument("--done", default="build/stability/done.jsonl", metavar="FILE", help="kept for a second start")
    options = parser.parse_args(arguments)
    if options.repeats < 0 or options.whole < 0 or options.workers < 1:
        parser.error("--repeats and --whole must not be negative, --workers must be 1 or more")
    cells, failed = [], False
    try:
        results = results_of(options)
        runs = [
            CellRun(result, python_of(result.cell, options), Done(Path(options.done)), options) for result in results
        ]
    except (StabilityError, ResultError) as error:
        print(clean(error), file=sys.stderr)
        return 2
    for run in runs:
        try:
            cells.append(run.run())
        except StabilityError as error:
            print(clean(f"{run.result.cell}: {error}"), file=sys.stderr)
            failed = True
    show(cells)
    if failed or options.cells:
        why = "not all cells could be repeated" if failed else "a selection of cells"
        print(f"{why}: stability.json was not written; a start without --cells takes what is done from {options.done}")
    else:
        documents.write(Path(options.results) / "stability.json", document(cells))
    return 1 if failed or any(_disagrees(cell) for cell in cells) else 0


def _disagrees(cell: dict[str, Any]) -> bool:
    """Whether a cell makes it red: where threads race inside the driver, the table says how often, and no more."""
    return cell["rule"] == "each time" and bool(
        cell["replays"]["disagreements"] or (cell["whole"] and cell["whole"]["disagreements"])
    )


if __name__ == "__main__":
    sys.exit(main())

"""What is repeated of a cell, what is done of it, and what the repeats say. The command is stability.py."""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import queue
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matrix.lines import Cure, ScenarioLine
from matrix.results.following import Follower
from matrix.results.read import CellResult, ResultError, read_cell
from matrix.runs import process, registry
from matrix.runs.inputs import digest, of_suite
from matrix.runs.replaying import StabilityError, Worker, busy
from matrix.words import VERDICTS, rank

Z95 = 1.959964  # the normal distribution's 97.5 % point
Ask = Callable[[dict[str, Any]], dict[str, Any]]


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
        own: list[tuple[str, Any, str | None]] = [(line["scenario"], line, None)]
        cures = [(name, cure, line["scenario"]) for name, cure in (line.get("cures") or {}).items()]
        for scenario, seen, remedy in cures or own:
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
    return digest(json.dumps([result.header["packages"], result.axes, replays], sort_keys=True), of_suite())


def named(replay: dict[str, Any]) -> str:
    properties = ", ".join(replay["properties"])
    return f"{replay['verdict']}{': ' if properties else ''}{properties}"


# -- repeating -------------------------------------------------------------------------------------------------------


@dataclass
class Journal:
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


class RepeatsShown:
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
class RepeatedCell:
    """Everything that is repeated of one cell."""

    result: CellResult
    python: Path
    done: Journal
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
        worker = open_ones.enter_context(Worker(self.python, self.result.cell, log))
        worker.begin(replays, self.result.axes)
        return worker

    def _repeats(
        self, what: str, plan: list[bool], had: list[dict[str, Any]], mark: dict[str, Any], asks: Sequence[Ask]
    ) -> list[dict[str, Any]]:
        """What is left of a plan, as many at once as there is somebody to ask."""
        undone = left(plan, had)
        progress = RepeatsShown(self.result.cell, what, len(plan), len(plan) - len(undone))
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
                finally:  # where the program is told to end, those that run end with their processes
                    pool.shutdown(wait=sys.exc_info()[0] is not KeyboardInterrupt, cancel_futures=True)
        return made

    def _whole(self, rule: str) -> dict[str, Any]:
        """One whole run of the cell, compared with the one on record."""
        with tempfile.TemporaryDirectory(prefix="matrix-stability-") as folder:
            streams: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
            with Follower(Path(folder) / "facts") as follower:
                command = (self.python, self.result.cell, "--results", folder)
                with process.start(*command, variables=follower.variables, **streams) as running:
                    said, _ = running.communicate()
                follower.read()
            try:
                again = read_cell(Path(folder) / f"{self.result.cell}.jsonl")
            except ResultError as error:
                why = follower.ended or registry.last_line(said)
                raise StabilityError(f"a whole run gave no result: {why} ({error})") from None
        keys = ("verdict", "remedy") if rule == "seen twice" else ("verdict", "remedy", "schedule")
        differing = []
        for line in self.result.scenarios:
            other: Any = again.by_id.get(line["scenario"], {})
            cures = other.get("cures") or {}
            pairs: list[tuple[ScenarioLine | Cure, Any]] = [(line, other)]
            pairs += [(cure, cures.get(name, {})) for name, cure in (line.get("cures") or {}).items()]
            found = [(key, one.get(key), two.get(key)) for one, two in pairs for key in keys]
            differing += [f"{line['scenario']}: {key} {a}, then {b}" for key, a, b in found if a != b]
        return {"disagreements": differing}

    def _summary(self, worker: Worker, repeats: list[Any], whole: list[Any], seconds: float) -> dict[str, Any]:
        loaded = [line for line in repeats if line["loaded"]]
        differing = Counter(text for line in whole for text in line["disagreements"])
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
            "whole": {**_share(whole), "differing": dict(differing)} if whole else None,
            "disagreeing": _disagreeing(worker.replays, repeats),
        }


def _share(lines: Sequence[dict[str, Any]]) -> dict[str, Any]:
    disagreements = sum(bool(line["disagreements"]) for line in lines)
    interval = [round(end, 4) for end in wilson(disagreements, len(lines))]
    return {"repeats": len(lines), "disagreements": disagreements, "interval": interval}


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
                **{key: replay[key] for key in ("scenario", "remedy", "schedule")},
                "expected": named(replay),
                "disagreements": len(found),
                "loaded": sum(loaded for _, loaded in found),
                "seen": dict(Counter(instead)),
                "sentence": found[0][0]["sentence"],
            }
        )
    return made

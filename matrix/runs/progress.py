"""What a run of cells shows: a bar with the time left in a terminal, else a plain line per cell."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Sequence
from types import TracebackType
from typing import Any

from matrix.results import following
from matrix.results.text import clean, one_line
from matrix.runs.jobs import Done, Job
from matrix.words import GLYPHS, NOT_VERDICTS, VERDICTS

WIDTH = 430  # of a scenario's line where no bar stands below
FEW = 4  # cells of which each scenario is shown where there is no bar
HOW = {"ran": "", "kept": "unchanged, from the store", "absent": "n/a", "failed": "FAILED"}


class Progress:
    """``with Progress(jobs, workers) as progress``; tell it of each job that began and is done."""

    def __init__(self, jobs: Sequence[Job], workers: int) -> None:
        self.total = len(jobs)
        self.workers = workers
        self.left = sum(job.seconds for job in jobs)  # estimated seconds of cells that are not done
        self.count = 0
        self.began_at = time.monotonic()
        self._estimated = self._took = 0.0  # of cells that really ran: how far off the estimates are
        self._started: dict[str, float] = {}
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Progress:
        if sys.stdout.isatty():
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
            from rich.progress import Progress as Bar

            columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
            self._bar = Bar(*columns)
            self._bar.start()
            self._task = self._bar.add_task("", total=self.total)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.stop()

    def say(self, text: str) -> None:
        """One line, above the bar where there is one."""
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False)
        else:
            print(text, flush=True)

    def began(self, job: Job) -> None:
        self._started[job.cell] = time.monotonic()
        self._describe(f"{job.cell} …")

    def scenario(self, job: Job, fact: following.ScenarioDone) -> None:
        """A scenario of a cell that is through: worth a line where somebody waits for few cells."""
        if self._bar is not None:
            self._describe(f"{job.cell} {one_line(following.shown(fact, 60))}")
        elif self.total <= FEW:
            self.say(clean(f"{job.cell}{following.shown(fact, WIDTH)}".rstrip()))

    def done(self, done: Done) -> None:
        """Show one cell that is through."""
        self.count += 1
        self.left -= done.job.seconds
        if done.how == "ran":
            self._estimated += done.job.seconds
            self._took += time.monotonic() - self._started[done.job.cell]
        self.say(f"{self.count:>4}/{self.total} {done.job.cell:<48} {outcome_in_words(done)}{self._left(done)}")
        if self._bar is not None:
            self._bar.update(self._task, advance=1)
        self._describe("")

    def seconds_left(self) -> float:
        """The estimates of what is left, corrected by how right they were so far."""
        pace = self._took / self._estimated if self._estimated else 1.0
        return max(0.0, self.left) * pace / self.workers

    def _left(self, done: Done) -> str:
        """The time left, of lines that no bar stands below; while the store is looked through, nobody knows it."""
        shown = done.how == "ran" and self.count < self.total and self._bar is None
        return f"  ({spell(self.seconds_left())} left)" if shown else ""

    def _describe(self, text: str) -> None:
        if self._bar is not None:
            self._bar.update(self._task, description=f"{spell(self.seconds_left())} left  {text}")

    def summary(self, done: Sequence[Done]) -> None:
        """The end: how many cells, how quick, where the time went."""
        took = time.monotonic() - self.began_at
        counts = Counter(each.how for each in done)
        said = [f"{counts['ran']} ran", f"{counts['kept']} unchanged", f"{counts['absent']} n/a"]
        said += [f"{counts['failed']} FAILED"] if counts["failed"] else []
        errors = sum(each.errors for each in done)
        said += [f"{errors} scenarios with error"] if errors else []
        self.say(
            f"{len(done)} cells in {spell(took)} ({', '.join(said)}), {60 * len(done) / max(took, 0.001):.1f} a minute"
        )
        shares = {key: sum(each.shares.get(key, 0) for each in done) for key in ("install", "server", "scenarios")}
        if total := sum(shares.values()):
            self.say("time in " + ", ".join(f"{key} {100 * spent / total:.0f} %" for key, spent in shares.items()))
        for each in done:
            if each.how == "failed":
                self.say(f"  {each.job.cell}: {one_line(each.said)}")


def outcome_in_words(done: Done) -> str:
    """What became of a cell, in some words."""
    if done.how in ("failed", "absent"):
        return f"{HOW[done.how]}: {one_line(done.said)[:160]}"
    lines = done.result.scenarios if done.result else ()
    counts = Counter(line["verdict"] for line in lines)
    words = " ".join(f"{GLYPHS[word]}{counts[word]}" for word in (*VERDICTS, *NOT_VERDICTS) if counts[word])
    return f"{words}{f'  {HOW[done.how]}' if HOW[done.how] else ''}"


def spell(seconds: float) -> str:
    """``75`` -> ``1:15``; below a minute ``12 s``."""
    return f"{seconds:.0f} s" if seconds < 60 else f"{int(seconds) // 60}:{int(seconds) % 60:02d}"

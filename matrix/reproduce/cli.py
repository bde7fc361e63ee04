"""``python -m matrix reproduce``: writes a script per finding, runs it, and keeps it only if the symptom shows."""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import re
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from matrix.harness.cell_name import parse
from matrix.lines import CureLine, Header, ScenarioLine
from matrix.maker import clean_up_when_told_to_end
from matrix.results import reproducers
from matrix.results.read import CellResult, ResultError, results_in
from matrix.results.text import clean, one_line, refuse, refusing
from matrix.results.write import utc_now
from matrix.runs import sources
from matrix.words import HOLDS, REMEDIES, VERDICTS

DOES_NOT_HOLD = REMEDIES[REMEDIES.index(HOLDS) + 1 :]
TRIED = 4  # scenarios of a remedy that does not hold, the worst first: one script is enough
TIMES = 2  # runs of each script; it must show the symptom in all of them


def register(commands: Any) -> None:
    """Adds ``reproduce``."""
    parser = commands.add_parser("reproduce", help="results -> scripts that show each finding, executed before kept")
    parser.add_argument("--cell", metavar="CELL", help="only this cell")
    parser.add_argument("--scenario", metavar="ID", help="only this scenario or remedy")
    parser.add_argument("--out", metavar="FOLDER", help="where scripts go (default: <results>/reproducers)")
    parser.add_argument("--loop", choices=("uvloop",), help="run the scripts that are kept under this event loop, too")
    add_runs(parser)
    parser.set_defaults(handler=_reproduce)


def add_runs(parser: argparse.ArgumentParser) -> None:
    """The options that ``reproduce`` and ``regress`` share."""
    parser.add_argument("--results", default="results", metavar="FOLDER", help="folder to read (default: results)")
    parser.add_argument("--times", type=positive, default=TIMES, help=f"runs of each (default: {TIMES})")
    parser.add_argument(
        "--environments", default="build/environments", metavar="FOLDER", help="kept environments, one per set of pins"
    )


def positive(text: str) -> int:
    if not re.fullmatch(r"[1-9][0-9]{0,2}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of runs (1 to 999)")
    return int(text)


Report = dict[str, list[dict[str, Any]]]  # what came of all lines: entries of the index by kind
KEPT, DEFECTS, NOT_WRITTEN = reproducers.KINDS


@dataclass(frozen=True)
class FindingLine:
    """One line that does not comply, of one cell."""

    header: Header
    line: Mapping[str, Any]  # ScenarioLine or CureLine

    @property
    def cell(self) -> str:
        return str(self.header["cell"])

    @property
    def scenario(self) -> str:
        return str(self.line["scenario"])

    @property
    def finding(self) -> tuple[str, str]:
        """Its cell, and the scenario, or the remedy of which several scenarios may tell."""
        return self.cell, str(self.line.get("remedy_id") or self.scenario)


@refusing(1, ResultError)
def _reproduce(options: argparse.Namespace) -> int:
    from matrix.harness.scenario import one

    clean_up_when_told_to_end()
    try:
        options.scenario = one(options.scenario) if options.scenario else None
    except LookupError as problem:
        return refuse(problem)
    results = [result for result in results_in(options.results) if options.cell in (None, result.cell)]
    if not results:
        which = f" of cell {options.cell}" if options.cell else ""
        return refuse(f"{options.results}: no complete result{which} to read", 1)
    refused = {result.header["cell"]: why for result in results if (why := not_installable(result.header))}
    for why in dict.fromkeys(refused.values()):
        refuse(why)
    results = [result for result in results if result.header["cell"] not in refused]
    if refused and not results:
        return 2
    out = Path(options.out or Path(options.results) / "reproducers")
    try:
        return _under_loop(results, options, out) if options.loop else _tried(results, options, out)
    except BrokenPipeError:  # who reads has read enough
        raise
    except OSError as problem:
        return refuse(f"cannot write to {out}: {problem.strerror or problem}", 1)


def _tried(results: Sequence[CellResult], options: argparse.Namespace, out: Path) -> int:
    found = [FindingLine(result.header, line) for result in results for line in _lines(result.scenarios)]
    jobs = [job for job in found if options.scenario in (None, job.scenario, job.finding[1])]
    if not jobs:
        what = f" for {options.scenario}" if options.scenario else ""
        print(f"every line complies{what}: there is nothing to reproduce")
        return 0
    report: Report = {kind: [] for kind in reproducers.KINDS}
    _work(jobs, report, out, Path(options.environments).resolve(), options.times)
    return _summary(report, jobs, out)


def _under_loop(results: Sequence[CellResult], options: argparse.Namespace, out: Path) -> int:
    from matrix.reproduce.loops import run_kept

    if not reproducers.read_index(out).get("reproducers"):
        return refuse(f"{out}: there are no scripts to run: python -m matrix reproduce first", 1)
    return run_kept(results, options, out)


def not_installable(header: Header) -> str:
    """Why no reader could install what a cell ran with, in two lines; empty where one can."""
    try:
        name = parse(str(header["cell"]))
    except ValueError:
        return ""  # of somebody else's project: its packages say what it was
    if name.candidate:
        return (
            f"{name}: {name.candidate} is no release but a candidate of matrix/candidates: no script can install it\n"
            f"reproduce the release's finding ({replace(name, tortoise=None)}), and try it with a checkout of yours"
        )
    try:
        sources.of_cell(name)
    except sources.SourceError as problem:
        return str(problem)
    return ""


def _lines(scenarios: Sequence[ScenarioLine]) -> Iterator[ScenarioLine | CureLine]:
    """The lines that do not comply, and what those of remedies that do not hold say of the scenarios they do worst."""
    for line in scenarios:
        cures = line.get("cures")
        if not cures:
            if line["complies"] is False:
                yield line
        elif line.get("remedy") in DOES_NOT_HOLD:
            bad = [cured for cured, cure in cures.items() if cure["verdict"] != "safe" and not cure.get("complies")]
            bad.sort(key=lambda cured: -VERDICTS.index(cures[cured]["verdict"]))
            yield from (reproducers.line_of_cure(line, cured) for cured in bad[:TRIED])


def _work(jobs: Sequence[FindingLine], report: Report, out: Path, environments: Path, times: int) -> None:
    from matrix.reproduce.run import CannotRun, Databases

    began, done = time.monotonic(), 0
    for cell in dict.fromkeys(job.cell for job in jobs):
        mine = [job for job in jobs if job.cell == cell]
        written = list(_written(mine, report))
        done += len(mine) - len(written)
        shown: set[tuple[str, str]] = set()
        try:
            with Databases(mine[0].header["axes"], progress) if written else contextlib.nullcontext() as databases:
                for job, source in written:
                    done += 1
                    if job.finding in shown:
                        continue
                    result = _try(job, source, databases, environments, times, report, out)
                    left = (time.monotonic() - began) / done * (len(jobs) - done)
                    progress(f"{done:3}/{len(jobs)} {cell} {job.scenario:8} {result}  (about {left:.0f} s left)")
                    shown.update({job.finding} if report[KEPT] and _is(report[KEPT][-1], job) else ())
        except CannotRun as problem:
            for job, _ in written:
                if not any(_is(entry, job) for entries in report.values() for entry in entries):
                    report[DEFECTS].append(_entry(job, why=f"could not be run: {problem}"))
            print(f"  {clean(problem)}", file=sys.stderr)
        _one_each(report)
        _write_index(out, report, mine)  # after each cell: an interrupted run keeps what it has


def _one_each(report: Report) -> None:
    """Of a remedy one entry: that of the script that shows it, else of what went wrong with the worst scenario."""
    reported: set[tuple[str, str]] = set()
    for entries in report.values():
        for entry in list(entries):
            if "remedy" in entry:
                if _finding(entry) in reported:
                    entries.remove(entry)
                reported.add(_finding(entry))


def progress(text: str) -> None:
    print(f"  {clean(text)}", flush=True)


def _written(jobs: Sequence[FindingLine], report: Report) -> Iterator[tuple[FindingLine, str]]:
    from matrix.reproduce import NotWritten
    from matrix.reproduce.script import script

    for job in jobs:
        try:
            yield job, script(job.line, job.header)
        except NotWritten as why:
            report[NOT_WRITTEN].append(_entry(job, why=one_line(why)))
        except (ArithmeticError, AttributeError, LookupError, SyntaxError, TypeError, ValueError) as problem:
            # A history of another shape than this program knows: its own fault, and no reason to lose the others.
            report[DEFECTS].append(
                _entry(job, why=one_line(f"cannot be unfolded: {type(problem).__name__}: {problem}"))
            )


def _try(
    job: FindingLine, source: str, databases: Any, environments: Path, times: int, report: Report, out: Path
) -> str:
    """Run a script as often as asked; keep it when the symptom showed every time. Says in words what came of it."""
    from matrix.reproduce import run

    python = run.script_python(run.pins_of(source), job.header, environments)
    runs = []
    for each in run.runs_of(source, python, databases, times):
        runs.append(each)
        if not each.shown:
            break
    last = runs[-1]
    target = out / job.cell / f"{job.scenario}.py"
    facts = {"runs": len(runs), "shown": sum(each.shown for each in runs), "seconds": round(last.seconds, 2)}
    facts["skipped_steps"] = max(each.skipped for each in runs)
    if not last.shown:
        target.unlink(missing_ok=True)
        report[DEFECTS].append(_entry(job, why=f"the script {last.ended}", **facts))
        return f"NOT SHOWN (run {len(runs)}: {last.ended[:150]})"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(source, encoding="utf-8")
    report[KEPT].append(
        _entry(
            job,
            path=f"{job.cell}/{job.scenario}.py",
            sha256=hashlib.sha256(source.encode()).hexdigest(),
            expected=last.output_line("expected"),
            observed=last.output_line("observed"),
            when=utc_now(),
            **facts,
        )
    )
    return f"shown {facts['shown']} of {facts['runs']} times, {last.seconds:.1f} s"


def _entry(job: FindingLine, **more: Any) -> dict[str, Any]:
    line = job.line
    return {
        "cell": job.cell,
        "scenario": job.scenario,
        "verdict": line["verdict"],
        "schedule": line.get("schedule"),
        **({"remedy": line["remedy_id"], "cured": line["cured"]} if line.get("remedy_id") else {}),
        "result_of": job.header["started"],
        **more,
    }


def _is(entry: Mapping[str, Any], job: FindingLine) -> bool:
    return _finding(entry) == job.finding


def _finding(entry: Mapping[str, Any]) -> tuple[str, str]:
    return str(entry["cell"]), str(entry.get("remedy") or entry["scenario"])


def _write_index(out: Path, report: Report, jobs: Sequence[FindingLine]) -> None:
    """The index of all reproducers in the folder: what this run said of these jobs replaces what an earlier one did."""
    before, made = reproducers.read_index(out), {}
    for kind, entries in report.items():
        kept = [entry for entry in before.get(kind, []) if not any(_is(entry, job) for job in jobs)]
        ours = [entry for entry in entries if any(_is(entry, job) for job in jobs)]
        made[kind] = sorted([*kept, *ours], key=lambda entry: (entry["cell"], entry["scenario"]))
    reproducers.write_index(out, made)


def _summary(report: Report, jobs: Sequence[FindingLine], out: Path) -> int:
    print()
    for cell in dict.fromkeys(job.cell for job in jobs):
        mine = [job for job in jobs if job.cell == cell]
        kept = sum(entry["cell"] == cell for entry in report[KEPT])
        print(f"{cell}: {kept} of {len({job.finding for job in mine})} findings have a reproducer")
        for title, entries in (("not written", report[NOT_WRITTEN]), ("DEFECT", report[DEFECTS])):
            for entry in entries:
                if entry["cell"] == cell:
                    print(f"  {entry['scenario']} {title}: {clean(entry['why'])}")
    all_of_them = len({job.finding for job in jobs})
    print(f"{len(report[KEPT])} of {all_of_them} findings have a reproducer: {out / reproducers.INDEX}")
    return 1 if report[DEFECTS] else 0

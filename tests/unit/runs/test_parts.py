"""First the schedules on record, then all orders: of one cell, and of many."""

from __future__ import annotations

import argparse
import asyncio
from collections import Counter
from types import SimpleNamespace
from typing import ClassVar

import pytest

from matrix.cell import run as cell_run
from matrix.harness import known_schedules
from matrix.harness.scenario import catalogue
from matrix.report import view
from matrix.report.markdown import markdown
from matrix.results import expectations
from matrix.results.read import CellState, read_cell, read_state
from matrix.runs import cells, run
from matrix.runs.jobs import Done, Job, parts
from matrix.runs.runner import JobRunner
from matrix.words import FULL, NOT_APPLICABLE, RECORD
from tests.unit.results import samples

CELL = "sqlite-aiosqlite"
NAMES = ("CON-1", "CON-2", "CON-7", "FIX-4", "GEN-1")
OPTIONS = {"full_first": False, "brief": False, "deepen": False}


class OneCell:
    """A cell without a server."""

    def __init__(self, name, progress):
        self.name, self.driver, self.backings, self.parts = name, "aiosqlite", [], SimpleNamespace(base=name)
        self.adapter = SimpleNamespace(isolated=False)

    def open(self, meanwhile):
        self.closed = False

    def close(self):
        self.closed = True

    def header(self, planned, started):
        return samples.header(CELL, planned=planned, started=started)


class Jobs:
    """In place of the processes: gives lines, and keeps what was asked for. ``worse`` are the scenarios that all orders
    show otherwise; one of them that is None breaks the run off."""

    worse: ClassVar[dict[str, str | None]] = {}

    def __init__(self, cell, count, jobs, work, died, learn):
        self.asked: list[tuple[str, str]] = []
        self.learn = learn
        self.begin(jobs)
        self.first_part = self.jobs

    def begin(self, jobs):
        self.jobs = {job.scenario: job for job in jobs}

    async def line(self, name):
        depth, *_ = self.jobs[name].given()
        self.asked.append((name, depth))
        verdict = self.worse.get(name, "safe") if depth == FULL else "safe"
        if verdict is None:
            raise KeyboardInterrupt
        depth = FULL if name in ("CON-2", "GEN-1") else depth  # on no record, or the verdict was another one
        line = samples.scenario(name, verdict, depth=depth)
        line = {**line, "verdict": NOT_APPLICABLE, "depth": FULL} if name == "CON-7" else line
        self.learn(line)
        return line

    def close(self):
        pass


@pytest.fixture
def judged(tmp_path, monkeypatch):
    """``judged(brief=True, worse={…})`` -> the run, after all of its scenarios or when it was broken off."""
    known = catalogue()
    monkeypatch.setenv("MATRIX_CELL", CELL)
    monkeypatch.setattr(cell_run, "catalogue", lambda driver="": {name: known[name] for name in NAMES})
    monkeypatch.setattr(cell_run, "Cell", OneCell)
    monkeypatch.setattr(cell_run, "Processes", Jobs)
    monkeypatch.setattr(expectations, "load_driver", lambda driver: [])
    monkeypatch.setattr(known_schedules, "read", lambda cell, base: known_schedules.KnownSchedules({"CON-1": {}}))

    def judged(worse=None, **options):
        monkeypatch.setattr(Jobs, "worse", worse or {})
        said: list[str] = []
        terminal = SimpleNamespace(say=lambda text, **markup: said.append(text), width=lambda: 430)
        made = cell_run.RunOptions(orders=10, results=str(tmp_path), **options)
        done = cell_run.CellRun(made, [known[name] for name in NAMES], terminal)
        done.said = said
        done.open()
        try:
            for name in NAMES:
                try:
                    asyncio.run(done.judge(known[name]))
                except cell_run.NotAsExpected:
                    said.append(f"red: {name}")
        except KeyboardInterrupt:
            said.append("interrupted")
        finally:
            done.close()
            done.close()
        return done

    return judged


def depths(folder):
    found = read_cell(folder / f"{CELL}.jsonl")
    return found.header["depth"], {line["scenario"]: line["depth"] for line in found.scenarios}


def test_what_is_on_record_is_asked_first_and_all_orders_of_what_says_less(judged, tmp_path):
    done = judged()
    first = [(name, RECORD) for name in NAMES]
    # Programs wait for the others only where these tell what generation has found.
    assert done.processes.first_part["GEN-1"].after == frozenset()
    assert done.processes.jobs["GEN-1"].after == {"CON-1", "FIX-4"}
    # CON-2 had all orders in the first part, CON-7 does not apply; a remedy and programs depend on other lines.
    assert done.processes.asked == [*first, ("CON-1", FULL), ("FIX-4", FULL), ("GEN-1", FULL)]
    assert depths(tmp_path) == (FULL, dict.fromkeys(NAMES, FULL))
    assert any("as on record, kept. Now all orders" in text for text in done.said)
    assert sum(text.endswith("as on record") for text in done.said) == 3


def test_a_worse_word_of_all_orders_takes_the_place_and_only_then_is_the_run_red(judged, tmp_path):
    done = judged(worse={"CON-1": "lies"})
    assert [text for text in done.said if text.startswith("red")] == ["red: CON-1"]
    assert any("lies" in text and "safe on record: a reason" in text for text in done.said)
    assert read_cell(tmp_path / f"{CELL}.jsonl").by_id["CON-1"]["verdict"] == "lies"


def test_what_was_broken_off_in_the_second_part_is_a_whole_result_that_says_what_it_is(judged, tmp_path):
    done = judged(worse={"CON-1": "lies", "FIX-4": None})
    assert done.said[-1] == "interrupted"
    header, lines = depths(tmp_path)
    assert (header, lines["CON-1"], lines["FIX-4"], lines["GEN-1"]) == (RECORD, FULL, RECORD, FULL)
    found = read_cell(tmp_path / f"{CELL}.jsonl")
    assert found.by_id["CON-1"]["verdict"] == "lies"
    assert found.header["started"] == done.header["started"]
    assert read_state(found.path).complete
    assert [path.name for path in tmp_path.iterdir()] == [found.path.name]
    assert "1 by the schedules on record" in done.summary()


def test_a_run_that_is_killed_in_the_second_part_leaves_the_first(judged, tmp_path, monkeypatch):
    monkeypatch.setattr(cell_run.CellRun, "close", lambda run: None)
    judged(worse={"CON-1": "lies", "FIX-4": None})
    state = read_state(tmp_path / f"{CELL}.jsonl")
    assert (tmp_path / f"{CELL}.jsonl.part").exists()
    assert state.complete
    assert state.result.header["depth"] == RECORD


def test_brief_stops_there_and_is_gone_on_from(judged, tmp_path):
    done = judged(brief=True)
    assert {depth for _, depth in done.processes.asked} == {RECORD}
    assert depths(tmp_path)[0] == RECORD
    done = judged(deepen=True)
    assert {depth for _, depth in done.processes.asked} == {FULL}
    assert depths(tmp_path) == (FULL, dict.fromkeys(NAMES, FULL))


def test_a_result_of_another_suite_is_not_gone_on_from(judged, tmp_path, monkeypatch):
    judged(brief=True)
    monkeypatch.setattr(cell_run, "_changed", lambda: float("inf"))
    done = judged(deepen=True)
    assert {depth for _, depth in done.processes.asked} == {RECORD, FULL}


@pytest.mark.parametrize("options", [{"full_first": True}, {"only": "CON-1,CON-2,CON-7,FIX-4,GEN-1"}])
def test_all_orders_at_once(judged, tmp_path, monkeypatch, options):
    if "only" in options:  # a selection is asked no record
        monkeypatch.setattr(cell_run, "catalogue", catalogue)
    done = judged(**options)
    assert {depth for _, depth in done.processes.asked} == {FULL}
    assert depths(tmp_path)[0] == FULL


def test_what_nobody_has_measured_has_no_first_part(judged, monkeypatch):
    monkeypatch.setattr(known_schedules, "read", lambda cell, base: known_schedules.KnownSchedules({}))
    assert {depth for _, depth in judged().processes.asked} == {FULL}


# -- many cells --------------------------------------------------------------------------------------------------------


def arguments_of(jobs_in_parts):
    return [[(job.cell, job.arguments) for job in part] for part in jobs_in_parts]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [[(CELL, ("--brief",))], [(CELL, ("--deepen",)), ("sqlite-aiosqlite0.21", ("--brief",))]]),
        ({"brief": True}, [[(CELL, ("--brief",)), ("sqlite-aiosqlite0.21", ("--brief",))]]),
        ({"full_first": True}, [[(CELL, ("--full-first",)), ("sqlite-aiosqlite0.21", ("--brief",))]]),
        ({"deepen": True}, [[(CELL, ("--deepen",)), ("sqlite-aiosqlite0.21", ("--brief",))]]),
    ],
)
def test_the_newest_releases_ask_the_record_before_anything_else_runs(options, expected):
    jobs = [Job(cells.read(CELL)), Job(cells.read("sqlite-aiosqlite0.21"), arguments=("--brief",))]
    assert arguments_of(parts(jobs, argparse.Namespace(**{**OPTIONS, **options}))) == expected


def test_a_selection_has_one_part():
    jobs = [Job(cells.read(CELL), only=("NST-1",))]
    assert arguments_of(parts(jobs, argparse.Namespace(**OPTIONS))) == [[(CELL, ("--full-first",))]]


def test_how_all_orders_began_decides_no_result(tmp_path, monkeypatch):
    monkeypatch.setenv("MATRIX_STATE", str(tmp_path))
    runner = JobRunner([], tmp_path)
    job = Job(cells.read(CELL))
    made = [runner.inputs(each, SimpleNamespace(version="3.11.7"), [], []) for each in (
        job, job.part("--full-first"), job.part("--deepen"), job.part("--brief")
    )]  # fmt: skip
    assert made[0] == made[1] == made[2] != made[3]


class Cells:
    """In place of a runner: each job is done at once. ``kept`` are the cells that the store has with all orders;
    ``interrupt`` ends the run in the second part."""

    def __init__(self, folder, kept=(), interrupt=False):
        self.folder, self.kept, self.interrupt = folder, kept, interrupt
        self.ran: list[tuple[str, str]] = []
        self.stopped = 0
        self.servers = SimpleNamespace(through=self.through, stop=self.stop)
        self.freed: Counter[str] = Counter()

    def through(self, specs):
        self.freed.update(specs)

    def stop(self):
        self.stopped += 1

    def specs(self, job):
        return [job.cell]

    def run(self, jobs, workers, told, began):
        for job in jobs:
            began(job)
            self.ran.append((job.cell, job.depth))
            if self.interrupt and job.depth == FULL:
                raise KeyboardInterrupt
            depth = FULL if job.cell in self.kept else job.depth
            word = "lies" if depth == FULL else "safe"
            lines = [samples.scenario("NST-3", depth=depth), samples.scenario("NST-4", word, depth=depth)]
            path = samples.write_cell(self.folder, samples.header(job.cell, depth=depth), lines)
            told(Done(job, "kept" if job.cell in self.kept else "ran", read_cell(path).without_evidence()))


def two_parts(*names):
    return parts([Job(cells.read(name)) for name in names], argparse.Namespace(**OPTIONS))


def test_the_whole_table_comes_before_any_cell_runs_all_orders(tmp_path, capsys):
    runner = Cells(tmp_path, kept=("mysql-aiomysql",))
    done = run._all(runner, two_parts(CELL, "mysql-aiomysql"), 1, {})
    assert runner.ran == [(CELL, RECORD), ("mysql-aiomysql", RECORD), (CELL, FULL)]
    assert runner.freed == {"mysql-aiomysql": 1}
    assert runner.stopped == 1
    assert {name: each.result.header["depth"] for name, each in done.items()} == {CELL: FULL, "mysql-aiomysql": FULL}
    _, rest = capsys.readouterr().out.split("Every scenario (by known schedules)")
    assert "NST-4" in rest.split("2 of 2 scenarios by known schedules only")[0]
    assert f"all orders: {CELL}: NST-4: worse: safe -> lies" in rest


def test_ctrl_c_says_that_the_others_are_as_on_record(tmp_path, capsys):
    runner = Cells(tmp_path, interrupt=True)
    with pytest.raises(KeyboardInterrupt):
        run._all(runner, two_parts(CELL, "mysql-aiomysql"), 1, {})
    assert "interrupted: 0 of 2 cells are done and kept; the others are as on record" in capsys.readouterr().out
    assert runner.stopped == 1


def test_what_has_had_all_orders_is_not_gone_on_with(tmp_path):
    for cell, depth in ((CELL, FULL), ("mysql-aiomysql", RECORD)):
        samples.write_cell(tmp_path, samples.header(cell, depth=depth), [samples.scenario(), samples.scenario("NST-3")])
    jobs = [Job(cells.read(name)).part("--deepen") for name in (CELL, "mysql-aiomysql")]
    runner = Cells(tmp_path)
    done = run._all(runner, [jobs], 1, run._at_hand(jobs, tmp_path))
    assert runner.ran == [("mysql-aiomysql", FULL)]
    assert {each.result.header["depth"] for each in done.values()} == {FULL}


def test_an_environment_that_is_not_there_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv("MATRIX_STATE", str(tmp_path))
    job = Job(cells.read(CELL)).part("--deepen")
    done = JobRunner([job], tmp_path, environments_at=tmp_path / "envs").one(job)
    assert (done.how, done.said) == ("failed", f"no environment: make it with tox -e {CELL} --notest")


# -- marks -------------------------------------------------------------------------------------------------------------


def table_of(tmp_path, *line_depths):
    lines = [samples.scenario(f"NST-{at}", depth=depth) for at, depth in enumerate(line_depths, 3)]
    path = samples.write_cell(tmp_path, samples.header(CELL, depth=RECORD), lines)
    return view.build([CellState(CELL, read_cell(path))], tmp_path)


def test_a_column_says_how_much_of_it_is_as_on_record(tmp_path):
    table = table_of(tmp_path, RECORD, FULL)
    assert table.columns[0].asked == "1 of 2 scenarios by known schedules only"
    assert "1 of 2 scenarios by known schedules only)" in markdown(table)
    assert table_of(tmp_path, FULL, FULL).columns[0].asked == ""

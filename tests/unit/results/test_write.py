"""A result file is whole or it is a part; what was complete before stays until then."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import resource
import subprocess
import sys
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from matrix.results import schema
from matrix.results.read import read_cell, read_part
from matrix.results.write import ResultWriter, WriteError, utc_now
from matrix.words import SCHEMA
from tests.unit.results.samples import header, scenario, write_cell

ROOT = Path(__file__).resolve().parents[3]


def test_a_finished_run_has_header_scenarios_and_footer(tmp_path):
    path = write_cell(tmp_path, header(), [scenario("NST-3", "lies"), scenario("NST-4")])
    kinds = [json.loads(line)["type"] for line in path.read_text("utf-8").splitlines()]
    assert kinds == ["header", "scenario", "scenario", "footer"]
    footer = read_cell(path).footer
    assert footer["counts"] == {"lies": 1, "safe": 1}
    assert (footer["scenarios"], footer["planned"]) == (2, 2)
    assert [file.name for file in tmp_path.iterdir()] == ["mysql-aiomysql.jsonl"]


def test_every_line_says_what_it_is_and_how_long_the_run_took(tmp_path):
    bare = {key: value for key, value in scenario().items() if key not in ("type", "schema")}
    with ResultWriter(tmp_path / "a" / "b" / "mysql-aiomysql.jsonl", header(), time.monotonic() - 60) as results:
        results.scenario(bare)
        path = results.finish()
    lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    assert [(line["type"], line["schema"]) for line in lines] == [
        (kind, SCHEMA) for kind in ("header", "scenario", "footer")
    ]
    assert 60 <= lines[-1]["seconds"] < 90
    assert lines[-1]["seconds"] == round(lines[-1]["seconds"], 3)
    assert isinstance(lines[-1]["seconds"], float)
    assert abs(datetime.fromisoformat(lines[-1]["finished"]) - datetime.now(timezone.utc)) < timedelta(minutes=1)


def test_the_moment_is_told_in_utc_wherever_the_machine_is(monkeypatch):
    try:
        with monkeypatch.context() as there:
            there.setenv("TZ", "Asia/Tokyo")
            time.tzset()
            told = utc_now()
    finally:
        time.tzset()
    assert abs(datetime.fromisoformat(told) - datetime.now(timezone.utc)) < timedelta(minutes=1)


def test_names_stand_in_a_file_as_people_write_them(tmp_path):
    path = write_cell(tmp_path, header(), [scenario(reason="naïve «Löschung»")])
    assert "naïve «Löschung»" in path.read_text("utf-8")


def test_each_line_is_on_disk_when_the_call_returns(tmp_path):
    with ResultWriter(tmp_path / "mysql-aiomysql.jsonl", header()) as results:
        results.scenario(scenario("NST-3"))
        assert len(read_part(results.part).scenarios) == 1


def test_leaving_without_finish_leaves_the_part_and_the_older_result(tmp_path):
    path = write_cell(tmp_path, header(), [scenario()])
    before = path.read_bytes()
    with pytest.raises(RuntimeError), ResultWriter(path, header()) as results:
        results.scenario(scenario())
        raise RuntimeError("the run dies")
    assert path.read_bytes() == before
    assert results.part.exists()


def test_a_stale_part_is_replaced(tmp_path):
    part = tmp_path / "mysql-aiomysql.jsonl.part"
    part.write_text("garbage " * 1000)
    write_cell(tmp_path, header(), [scenario("NST-3")], finish=False)
    assert [line["scenario"] for line in read_part(part).scenarios] == ["NST-3"]


RUN = """
import json, sys
from matrix.results.write import ResultWriter, WriteError
from tests.unit.results.samples import header, scenario
sys.stdin.readline()
try:
    with ResultWriter(sys.argv[1], header()) as results:
        print("began", flush=True)
        sys.stdin.readline()
        results.scenario(scenario("NST-3", sys.argv[2]))
        results.scenario(scenario("NST-4"))
        results.finish()
        print("finished", flush=True)
except WriteError as problem:
    print(problem, flush=True)
"""


@contextlib.contextmanager
def run_of(path, verdict):
    """A process that writes a result, a step for each line that it is told."""
    command = [sys.executable, "-c", RUN, str(path), verdict]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def step() -> str:
        process.stdin.write("\n")
        process.stdin.flush()
        return process.stdout.readline().strip()

    with process:
        yield process, step


def test_two_runs_of_a_cell_in_one_folder_lose_nothing(tmp_path):
    path = write_cell(tmp_path, header(), [scenario("NST-3", "safe")])
    with run_of(path, "lies") as (_, first), run_of(path, "hangs") as (_, second):
        assert first() == "began"
        told = second()
        assert "another run of this cell is writing" in told
        assert "wait for its end, or give this one a folder of its own (--results FOLDER)" in told
        assert "mysql-aiomysql.jsonl.part" in told
        assert read_cell(path).scenarios[0]["verdict"] == "safe"
        assert first() == "finished"
    assert [line["verdict"] for line in read_cell(path).scenarios] == ["lies", "safe"]
    assert [file.name for file in tmp_path.iterdir()] == ["mysql-aiomysql.jsonl"]


def test_a_killed_run_locks_nobody_out(tmp_path):
    path = tmp_path / "mysql-aiomysql.jsonl"
    with run_of(path, "lies") as (killed, step):
        assert step() == "began"
        killed.kill()
        killed.wait()
    with run_of(path, "hangs") as (_, step):
        assert (step(), step()) == ("began", "finished")
    assert read_cell(path).scenarios[0]["verdict"] == "hangs"


def test_a_run_that_begins_as_another_ends_does_not_write_into_its_result(tmp_path, monkeypatch):
    path = tmp_path / "mysql-aiomysql.jsonl"
    first = ResultWriter(path, header())
    lock = fcntl.flock

    def ends_before(file, how):
        """The other run ends between the opening of the part and the lock on it."""
        monkeypatch.setattr(fcntl, "flock", lock)
        first.scenario(scenario("NST-3", "lies"))
        first.finish()
        lock(file, how)

    monkeypatch.setattr(fcntl, "flock", ends_before)
    second = ResultWriter(path, header())
    assert read_cell(path).scenarios[0]["verdict"] == "lies"
    second.scenario(scenario("NST-3", "safe"))
    assert read_cell(second.finish()).scenarios[0]["verdict"] == "safe"


def test_a_full_disk_is_one_clear_line_and_keeps_the_older_result(tmp_path):
    path = write_cell(tmp_path, header(), [scenario()])
    before = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with ResultWriter(path, header()) as results:
        resource.setrlimit(resource.RLIMIT_FSIZE, (results.part.stat().st_size + 100, hard))
        try:
            with pytest.raises(WriteError) as caught:
                results.scenario(scenario())
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "mysql-aiomysql.jsonl.part: File too large" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == before


def test_a_disk_that_is_full_at_the_very_end_keeps_the_older_result(tmp_path, monkeypatch):
    path = write_cell(tmp_path, header(), [scenario("NST-4", "safe")])

    def full(number):
        raise OSError(errno.ENOSPC, "No space left on device")

    with ResultWriter(path, header()) as results:
        results.scenario(scenario("NST-4", "lies"))
        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(WriteError, match=r"jsonl\.part: No space left on device; the run is incomplete"):
            results.finish()
    assert read_cell(path).scenarios[0]["verdict"] == "safe"


def test_a_folder_that_cannot_be_made_is_a_clear_error(tmp_path):
    (tmp_path / "results").write_text("a file")
    with pytest.raises(WriteError, match=r"results.*File exists|Not a directory"):
        ResultWriter(tmp_path / "results" / "mysql-aiomysql.jsonl", header())


def test_what_cannot_be_written_is_told_with_the_way_out_also_where_the_system_has_no_words_for_it(
    tmp_path, monkeypatch
):
    def fails(*_):
        raise OSError("out of luck")

    monkeypatch.setattr(fcntl, "flock", fails)
    with pytest.raises(WriteError) as caught:
        ResultWriter(tmp_path / "mysql-aiomysql.jsonl", header())
    assert str(caught.value) == (
        f"cannot write {tmp_path}/mysql-aiomysql.jsonl.part: out of luck; the run is incomplete and an older result is "
        "kept (make room or choose another folder, then run the cell again)"
    )


def test_a_scenario_twice_and_a_line_after_the_end_are_refused(tmp_path):
    with ResultWriter(tmp_path / "mysql-aiomysql.jsonl", header()) as results:
        results.scenario(scenario())
        with pytest.raises(WriteError, match="NST-4"):
            results.scenario(scenario())
        results.finish()
        with pytest.raises(WriteError, match=r"jsonl.part: the run is over; nothing can be added to it$"):
            results.scenario(scenario("NST-3"))


def test_what_json_lacks_is_written_as_text(tmp_path):
    odd = {"rows": [float("nan"), b"\xff", {1: "key"}, (1, 2), "\udc80 \u2028"], "expected": [{1}]}
    path = write_cell(tmp_path, header(), [scenario(evidence={"witness": odd})])
    rows = read_cell(path).scenarios[0]["evidence"]["witness"]["rows"]
    assert rows == ["nan", "b'\\xff'", {"1": "key"}, [1, 2], "\udc80 \u2028"]


def test_a_cell_that_cannot_be_had_is_complete_without_scenarios_and_says_why(tmp_path):
    with ResultWriter(tmp_path / "mysql-aiomysql.jsonl", header(planned=())) as results:
        path = results.finish(not_installed="does not install: No solution found")
    assert [schema.checker()(json.loads(line)) for line in path.read_text("utf-8").splitlines()] == [None, None]
    result = read_cell(path)
    assert (result.scenarios, result.not_installed) == ((), "does not install: No solution found")
    assert read_cell(write_cell(tmp_path / "other", header(), [scenario()])).not_installed is None

"""Joining folders: the newest complete run of each cell wins, whatever the order of the folders."""

from __future__ import annotations

import itertools
import json
import os
import sys
from pathlib import Path

import pytest

from matrix.results import documents
from matrix.results.merge import MergeError, _newest, merge, write_merged, write_trimmed
from matrix.results.read import CellState, ResultError, read_folder
from tests.unit.results.samples import faults, header, scenario, write_cell

OLD, NEW = "2026-11-20T18:00:00Z", "2026-11-23T18:00:00Z"


@pytest.fixture
def shards(tmp_path):
    write_cell(tmp_path / "a", header(started=OLD), [scenario("NST-3"), scenario("NST-4")])
    write_cell(tmp_path / "a", header("sqlite-aiosqlite"), [scenario()])
    write_cell(tmp_path / "b", header(started=NEW), [scenario("NST-3", "lies"), scenario("NST-4")])
    return tmp_path / "a", tmp_path / "b"


def test_the_newest_complete_run_wins(shards):
    for folders in (shards, shards[::-1]):
        states = merge(folders)
        assert [state.cell for state in states] == ["mysql-aiomysql", "sqlite-aiosqlite"]
        assert states[0].result.header["started"] == NEW


def test_merging_is_deterministic(shards, tmp_path):
    write_merged(tmp_path / "one", shards)
    write_merged(tmp_path / "two", shards[::-1])
    for file in (tmp_path / "one").iterdir():
        assert file.read_bytes() == (tmp_path / "two" / file.name).read_bytes()


def test_an_incomplete_newer_run_goes_along_and_marks_the_cell(shards, tmp_path):
    write_cell(tmp_path / "c", header(started="2026-11-24T18:00:00Z"), [scenario("NST-3")], finish=False)
    write_merged(tmp_path / "out", [*shards, tmp_path / "c"])
    state = read_folder(tmp_path / "out")[0]
    assert not state.complete
    assert state.result.header["started"] == NEW


def test_a_complete_run_elsewhere_ends_an_older_incomplete_one(shards, tmp_path):
    write_cell(shards[0], header(started="2026-11-21T18:00:00Z"), [], finish=False)
    write_merged(shards[0], shards)
    assert all(state.complete for state in read_folder(shards[0]))
    assert not list(shards[0].glob("*.part"))


def test_of_two_incomplete_runs_the_newer_one_goes_along(shards, tmp_path):
    days = ("2026-11-24T18:00:00Z", "2026-11-25T18:00:00Z")
    for folder, started in zip("cd", days, strict=True):
        write_cell(tmp_path / folder, header(started=started), [scenario("NST-3")], finish=False)
    for folders in ([*shards, tmp_path / "c", tmp_path / "d"], [tmp_path / "d", tmp_path / "c", *shards]):
        (state, _) = merge(folders)
        assert (state.cell, state.attempt.header["started"], state.result.header["started"]) == (
            "mysql-aiomysql", days[1], NEW,
        )  # fmt: skip


@pytest.mark.parametrize("later", ["safe", "lies"])
def test_of_two_runs_that_began_together_the_one_that_ended_later_wins(tmp_path, later):
    earlier = "lies" if later == "safe" else "safe"
    for folder, ended, verdict in (("a", "2026-11-23T18:09:00Z", later), ("b", "2026-11-23T18:05:00Z", earlier)):
        path = write_cell(tmp_path / folder, header(started=NEW), [scenario("NST-3", verdict)])
        lines = path.read_text("utf-8").splitlines()
        path.write_text("\n".join([*lines[:-1], json.dumps({**json.loads(lines[-1]), "finished": ended})]) + "\n")
    for folders in ("ab", "ba"):
        (state,) = merge(tmp_path / each for each in folders)
        assert state.result.by_id["NST-3"]["verdict"] == later


def test_what_is_merged_or_trimmed_is_on_the_disk_before_it_has_its_name(shards, tmp_path, monkeypatch):
    if sys.platform != "linux":
        pytest.skip("a file's name is read from /proc")
    written = []
    monkeypatch.setattr(os, "fsync", lambda number: written.append(str(Path(f"/proc/self/fd/{number}").readlink())))
    write_merged(tmp_path / "merged", shards)
    write_trimmed(tmp_path / "trimmed", tmp_path / "merged")
    for folder in ("merged", "trimmed"):
        assert sum(f"/{folder}/" in each for each in written) >= len(list((tmp_path / folder).iterdir()))


def test_a_folder_that_cannot_be_written_is_named(shards, tmp_path):
    (tmp_path / "file").touch()
    for write in (lambda out: write_merged(out, shards), lambda out: write_trimmed(out, shards[0])):
        with pytest.raises(MergeError, match=r"^cannot write to .*/file/out: Not a directory$"):
            write(tmp_path / "file" / "out")


def test_an_unusable_file_stops_the_merge_before_anything_is_written(shards, tmp_path):
    (shards[1] / "mysql-asyncmy.jsonl").write_text("{}\n")
    with pytest.raises(MergeError, match="mysql-asyncmy"):
        write_merged(tmp_path / "out", shards)
    assert not (tmp_path / "out").exists()


def test_the_newest_word_on_the_suite_itself_goes_along(shards, tmp_path):
    for folder, finished in zip(shards, (NEW, OLD), strict=True):
        documents.write(folder / "faults.json", faults(finished=finished))
    for folders in (shards, shards[::-1]):
        write_merged(tmp_path / "out", folders)
        assert documents.read_folder(tmp_path / "out")["faults"]["finished"] == NEW


def test_of_two_words_of_one_moment_one_wins_whatever_the_order(shards, tmp_path):
    for folder, commit in zip(shards, ("0123abc", "0123abd"), strict=True):
        documents.write(folder / "faults.json", faults(finished=NEW, commit=commit))
    for folders in (shards, shards[::-1]):
        write_merged(tmp_path / "out", folders)
        assert documents.read_folder(tmp_path / "out")["faults"]["commit"] == "0123abd"


def test_a_history_keeps_what_failed_this_time_and_drops_what_is_long_gone(tmp_path):
    history, results = tmp_path / "history", tmp_path / "results"
    for cell, started in (
        ("mysql-aiomysql", OLD),
        ("mysql-asyncmy", OLD),
        ("sqlite-aiosqlite", "2026-10-01T18:00:00Z"),
    ):
        write_cell(history, header(cell, started=started), [scenario("NST-3"), scenario("NST-4")])
    write_cell(results, header("mysql-aiomysql", started=NEW), [scenario("NST-3", "lies"), scenario("NST-4")])
    assert write_trimmed(history, results, 35) == 1
    kept = {state.cell: state.result for state in read_folder(history)}
    assert {cell: result.header["started"] for cell, result in kept.items()} == {
        "mysql-aiomysql": NEW,
        "mysql-asyncmy": OLD,
    }
    assert "evidence" not in kept["mysql-aiomysql"].by_id["NST-3"]


def test_what_is_as_old_as_it_may_be_stays(tmp_path):
    for cell, started in (("mysql-aiomysql", OLD), ("sqlite-aiosqlite", NEW)):  # three days between
        write_cell(tmp_path / "history", header(cell, started=started), [scenario("NST-3"), scenario("NST-4")])
    (tmp_path / "none").mkdir()
    for days, left in ((3, 2), (2, 1)):
        assert write_trimmed(tmp_path / "history", tmp_path / "none", days) == 0
        assert len(read_folder(tmp_path / "history")) == left
    assert write_trimmed(tmp_path / "none", tmp_path / "none", 3) == 0


def test_what_began_later_than_now_is_newer_than_nothing(tmp_path):
    """A clock that was wrong once neither keeps its result for ever nor makes all others too old for the history."""
    history, results = tmp_path / "history", tmp_path / "results"
    write_cell(
        history, header("mysql-aiomysql", started="2099-01-01T00:00:00Z"), [scenario("NST-3"), scenario("NST-4")]
    )
    write_cell(history, header("mysql-asyncmy", started=OLD), [scenario("NST-3"), scenario("NST-4")])
    for cell in ("mysql-aiomysql", "sqlite-aiosqlite"):
        write_cell(results, header(cell, started=NEW), [scenario("NST-3"), scenario("NST-4")])
    for folders in ((history, results), (results, history)):
        states = merge(folders)
        assert [state.result.header["started"] for state in states] == [NEW, OLD, NEW]
    write_cell(tmp_path / "other", header("postgres-asyncpg", started="2099-01-01T00:00:00Z"), [scenario()])
    assert write_trimmed(history, tmp_path / "other", 35) == 1
    assert [state.cell for state in read_folder(history)] == ["mysql-aiomysql", "mysql-asyncmy", "postgres-asyncpg"]


def test_which_of_several_problems_is_told_does_not_depend_on_their_order():
    states = [CellState("mysql-aiomysql", None, ResultError(Path(name), "no")) for name in ("b", "a", "c")]
    for order in itertools.permutations(states):
        assert str(_newest(list(order)).problem) == "a: no"

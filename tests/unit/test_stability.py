"""Stability: what is replayed, how disagreements are counted, and that a second start goes on where the first ended."""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from matrix.cell.replayer import Replayer, other_versions
from matrix.harness.outcome import Outcome
from matrix.results import documents, schema
from matrix.results.read import read_cell
from matrix.runs import repeated, replaying, stability
from matrix.runs.inputs import ROOT
from tests.unit.results import samples

SEEN = {"violations": [{"property": "routing", "sentence": "s"}, {"property": "loudness", "sentence": "s"}]}


# -- the interval ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("disagreements", "repeats", "low", "high"),
    [
        (0, 200, 0.0, 0.0188),  # both ends as statsmodels 0.14 has them: proportion_confint(…, method="wilson")
        (1, 20, 0.0089, 0.2361),
        (10, 20, 0.2993, 0.7007),
        (20, 20, 0.8389, 1.0),
        (0, 0, 0.0, 1.0),
    ],
)
def test_wilson_s_interval(disagreements, repeats, low, high):
    assert [round(end, 4) for end in repeated.wilson(disagreements, repeats)] == [low, high]


def test_the_interval_holds_the_share_and_shrinks():
    widths = []
    for repeats in (10, 100, 1000):
        low, high = repeated.wilson(repeats // 10, repeats)
        assert low < 0.1 < high
        widths.append(high - low)
    assert widths == sorted(widths, reverse=True)


# -- one repeat ------------------------------------------------------------------------------------------------------


def repeats(*choices: list[tuple[str, ...]], schedule: str = "A.B") -> list[dict]:
    """What a cell tells of repeats of one safe schedule that had these choices."""
    on_record = {"scenario": "NST-3", "remedy": None, "program": None, "database": None}
    on_record |= {"schedule": "A.B", "verdict": "safe", "properties": []}
    cell = SimpleNamespace(adapter=SimpleNamespace(isolated=False), backings=[SimpleNamespace(kind="mysql")])
    again = Replayer(cell, None, [on_record])
    outcomes = iter([Outcome("safe", [], "", schedule, dict, None, enabled=each) for each in choices])
    again._once = lambda replay: next(outcomes)
    return [again.repeat() for _ in choices]


def test_the_same_steps_among_other_choices_disagree():
    same, other = [("A", "B"), ("B",)], [("A",), ("B",)]
    told = repeats(same, same, other)
    assert [line["disagreements"] for line in told[:2]] == [[], []]
    (disagreement,) = told[2]["disagreements"]
    assert disagreement["sentence"].endswith("possible at step 1 was A, B, then A")
    assert disagreement["verdict"] == "safe"


def test_another_course_disagrees_and_says_what_was_seen():
    (told,) = repeats([("A", "B"), ("A",)], schedule="B.A")
    assert [each["sentence"] for each in told["disagreements"]] == ["every operation completed as reported"]


def test_a_result_of_other_versions_is_not_repeated():
    recorded = {"driver": "asyncpg", "driver_version": "0.32.0", "server": "postgres", "server_version": "15.18"}
    assert other_versions(recorded, dict(recorded)) == ""
    assert other_versions(recorded, {**recorded, "server_version": "18.6"}) == "server_version 15.18, 18.6 here"


# -- what is replayed ------------------------------------------------------------------------------------------------


def result(folder: Path, *lines: dict, cell: str = "mysql-aiomysql"):
    folder.mkdir(exist_ok=True)
    samples.write_cell(folder, samples.header(cell, [line["scenario"] for line in lines]), lines)
    return read_cell(folder / f"{cell}.jsonl")


def test_each_verdict_is_replayed_by_its_schedule_and_nothing_else_is(tmp_path):
    cures = {
        "NST-3": {"verdict": "safe", "schedule": "A.B", "violations": [], "without": "lies"},
        "NST-4": {"verdict": "error", "schedule": None, "violations": [], "without": "lies"},
    }
    found = repeated.replays_of(
        result(
            tmp_path,
            samples.scenario("NST-3", "lies", schedule="A.1.A", **SEEN),
            samples.scenario("NST-4", "safe", schedule=None, violations=[]),
            samples.scenario("CTX-7", "n/a"),
            samples.scenario("CTX-8", "error"),
            {**samples.remedy("FIX-1a"), "cures": cures},
        )
    )
    assert [(each["scenario"], each["remedy"], each["schedule"], repeated.named(each)) for each in found] == [
        ("NST-3", None, "A.1.A", "lies: loudness, routing"),
        ("NST-4", None, "", "safe"),
        ("NST-3", "FIX-1a", "A.B", "safe"),
    ]


def test_of_several_databases_the_deciding_one_is_asked(tmp_path):
    line = samples.scenario("CON-4", "lies", schedule="A", **SEEN)
    line["variants"] = {"postgres": "safe", "mariadb": "lies", "sqlite": "lies"}
    assert [each["database"] for each in repeated.replays_of(result(tmp_path, line))] == ["mariadb"]


def test_another_result_has_another_fingerprint(tmp_path):
    prints = set()
    for number, schedule in enumerate(("A.B", "A.B", "B.A")):
        made = result(tmp_path / str(number), samples.scenario("NST-3", "lies", schedule=schedule, **SEEN))
        prints.add(repeated.fingerprint(made, repeated.replays_of(made)))
    assert len(prints) == 2


# -- the plan --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("load", "loaded"), [("none", 0), ("half", 2), ("all", 5)])
def test_a_plan_is_at_rest_first(load, loaded):
    assert repeated.planned(5, load) == [False] * (5 - loaded) + [True] * loaded


def test_what_is_left_of_a_plan():
    plan = repeated.planned(4, "half")
    assert repeated.left(plan, [{"loaded": False}, {"loaded": True}]) == [False, True]
    assert repeated.left(plan, [{"loaded": False}] * 9) == [True, True]


def test_what_was_done_is_found_again_but_for_other_cells_and_other_suites(tmp_path):
    done = repeated.Journal(tmp_path / "deep" / "done.jsonl")
    assert done.load("a-b", "1") == []
    for cell, fingerprint in (("a-b", "1"), ("a-b", "2"), ("a-c", "1")):
        done.add({"cell": cell, "fingerprint": fingerprint, "loaded": False})
    with done.path.open("a") as file:
        file.write('{"cell": "a-b", "fingerprint": "1", "loa')  # the machine went down here
    assert done.load("a-b", "1") == [{"cell": "a-b", "fingerprint": "1", "loaded": False}]


# -- busy cores ------------------------------------------------------------------------------------------------------


def test_cores_are_busy_in_the_block_only():
    with replaying.busy(2) as burners:
        assert [Path(f"/proc/{burner}").exists() for burner in burners] == [True, True]
    assert [Path(f"/proc/{burner}").exists() for burner in burners] == [False, False]


@pytest.mark.parametrize("when", ["at once", "later"])
def test_a_busy_core_ends_with_its_parent_even_if_that_is_killed(when):
    wait = "signal.pause()" if when == "later" else "os.kill(os.getpid(), signal.SIGKILL)"
    program = "import os, signal\nfrom matrix.runs.replaying import busy\n"
    program += f"with busy(1) as b:\n    print(*b, flush=True); {wait}"
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, cwd=ROOT)
    assert parent.stdout is not None
    with parent.stdout as told:
        burner = Path(f"/proc/{int(told.readline())}/stat")
    if when == "later":
        parent.send_signal(signal.SIGKILL)
    parent.wait()
    deadline = time.monotonic() + 60
    while alive(burner) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive(burner)


def alive(stat: Path) -> bool:
    """Whether a process runs; one that only waits to be counted does not."""
    try:
        return stat.read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


# -- a whole cell, with a stand-in for its process -------------------------------------------------------------------

STAND_IN = """#!{python}
import json, sys
asked = json.loads(sys.stdin.readline())
print("  fetching something", file=sys.stderr)
print(json.dumps({{"rule": "{rule}", "replays": asked["replays"]}}), flush=True)
seen = {{"replay": 0, "verdict": "safe", "properties": [], "schedule": "A.1.A", "sentence": "fine", "evidence": None}}
for number, _ in enumerate(sys.stdin):
    if number == {dies_at}:
        print("cannot go on", file=sys.stderr)
        sys.exit(4)
    odd = [seen] if number == 1 else []
    print(json.dumps({{"runs": 1, "first_tries": 1 - len(odd), "disagreements": odd, "seconds": 0.1}}), flush=True)
"""


@pytest.fixture
def options(tmp_path) -> argparse.Namespace:
    result(tmp_path / "results", samples.scenario("NST-3", "lies", schedule="A.1.A", **SEEN))
    return argparse.Namespace(tmp=tmp_path, cell="mysql-aiomysql")


def stand_in(tmp_path: Path, dies_at: int = 99, rule: str = "each time") -> None:
    python = tmp_path / "envs" / "mysql-aiomysql" / "bin" / "python"
    python.parent.mkdir(parents=True, exist_ok=True)
    python.write_text(STAND_IN.format(python=sys.executable, dies_at=dies_at, rule=rule))
    python.chmod(0o755)


def start(tmp_path: Path, *arguments: str) -> int:
    places = {"results": "results", "envs": "envs", "done": "work/done.jsonl"}
    given = [part for name, place in places.items() for part in (f"--{name}", str(tmp_path / place))]
    return stability.main([*given, "--workers", "1", *arguments])


def test_disagreements_are_counted_written_and_make_it_red(options, tmp_path, capsys):
    stand_in(tmp_path)
    assert start(tmp_path, "--repeats", "4") == 1
    document = documents.read_folder(tmp_path / "results")["stability"]
    assert schema.document_checker("stability")(document) is None
    (cell,) = document["cells"]
    assert (cell["replays"]["disagreements"], cell["replays"]["repeats"], cell["replays"]["loaded"]) == (1, 4, 2)
    assert (cell["replays"]["runs"], cell["replays"]["first_tries"]) == (4, 3)
    (seen,) = cell["disagreeing"]
    assert (seen["expected"], seen["seen"]) == ("lies: loudness, routing", {"safe": 1})
    assert "NST-3 by A.1.A was lies: loudness, routing, then 1 × safe" in capsys.readouterr().out


def test_where_threads_race_disagreements_are_told_and_not_held_against_anybody(options, tmp_path, capsys):
    stand_in(tmp_path, rule="seen twice")
    assert start(tmp_path, "--repeats", "4", "--load", "none") == 0
    assert "NST-3 by A.1.A was lies: loudness, routing, then 1 × safe" in capsys.readouterr().out


def test_several_at_once_do_no_more_than_was_asked_for(options, tmp_path):
    stand_in(tmp_path)
    assert start(tmp_path, "--repeats", "5", "--load", "none", "--workers", "3") == 1
    (cell,) = documents.read_folder(tmp_path / "results")["stability"]["cells"]
    assert cell["replays"]["repeats"] == cell["replays"]["runs"] == 5
    assert 1 <= cell["replays"]["disagreements"] <= 3  # the second repeat of each process


def test_a_selection_writes_nothing_and_is_not_lost(options, tmp_path, capsys):
    stand_in(tmp_path)
    assert start(tmp_path, "--repeats", "1", "--load", "none", "--cells", "mysql-aiomysql") == 0
    assert "a selection of cells: stability.json was not written" in capsys.readouterr().out
    assert not (tmp_path / "results" / "stability.json").exists()
    stand_in(tmp_path, dies_at=0)
    assert start(tmp_path, "--repeats", "1", "--load", "none") == 0
    (cell,) = documents.read_folder(tmp_path / "results")["stability"]["cells"]
    assert cell["replays"]["repeats"] == 1


def test_a_second_start_goes_on(options, tmp_path, capsys):
    stand_in(tmp_path, dies_at=1)
    assert start(tmp_path, "--repeats", "3", "--load", "none") == 1
    assert "mysql-aiomysql: its process ended with 4: cannot go on" in capsys.readouterr().err
    assert not (tmp_path / "results" / "stability.json").exists()
    stand_in(tmp_path, dies_at=1)
    assert start(tmp_path, "--repeats", "2", "--load", "none") == 0
    assert len((tmp_path / "work" / "done.jsonl").read_text().splitlines()) == 2
    stand_in(tmp_path, dies_at=0)
    assert start(tmp_path, "--repeats", "2", "--load", "none") == 0  # nothing was left to do
    (cell,) = json.loads((tmp_path / "results" / "stability.json").read_text())["cells"]
    assert (cell["replays"]["repeats"], cell["replays"]["disagreements"]) == (2, 0)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--cells", "sqlite-aiosqlite"), "has no complete result of sqlite-aiosqlite; run it first"),
        (("--cells", "mysql-aiomysql"), "mysql-aiomysql has no environment"),
    ],
)
def test_what_is_missing_is_said_in_one_line(options, tmp_path, capsys, arguments, words):
    assert start(tmp_path, *arguments) == 2
    errors = capsys.readouterr().err
    assert words in errors
    assert errors.count("\n") == 1


def test_a_replay_ends_at_once_where_the_program_is_told_to_end(tmp_path, monkeypatch):
    monkeypatch.setattr(
        replaying.process, "start", lambda *_, module, **streams: subprocess.Popen(["sleep", "60"], **streams)
    )
    began, worker = time.monotonic(), replaying.Worker(Path(sys.executable), "mysql-aiomysql", tmp_path / "log")
    with pytest.raises(KeyboardInterrupt), worker:
        raise KeyboardInterrupt
    assert worker.process.returncode == -signal.SIGTERM
    assert time.monotonic() - began < 10

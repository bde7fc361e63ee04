"""The workflows, step by step, on a stand-in for GitHub. Prepared results stand where cells would run."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.memory import roomy_memory
from tests.unit.results.samples import header, scenario, write_cell
from tests.unit.results.test_finds import anomaly
from tests.unit.results.test_finds import cell as write_programs
from tests.workflows.github import GitHub

WEEKLY = ".github/workflows/weekly.yml"
GENERATED = ".github/workflows/generated.yml"
CELLS = {1: "mysql-aiomysql", 2: "sqlite-aiosqlite"}  # which shard has which
ALL_WELL = {"Plan", "Join, compare, build the site", "Keep the history", "Publish", "Pre-releases"}


@pytest.fixture
def github(tmp_path):
    """In memory where there is enough of it: two hundred clones come and go."""
    with tempfile.TemporaryDirectory(dir=roomy_memory() or tmp_path) as folder:
        yield GitHub(Path(folder))


def prepare(github: GitHub, day: str, word: str = "safe", code: int = 0) -> None:
    """What the cells of a week give: NST-4 this word on MySQL, all else safe."""
    shutil.rmtree(github.folder / "prepared", ignore_errors=True)
    for shard, cell in CELLS.items():
        lines = [scenario("CON-1"), scenario("NST-3")]
        lines.append(scenario("NST-4", word if shard == 1 else "safe", reason=f"seen on {day}"))
        head = header(cell, [line["scenario"] for line in lines], started=f"{day}T03:17:00Z")
        write_cell(github.folder / "prepared" / str(shard), head, lines)
    (github.folder / "prepared" / "1-exit").write_text(str(code))


def published(github: GitHub, path: str) -> str:
    text = (github.folder / "published" / path).read_text("utf-8")
    return " ".join(re.sub(r"<[^>]*>", " ", text).split()) if path.endswith(".html") else text


def well(ended) -> bool:
    return {name for name, how in ended.jobs.items() if how == "succeeded"} >= ALL_WELL


def test_weeks(github):
    """The first run publishes; the second compares; a regression is told, published and kept, once."""
    prepare(github, "2026-11-08")
    first = github.run(WEEKLY)
    assert well(first), first.told
    assert set(first.jobs.values()) == {"succeeded"}
    assert "Open issues for what got worse" not in first.jobs
    assert len(github.history()) == 1
    assert "No older results were given to compare with." in published(github, "changes.html")
    assert "https://pages.example.org/name/feed.xml" in published(github, "feed.xml")
    assert "https://pages.example.org/name/badges/" in (github.folder / "published/drivers/aiomysql.html").read_text()
    assert len(re.findall(r"-m matrix run prerelease:no .*--shard \d/6", (github.folder / "python").read_text())) == 6

    prepare(github, "2026-11-15")
    second = github.run(WEEKLY)
    assert well(second), second.told
    assert len(github.history()) == 2
    assert "Since 2026-11-08 Nothing changed." in published(github, "changes.html")
    assert github.issues() == []

    prepare(github, "2026-11-22", "lies", code=1)
    third = github.run(WEEKLY)
    assert well(third), third.told
    assert third.jobs["Cells 1/6-1"] == "failed"
    assert len(github.history()) == 3
    assert github.issues() == ["NST-4 in mysql-aiomysql: safe -> lies"]
    assert re.search(r"Summary - .*NST-4.*lies", third.log, re.S)
    changes = published(github, "changes.html")
    assert "Since 2026-11-15" in changes
    assert "NST-4 The title of NST-4 mysql-aiomysql safe lies worse" in changes
    assert "NST-4 on mysql-aiomysql: safe → lies (worse)" in published(github, "feed.xml")
    for day in ("2026-11-08", "2026-11-15"):  # older weeks can be chosen, and links to them lead somewhere
        assert f"Results of {day}" in published(github, f"runs/{day}/index.html")
        assert f"{day} safe seen on {day}" in published(github, "cells/mysql-aiomysql/NST-4.html")

    again = github.run(WEEKLY)
    assert well(again), again.told
    assert github.issues() == ["NST-4 in mysql-aiomysql: safe -> lies"]


def test_a_fork_without_issues_and_pages(github):
    """What is switched off costs itself: the history is kept, and what can be published is."""
    (github.folder / "no-issues").touch()
    prepare(github, "2026-11-08")
    assert well(github.run(WEEKLY))
    (github.folder / "no-pages").touch()
    prepare(github, "2026-11-15", "lies", code=1)
    ended = github.run(WEEKLY)
    assert ended.jobs["Open issues for what got worse"] == "failed"
    assert "repository has disabled issues" in ended.told
    assert ended.jobs["Publish"] == "failed"
    assert ended.jobs["Join, compare, build the site"] == ended.jobs["Keep the history"] == "succeeded", ended.told
    assert len(github.history()) == 2
    assert (github.folder / "artifacts" / "github-pages" / "index.html").is_file()


def test_a_shard_that_died(github):
    """Its cells keep their older results, with their age; the others are compared and published."""
    prepare(github, "2026-11-08")
    assert well(github.run(WEEKLY))
    prepare(github, "2026-11-15", "lies")
    shutil.rmtree(github.folder / "prepared" / "2")
    (github.folder / "prepared" / "2").mkdir()
    (github.folder / "prepared" / "2" / "died").touch()
    ended = github.run(WEEKLY)
    assert well(ended), ended.told
    assert ended.jobs["Cells 2/6-2"] == "failed"
    assert github.issues() == ["NST-4 in mysql-aiomysql: safe -> lies"]
    assert "Run of 2026-11-08, 7 days older than the newest run" in published(
        github, "cells/sqlite-aiosqlite/index.html"
    )
    assert len(github.history()) == 2


def test_the_nightly_run(github):
    prepare(github, "2026-11-08")
    assert well(github.run(WEEKLY))
    prepare(github, "2026-11-09", "lies")
    (github.folder / "prepared" / "1").rename(github.folder / "prepared" / "0")
    ended = github.run(".github/workflows/nightly.yml")
    # Eight cells were planned and one was prepared; it is compared all the same.
    assert "1 cells, 8 were planned" in ended.told
    assert ended.jobs == {"Newest releases": "failed"}
    assert re.search(r"Summary - .*NST-4", ended.log, re.S)
    assert (github.folder / "artifacts" / "results" / "mysql-aiomysql.jsonl").is_file()


def test_nights_of_generated_programs(github):
    """What no scenario shows is kept with its program, over nights that do not draw it and a shard that died, and with
    the scenario that stands for it since."""

    def night(*anomalies: dict[str, Any], shown: Sequence[tuple[str, list[str]]] = (), died: bool = False) -> str:
        shutil.rmtree(github.folder / "prepared", ignore_errors=True)
        write_programs(github.folder / "prepared" / "1", *anomalies, shown=shown)
        if died:
            (github.folder / "prepared" / "2").mkdir()
            (github.folder / "prepared" / "2" / "died").touch()
        ended = github.run(GENERATED)
        assert ended.jobs["Finds"] == ended.jobs["Keep the finds"] == "succeeded", ended.told
        assert ("failed" in ended.jobs.values()) is died, ended.told  # act tells it of the job's other shards too
        assert len(ended.jobs) == 10
        return ended.log

    first = night(anomaly("breaks", "liveness"))
    assert re.search(r"Summary - .*1 new finds, 1 kept", first, re.S)
    asked = re.findall(
        r"-m matrix run axis:newest --seed (\d{8}) --programs 1000 --full-first --shard \d/8",
        (github.folder / "python").read_text(),
    )
    assert len(asked) == 8
    (kept,) = github.finds()
    assert (kept["line"], kept["program"]) == ("GEN-5", "async def program():\n    pass")
    second = night(anomaly("lies", "routing"), died=True)
    assert re.search(r"Summary - .*1 new finds, 2 kept", second, re.S)
    third = night(shown=[("breaks", ["liveness"])])
    assert re.search(r"Summary - .*0 new finds, 1 kept.*NST-3 stands for it now", third, re.S)
    assert [(find["verdict"], find["scenarios"]) for find in github.finds()] == [("breaks", ["NST-3"]), ("lies", [])]


def test_the_nights_between_are_no_older_weeks(github):
    """Finds are kept beside the history, not in it: the site's older runs are weeks, also when a night came first."""
    write_programs(github.folder / "prepared" / "1", anomaly("breaks", "liveness"))
    assert github.run(GENERATED).jobs["Keep the finds"] == "succeeded"
    for day in ("2026-11-08", "2026-11-15"):
        prepare(github, day)
        ended = github.run(WEEKLY)
        assert well(ended), ended.told
        assert set(ended.jobs.values()) == {"succeeded"}
        write_programs(github.folder / "prepared" / "1")
        assert github.run(GENERATED).jobs["Keep the finds"] == "succeeded"
    assert [subject.partition(" ")[0] for subject in github.history()] == ["Results", "Results"]
    assert len(github.finds()) == 1
    assert "Results of 2026-11-08" in published(github, "runs/2026-11-08/index.html")
    assert "async def program():" in published(github, "finds.html")  # what the night before has found


def test_pushes_and_pull_requests_run_the_script(github):
    script = github.clone / "ci" / "run.sh"
    script.write_text("#!/bin/sh\nmkdir -p build/site; echo built > build/site/index.html\n")
    github.git("commit", "--quiet", "--all", "--message", "A short CI")
    github.git("push", "--quiet", "origin", "main")
    for event in ("push", "pull_request"):
        ended = github.run(".github/workflows/ci.yml", event)
        assert list(ended.jobs.values()) == ["succeeded"], ended.told
        assert (github.folder / "artifacts" / "site" / "index.html").read_text() == "built\n"


@pytest.mark.parametrize(("word", "fork"), [("lies", False), ("safe", False), ("lies", True)])
def test_another_project_compares_its_checkout(github, word, fork):
    for side, verdict in (("before", "safe"), ("after", word)):
        lines = [scenario("NST-3"), scenario("NST-4", verdict)]
        write_cell(github.folder / "prepared" / side, header(), lines)
    pull_request = {"number": 7, "head": {"repo": {"fork": fork}}}
    ended = github.run("docs/compare.yml", "pull_request", {"pull_request": pull_request})
    assert ended.jobs.get("Compare") == "succeeded", ended.told
    assert ("Comment" in ended.jobs) is not fork
    comment = github.folder / "comment.md"
    assert comment.exists() is not fork
    if not fork:
        assert ("NST-4" in comment.read_text()) is (word == "lies")
    asked = (github.folder / "python").read_text()
    assert re.search(r"-m matrix run mysql-aiomysql postgres-asyncpg --tortoise \S+ --results ", asked)


def test_every_workflow_is_run_here():
    here = Path(__file__).read_text("utf-8")
    for path in Path(__file__).parents[2].glob(".github/workflows/*.yml"):
        assert f'".github/workflows/{path.name}"' in here, path.name


def test_every_action_that_is_used_has_a_stand_in():
    for path in [
        *Path(__file__).parents[2].glob(".github/workflows/*.yml"),
        Path(__file__).parents[2] / "docs/compare.yml",
    ]:
        for name in re.findall(r"uses: actions/([\w-]+)@", path.read_text("utf-8")):
            assert (Path(__file__).parent / "actions" / name / "action.yml").is_file(), name

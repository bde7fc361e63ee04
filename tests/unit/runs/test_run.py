"""Runs of real cells (SQLite, so that no server is needed) with the commands that CI uses."""

import contextlib
import json
import os
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest

from matrix.__main__ import main
from matrix.results import expectations
from matrix.results.read import read_cell, read_folder
from matrix.runs import RunError, cells, environments, registry
from matrix.runs.children import GRACE
from matrix.runs.inputs import DECIDING, ROOT
from matrix.runs.jobs import Done, Job, version_or_source
from matrix.runs.run import not_as_expected
from matrix.runs.runner import JobRunner
from matrix.runs.shared_servers import Servers
from matrix.runs.sources import SourceError, recall
from tests.unit.harness.test_architecture import imports, within
from tests.unit.results import samples

CELLS = ("sqlite-aiosqlite", "sqlite-aiosqlite0.20", "sqlite-aiosqlite0.21", "sqlite-aiosqlite-uvloop")
ONLY = ("--only", "CON-1,NST-1")


def told(folder: Path) -> dict[str, object]:
    """What a folder's results say, without moments, durations and the random parts of evidence."""
    found = {}
    for state in read_folder(folder):
        result = state.result
        assert result is not None, state.problem
        lines = [{key: line[key] for key in ("scenario", "verdict", "schedule", "orders")} for line in result.scenarios]
        kept = {
            key: result.header[key]
            for key in ("axes", "packages", "planned", "catalogue", "inputs")
            if key in result.header
        }
        found[state.cell] = {**kept, "lines": lines, "not_installed": result.not_installed}
    return found


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_three_shards_joined_are_what_one_run_is(run, tmp_path):
    shards = [tmp_path / f"shard{index}" for index in (1, 2, 3)]
    for index, folder in enumerate(shards, start=1):
        done = run("run", *CELLS, *ONLY, "--shard", f"{index}/3", "--results", folder)
        assert done.returncode == 0, done.stdout + done.stderr
    assert run("results", "merge", tmp_path / "joined", *shards).returncode == 0

    # An unsharded run on the same machine takes what the shards have run from the store: the very same files, and so
    # the same site, byte for byte.
    unsharded = run("run", *CELLS, *ONLY, "--results", tmp_path / "unsharded")
    assert unsharded.returncode == 0, unsharded.stdout + unsharded.stderr
    assert "(0 ran, 3 unchanged, 1 n/a)" in unsharded.stdout
    assert content(tmp_path / "unsharded") == content(tmp_path / "joined")
    for name in ("joined", "unsharded"):
        run("report", "--results", tmp_path / name, "--out", tmp_path / f"{name}.site")
        assert (tmp_path / f"{name}.site" / "site" / "index.html").exists()
    assert content(tmp_path / "unsharded.site") == content(tmp_path / "joined.site")

    # A run of its own says the same, but for moments, durations and the names of rows.
    fresh = run("run", *CELLS, *ONLY, "--fresh", "--results", tmp_path / "fresh")
    assert fresh.returncode == 0, fresh.stdout + fresh.stderr
    assert told(tmp_path / "joined") == told(tmp_path / "fresh")
    assert sorted(told(tmp_path / "joined")) == sorted(CELLS)
    assert told(tmp_path / "joined")["sqlite-aiosqlite-uvloop"]["not_installed"].startswith("does not apply: uvloop")
    assert {line["verdict"] for line in told(tmp_path / "joined")["sqlite-aiosqlite0.20"]["lines"]} == {"safe"}

    same = run("diff", tmp_path / "joined", tmp_path / "fresh")
    assert (same.returncode, same.stdout) == (0, "nothing changed\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_goes_on_where_it_was(run, start, tmp_path, number):
    command = ("run", *CELLS[:3], *ONLY, "--jobs", "1", "--results", tmp_path / "results")
    with start(*command) as process:
        first = next(line for line in process.stdout if line.startswith("   1/3 "))  # its scenarios before
        process.send_signal(number)
        said, errors = process.communicate(timeout=120)
    assert process.returncode == 130, said + errors
    assert "interrupted: " in said
    assert "Traceback" not in errors
    assert all(state.complete for state in read_folder(tmp_path / "results"))
    again = run(*command)
    assert again.returncode == 0, again.stdout + again.stderr
    assert first.split()[1] in next(line for line in again.stdout.splitlines() if "unchanged, from the store" in line)
    assert sorted(told(tmp_path / "results")) == sorted(CELLS[:3])


def test_a_killed_run_leaves_nothing_running_and_the_same_command_goes_on(run, start, tmp_path):
    command = ("run", *CELLS[:3], *ONLY, "--jobs", "1", "--results", tmp_path / "results")
    with start(*command) as process:
        next(line for line in process.stdout if line.startswith("   1/3 "))  # its scenarios before
        second = running_below(process.pid)
        for each in second:
            os.kill(each, signal.SIGSTOP)  # so that none of them ends by itself
        process.kill()
    assert second
    assert gone(second)
    assert all(state.complete for state in read_folder(tmp_path / "results"))
    again = run(*command)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "(2 ran, 1 unchanged, 0 n/a)" in again.stdout
    assert sorted(told(tmp_path / "results")) == sorted(CELLS[:3])


def running_below(parent: int) -> list[int]:
    """The cells' processes that a run has started and that are well under way: the run has told its watchman of them by
    then. Waits for the first."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found = [
            int(path.name)
            for path in Path("/proc").glob("[0-9]*")
            if parent_of(path) == parent and b"\0matrix.cell" in (path / "cmdline").read_bytes() and busy(path) > 0.1
        ]
        if found:
            return found
        time.sleep(0.02)
    return []


def stat_of(process: Path) -> list[str]:
    """What the kernel says of it, from its state on."""
    return process.joinpath("stat").read_text().rpartition(")")[2].split()


def busy(process: Path) -> float:
    """Seconds of a core that it has had; 0 of one that is gone."""
    with contextlib.suppress(OSError):
        ticks = stat_of(process)[11:13]
        return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")
    return 0.0


def parent_of(process: Path) -> int | None:
    with contextlib.suppress(OSError):
        return int(stat_of(process)[1])
    return None


def gone(processes: list[int]) -> bool:
    """Whether they end within the time that they have to clean up."""
    deadline = time.monotonic() + GRACE + 5
    while time.monotonic() < deadline:
        if not any(alive(process) for process in processes):
            return True
        time.sleep(0.05)
    return False


def alive(process: int) -> bool:
    with contextlib.suppress(OSError):
        return stat_of(Path(f"/proc/{process}"))[0] != "Z"
    return False


def test_what_is_not_as_on_record_makes_a_run_red(tmp_path, monkeypatch):
    """A verdict that is not as expected is told and is an exit code, also one that comes from the store."""
    header = samples.header() | {"planned": ["NST-3"]}
    path = samples.write_cell(tmp_path, header, [samples.scenario("NST-3", "lies")])
    job = Job(cells.read(header["cell"]))
    done = [Done(job, how, read_cell(path).without_evidence()) for how in ("kept",)]
    monkeypatch.setattr(expectations, "FOLDER", tmp_path / "expectations")
    (unmet,) = not_as_expected(done)
    assert (unmet.kind, unmet.scenario) == ("worse", "NST-3")
    assert not_as_expected([Done(job, "failed", None, "no server")]) == []


def test_what_was_of_no_use_for_a_long_time_leaves_the_store(tmp_path, monkeypatch):
    monkeypatch.setenv("MATRIX_STATE", str(tmp_path))
    for name in ("old", "new"):
        (tmp_path / "store" / name / "short").mkdir(parents=True)
    os.utime(tmp_path / "store" / "old", (0, 0))
    JobRunner([], tmp_path / "results").store.forget()
    assert [path.name for path in (tmp_path / "store").iterdir()] == ["new"]


def test_a_cell_without_a_version_of_its_server_has_the_newest_of_the_axis(tmp_path, monkeypatch):
    monkeypatch.setenv("MATRIX_STATE", str(tmp_path))
    runner = JobRunner([], tmp_path / "results")
    servers = runner.axes.servers
    assert runner.specs(Job(cells.read("postgres-asyncpg"))) == [f"postgres-{servers['postgres'][-1]}"]
    assert runner.specs(Job(cells.read("postgres-asyncpg-postgres15"))) == ["postgres-15"]
    assert runner.specs(Job(cells.read("odbc-asyncodbc")))[1] == f"mariadb-{servers['mariadb'][-1]}"


def test_what_cannot_be_installed_is_a_result_with_the_resolvers_words(run, tmp_path):
    done = run("run", "sqlite-aiosqlite0.22-tortoise0.23", *ONLY, "--results", tmp_path / "results")
    assert done.returncode == 0, done.stdout + done.stderr
    result = read_cell(tmp_path / "results" / "sqlite-aiosqlite0.22-tortoise0.23.jsonl")
    assert result.scenarios == ()
    assert result.not_installed.startswith("does not install: No solution found")
    assert "aiosqlite" in result.not_installed
    assert (result.axes["tortoise"], result.axes["driver_version"]) == ("0.23.0", "0.22.1")
    assert run("results", "check", tmp_path / "results").returncode == 0


def test_a_python_that_is_not_here_is_no_result_and_an_older_one_stays(tmp_path, monkeypatch):
    monkeypatch.setenv("MATRIX_STATE", str(tmp_path))
    job = Job(cells.read("sqlite-aiosqlite-py399"))
    header = samples.header() | {"cell": job.cell}
    older = samples.write_cell(tmp_path / "results", header, [samples.scenario("NST-3", "lies")])
    before = older.read_bytes()
    done = JobRunner([job], tmp_path / "results").one(job)
    assert (done.how, done.result) == ("failed", None)
    assert "Python 3.99 is not on this machine (Debian has none to fetch): install it" in done.said
    assert older.read_bytes() == before


def test_a_checkout_is_tested_and_a_change_of_it_is_seen(run, tmp_path):
    project = tmp_path / "aiosqlite-fix"
    (project / "aiosqlite").mkdir(parents=True)
    (project / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["flit_core"]\nbuild-backend = "flit_core.buildapi"\n'
        '[project]\nname = "aiosqlite"\nversion = "9.9"\ndescription = "broken on purpose"\n'
    )
    module = project / "aiosqlite" / "__init__.py"
    module.write_text("raise RuntimeError('the first state of the checkout')\n")
    command = ("run", "sqlite-aiosqlite", "--driver", project, *ONLY, "--results", tmp_path / "results")
    assert run(*command).returncode == 0
    (first,) = (state.result for state in read_folder(tmp_path / "results"))
    assert first.not_installed == "does not import: RuntimeError: the first state of the checkout"
    module.write_text("raise RuntimeError('the second state')\n")
    assert run(*command).returncode == 0
    (second,) = (state.result for state in read_folder(tmp_path / "results") if state.cell != first.header["cell"])
    assert second.not_installed == "does not import: RuntimeError: the second state"
    for result in (first, second):
        told = result.header["sources"]["aiosqlite"]
        assert told["label"] == f"+aiosqlite.fix.{told['digest'][:8]}" == result.axes["driver_version"]
        assert result.header["cell"] == f"sqlite-aiosqlite{told['label']}"
    gone = run("replay", first.header["cell"], "CON-1", "--results", tmp_path / "results")
    assert (gone.returncode, gone.stderr.count("\n")) == (2, 2)
    assert f"is not {first.axes['driver_version'][1:]} any more" in gone.stderr


@pytest.mark.parametrize("text", ["0.23.0", "1.2.0rc1", "1.1.9+one_lock"])
def test_a_release_is_itself(text):
    assert version_or_source(text) == text


def project(folder, text):
    """A repository with one commit."""
    folder.mkdir(parents=True)
    (folder / "pyproject.toml").write_text('[project]\nname = "tortoise-orm"\n')
    (folder / "module.py").write_text(text)
    author = ("-c", "user.name=A", "-c", "user.email=a@example.org")
    for words in (("init", "-q", "-b", "My_Branch"), ("add", "."), (*author, "commit", "-q", "-m", "one")):
        subprocess.run(["git", "-C", folder, *words], check=True)
    return folder


def test_a_source_is_named_by_commit_changes_and_content(tmp_path, monkeypatch):
    monkeypatch.setenv("MATRIX_STATE", str(tmp_path / "state"))
    one = project(tmp_path / "a b" / "Tortoise-ORM", "1")  # an address has %20 there
    clean, other = version_or_source(str(one)), version_or_source(str(project(tmp_path / "b" / "Tortoise-ORM", "2")))
    assert clean.label == f"+tortoise.orm.g{clean.commit[:8]}.{clean.digest[:8]}"
    assert clean.label != other.label, "two checkouts in folders of the same name"
    assert recall(clean.label) == clean
    (one / "module.py").write_text("3")
    changed = version_or_source(str(one))
    assert changed.label == f"+tortoise.orm.g{clean.commit[:8]}.dirty.{changed.digest[:8]}"
    assert (changed.dirty, clean.dirty) == (True, False)
    with pytest.raises(
        SourceError, match=r"is not tortoise\.orm\.g.* any more: it is tortoise\.orm\.g.*dirty"
    ) as problem:
        recall(clean.label)
    assert str(problem.value).count("\n") == 1
    assert str(cells.read(f"mysql-aiomysql-tortoise{changed.label}")) == f"mysql-aiomysql-tortoise{changed.label}"
    branch = version_or_source(f"git+file://{one}@My_Branch")
    assert branch.label == f"+tortoise.orm.my.branch.g{clean.commit[:8]}"
    assert branch.place == f"git+file://{one}@{clean.commit}"
    assert recall(branch.label) == branch
    with pytest.raises(RunError, match="git finds no such repository or branch"):
        version_or_source(f"git+file://{one}@nowhere")
    with pytest.raises(SourceError, match="never tested on this machine"):
        recall("+somebody.elses")


def test_what_is_neither_version_nor_source_is_told(tmp_path):
    with pytest.raises(RunError, match="neither a version, a folder with a Python project, nor"):
        version_or_source(str(tmp_path))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "say which cells to run"),
        (("mysql-nodriver",), "there is no driver nodriver"),
        (("mysql-aiomysql", "--server", "4.1"), "unknown server"),
        (("--tortoise", "0.23.0"), "say which cells the versions are for"),
        (("sqlite-aiosqlite", "--shard", "4/3"), "is no shard"),
        (("mysql-aiomysql", "--server", "postgres-15"), "runs on mysql, mariadb here"),
    ],
)
def test_bad_input_is_told_in_one_line(run, arguments, says):
    done = run("run", *arguments)
    assert done.returncode == 2
    assert says in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_selection_of_unknown_scenarios_says_which_there_are(run, tmp_path):
    done = run("run", "sqlite-aiosqlite", "--only", "nst-1,NST-999", "--results", tmp_path / "results")
    assert done.returncode == 2
    first, *listed = done.stderr.splitlines()
    assert first.startswith("--only: there is no scenario NST-999; there are (or a family: CON, CAN, ")
    assert listed[0] == "  NST-1    Two levels, the inner rolls back"
    assert not list((tmp_path / "results").glob("*.jsonl"))


def test_the_same_inputs_have_the_same_digest_and_a_change_of_any_another(tmp_path, monkeypatch):
    monkeypatch.setenv("MATRIX_STATE", str(tmp_path))
    runner = JobRunner([], tmp_path)
    runner.servers = Servers(Counter())
    python = environments.Python("3.11", "3.11.7", Path("/nowhere"))
    job = Job(cells.read("sqlite-aiosqlite"))

    def digest(job=job, python=python, locked=("aiosqlite==0.22.1",)):
        return runner.inputs(job, python, locked, [])

    first = digest()
    assert digest() == first
    others = [
        digest(locked=("aiosqlite==0.22.0",)),
        digest(python=environments.Python("3.11", "3.11.8", Path("/nowhere"))),
        digest(job=Job(cells.read("sqlite-aiosqlite"), only=("NST-1",))),
        digest(job=Job(cells.read("sqlite-aiosqlite"), arguments=("--orders", "50"))),
        digest(job=Job(cells.read("sqlite-aiosqlite"), arguments=("--brief",))),
    ]
    runner._known_schedules = {"sqlite-aiosqlite": {"NST-1": {"verdict": "safe", "schedule": "A"}}}
    others.append(digest(job=Job(cells.read("sqlite-aiosqlite"), arguments=("--brief",))))
    assert digest() == first
    runner.deciding = "another harness"
    others.append(digest())
    assert len({first, *others}) == len(others) + 1


def test_differences_are_told_and_worse_is_an_exit_code(run, tmp_path):
    done = run("run", "sqlite-aiosqlite", *ONLY, "--results", tmp_path / "before")
    assert done.returncode == 0, done.stdout + done.stderr
    before = tmp_path / "before" / "sqlite-aiosqlite.jsonl"
    lines = [json.loads(line) for line in before.read_text().splitlines()]
    lines[1]["verdict"], lines[1]["reason"] = "lies", "a reason | with a bar"
    lines[-1]["counts"] = {"lies": 1, "safe": 1}
    after = tmp_path / "after" / "sqlite-aiosqlite.jsonl"
    after.parent.mkdir()
    after.write_text("".join(json.dumps(line) + "\n" for line in lines))
    worse = run("diff", tmp_path / "before", tmp_path / "after")
    assert worse.returncode == 1
    assert worse.stdout == "sqlite-aiosqlite: CON-1: worse: safe -> lies: a reason | with a bar\n1 worse\n"
    better = run("diff", after, before, "--json")
    assert better.returncode == 0
    (told,) = json.loads(better.stdout)
    assert (told["kind"], told["before"], told["after"]) == ("better", "lies", "safe")
    assert r"a reason \x7c with" in run("diff", tmp_path / "before", tmp_path / "after", "--markdown").stdout
    assert run("results", "trim", tmp_path / "trimmed", tmp_path / "before").returncode == 0
    assert run("diff", tmp_path / "trimmed", tmp_path / "before").stdout == "nothing changed\n"
    assert (tmp_path / "trimmed" / before.name).stat().st_size < before.stat().st_size
    assert run("diff", tmp_path / "nothing", tmp_path / "after").returncode == 2


def test_without_uv_a_run_ends_before_its_first_cell(monkeypatch, capsys, tmp_path):
    def missing():
        raise registry.RegistryError("uv is needed and was not found")

    monkeypatch.setattr(registry, "uv", missing)
    assert main(["run", *CELLS, "--results", str(tmp_path / "results")]) == 2
    assert capsys.readouterr().err == "uv is needed and was not found\n"
    assert not (tmp_path / "results").exists()


def test_what_decides_a_result_is_in_its_digest():
    """Whatever of the program a cell imports decides, but for servers (their versions are in the header) and files."""
    covered = [name.removesuffix(".py").replace("/", ".") for name in DECIDING]
    names = {name for path in DECIDING for file in _python(ROOT / path) for name in imports(file)}
    beside = ("matrix.servers", "matrix.results", "matrix.files", "matrix.parent", "matrix.maker")
    assert [name for name in names if within(name, "matrix") and not within(name, *covered, *beside)] == []


def _python(path):
    return sorted(path.rglob("*.py")) if path.is_dir() else [path] if path.suffix == ".py" else []


def test_a_version_that_does_not_exist_is_a_mistake_and_no_result(run, tmp_path):
    done = run("run", "sqlite-aiosqlite", "--tortoise", "99.9", *ONLY, "--results", tmp_path)
    assert done.returncode == 2
    assert "tortoise-orm==99.9" in done.stderr
    assert not list(tmp_path.glob("*.jsonl"))


def test_scenarios_that_are_asked_for_are_told_one_by_one(run, tmp_path):
    done = run("run", "sqlite-aiosqlite", "--only", "CON-7", "--results", tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "  CON-7   ⊘ refuses: " in done.stdout
    assert f"evidence: {tmp_path / 'sqlite-aiosqlite.jsonl'}" in done.stdout
    assert f"python -m matrix replay sqlite-aiosqlite CON-7 --results {tmp_path}" in done.stdout

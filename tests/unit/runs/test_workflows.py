"""The workflows: every action by its hash, no more rights than needed, and only commands that exist."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from matrix.__main__ import main, parser
from matrix.harness.cell import commit
from tests.unit.results import samples

ROOT = Path(__file__).parents[3]
WORKFLOWS = [*sorted((ROOT / ".github" / "workflows").glob("*.yml")), ROOT / "docs" / "compare.yml"]


def test_there_are_workflows():
    assert [path.name for path in WORKFLOWS] == ["ci.yml", "generated.yml", "nightly.yml", "weekly.yml", "compare.yml"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_actions_and_images_are_pinned_by_hash(path):
    text = path.read_text(encoding="utf-8")
    uses = re.findall(r"uses: (\S+)(.*)", text)
    assert uses
    assert [what for what, _ in uses if not re.fullmatch(r"[\w/.-]+@[0-9a-f]{40}", what)] == []
    assert [what for what, rest in uses if not re.match(r" # (v\d+\.\d+\.\d+|the commit that you trust)$", rest)] == []
    assert [
        image for image in re.findall(r"image: (\S+)", text) if not re.search(r"@sha256:[0-9a-f]{64}$", image)
    ] == []


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_rights_are_given_job_by_job_and_explained(path):
    text = path.read_text(encoding="utf-8")
    assert "\npermissions: {}\n" in text
    for right in re.findall(r"^ +[\w-]+: (?:read|write)\b.*$", text, re.MULTILINE):
        assert " # " in right, right


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_every_command_exists(path):
    text = re.sub(r"\$\{older[^}]*\}[^}]*\}", "--older a b", path.read_text(encoding="utf-8"))
    for command in re.findall(r"python3? (?:-S )?-m matrix ([^\n|>#]+)", text):
        options = parser().parse_args(shlex.split(command))  # argparse exits where it does not understand
        assert callable(options.handler)


def test_every_command_of_the_scripts_exists():
    for path in (ROOT / "ci").glob("*.sh"):
        text = path.read_text(encoding="utf-8").replace('"--$OF"', "--driver").replace(" || true", "")
        for command in re.findall(r"python\"? -m matrix ([^\n|>#]+)", text):
            assert callable(parser().parse_args(shlex.split(command)).handler)


def jobs(path):
    """The text of each job by its name."""
    parts = re.split(r"^  ([a-z]+):$", path.read_text(encoding="utf-8").partition("\njobs:\n")[2], flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_who_may_write_runs_nobodys_packages(path):
    allowed = ("ci/history.sh kept", "python3 -S -m matrix announce diff.json ", "gh pr comment ")
    for name, job in jobs(path).items():
        if re.search(r"^ +(?:contents|issues|pull-requests): write\b", job, re.MULTILINE):
            commands = re.findall(r"run: (.*)", job)
            assert commands, name
            assert [each for each in commands if not each.startswith(allowed)] == [], name
            assert not re.search(r"setup-python|container:", job), name


def test_the_history_of_a_week_is_written_by_git_alone():
    script = (ROOT / "ci" / "history.sh").read_text(encoding="utf-8")
    assert not re.search(r"\b(python|pip|uv|tox|bash -c|eval)\b", script.partition("\n")[2])


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_what_is_installed_is_known_by_its_hash(path):
    text = path.read_text(encoding="utf-8")
    installed = re.findall(r"\b(?:pip install|uv pip|uv tool|pipx|npm) .*", text)
    assert set(installed) <= {"pip install --quiet --require-hashes -r ci/requirements.txt"}


def test_every_requirement_has_a_version_and_a_hash():
    wanted = [line for line in (ROOT / "ci/requirements.in").read_text().splitlines() if not line.startswith("#")]
    pinned = re.split(r"\n(?=[\w.-]+==)", (ROOT / "ci/requirements.txt").read_text(encoding="utf-8"))[1:]
    assert all(re.search(r"^    --hash=sha256:[0-9a-f]{64}", each, re.MULTILINE) for each in pinned)
    assert set(wanted) <= {each.partition("==")[0] for each in pinned}


def test_issues_are_announced_without_any_package(tmp_path):
    (tmp_path / "diff.json").write_text("[]")
    command = [sys.executable, "-S", "-m", "matrix", "announce", tmp_path / "diff.json"]
    said = subprocess.run(command, cwd=ROOT, env={"PATH": ""}, check=True, capture_output=True, text=True).stdout
    assert said == "0 issues opened\n"


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="no checkout")
def test_the_commit_is_known_in_a_checkout_of_another_user(monkeypatch):
    """As in a job's container, where git calls its owner dubious."""
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    plain = subprocess.run(["git", "-C", ROOT, "describe", "--always"], capture_output=True, text=True, check=False)
    assert "dubious ownership" in plain.stderr
    assert commit()


GIT = """#!/bin/sh
# Keeps its arguments, and what it would log in with.
printf '%s\\n' "$*" >> "$KEPT/arguments"
printf 'protocol=https\\nhost=example.org\\n\\n' | "$REAL" credential fill >> "$KEPT/logins"
exec "$REAL" -c "$RULE" "$@"
"""


def test_the_history_is_appended_to(tmp_path):
    """ci/history.sh against a repository of its own: the first run makes the branch, the next one adds to it; finds
    have their own, as each commit of the history is a week."""
    remote, program = tmp_path / "remote.git", tmp_path / "bin"
    subprocess.run(["git", "init", "--quiet", "--bare", remote], check=True)
    program.mkdir()
    (program / "git").write_text(GIT)
    (program / "git").chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{program}{os.pathsep}{os.environ['PATH']}",
        "REAL": str(shutil.which("git")),
        "RULE": f"url.{remote.as_uri()}.insteadOf=https://example.org/owner/name.git",
        "KEPT": str(tmp_path),
        "TOKEN": "secret",
        "REPOSITORY": "owner/name",
        "GITHUB_SERVER_URL": "https://example.org",
    }
    kept = tmp_path / "kept"
    for day, cell in enumerate(("mysql-aiomysql", "sqlite-aiosqlite"), start=20):
        header = samples.header(cell, started=f"2026-11-{day}T18:00:00Z")
        samples.write_cell(tmp_path / cell, header, [samples.scenario("NST-3"), samples.scenario("NST-4")])
        assert main(["results", "trim", str(kept), str(tmp_path / cell), "--drop-older", "35"]) == 0
        command = [ROOT / "ci" / "history.sh", "kept"]
        subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True, timeout=60)
    (tmp_path / "found").mkdir()
    (tmp_path / "found" / "finds.json").write_text("{}")
    command = [ROOT / "ci" / "history.sh", "found", "finds"]
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True, timeout=60)

    def told(*arguments):
        return subprocess.run(["git", "-C", remote, *arguments], check=True, capture_output=True, text=True).stdout

    assert [line.split()[0] for line in told("log", "--format=%s", "history").splitlines()] == ["Results", "Results"]
    assert told("ls-tree", "-r", "--name-only", "history").split() == [
        "results/mysql-aiomysql.jsonl",
        "results/sqlite-aiosqlite.jsonl",
    ]
    assert told("ls-tree", "-r", "--name-only", "finds").split() == ["finds/finds.json"]
    assert "username=x-access-token\npassword=secret\n" in (tmp_path / "logins").read_text()
    assert "push" in (tmp_path / "arguments").read_text()
    assert "secret" not in (tmp_path / "arguments").read_text()

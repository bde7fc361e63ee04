"""The workflows: every action by its hash, no more rights than needed, and only commands that exist."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from matrix.__main__ import parser
from tests.unit.results import samples

ROOT = Path(__file__).parents[3]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def test_there_are_workflows():
    assert [path.name for path in WORKFLOWS] == ["nightly.yml", "weekly.yml"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_actions_and_images_are_pinned_by_hash(path):
    text = path.read_text(encoding="utf-8")
    uses = re.findall(r"uses: (\S+)(.*)", text)
    assert uses
    assert [what for what, _ in uses if not re.fullmatch(r"[\w/-]+@[0-9a-f]{40}", what)] == []
    assert [what for what, rest in uses if not re.match(r" # v\d+\.\d+\.\d+$", rest)] == []
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
    commands = re.findall(r"python -m matrix ([^\n|>#]+)", path.read_text(encoding="utf-8"))
    assert commands
    for command in commands:
        options = parser().parse_args(shlex.split(command))  # argparse exits where it does not understand
        assert callable(options.handler)


def test_every_command_of_the_scripts_exists():
    for path in (ROOT / "ci").glob("*.sh"):
        for command in re.findall(r"python -m matrix ([^\n|>#]+)", path.read_text(encoding="utf-8")):
            assert callable(parser().parse_args(shlex.split(command)).handler)


def test_the_history_is_appended_to(tmp_path):
    """ci/history.sh against a repository of its own: the first run makes the branch, the next one adds to it."""
    remote, program = tmp_path / "remote.git", tmp_path / "bin"
    subprocess.run(["git", "init", "--quiet", "--bare", remote], check=True)
    program.mkdir()
    # git goes to the local repository in the place of the address that the script makes.
    rule = [f"url.{remote.as_uri()}.insteadOf", "https://x-access-token:secret@example.org/owner/name.git"]
    (program / "git").write_text(f'#!/bin/sh\nexec {shutil.which("git")} -c "$RULE" "$@"\n')
    (program / "python").symlink_to(sys.executable)
    (program / "git").chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{program}{os.pathsep}{os.environ['PATH']}",
        "RULE": "=".join(rule),
        "TOKEN": "secret",
        "REPOSITORY": "owner/name",
        "GITHUB_SERVER_URL": "https://example.org",
    }
    for day, cell in enumerate(("mysql-aiomysql", "sqlite-aiosqlite"), start=20):
        header = samples.header(cell, started=f"2026-11-{day}T18:00:00Z")
        samples.write_cell(tmp_path / cell, header, [samples.scenario("NST-3"), samples.scenario("NST-4")])
        command = [ROOT / "ci" / "history.sh", tmp_path / cell]
        subprocess.run(command, env=environment, check=True, capture_output=True, timeout=60)
    told = ["git", "-C", remote, "log", "--format=%s", "history"]
    assert len(subprocess.run(told, check=True, capture_output=True, text=True).stdout.splitlines()) == 2
    files = ["git", "-C", remote, "ls-tree", "-r", "--name-only", "history"]
    assert subprocess.run(files, check=True, capture_output=True, text=True).stdout.split() == [
        "results/mysql-aiomysql.jsonl",
        "results/sqlite-aiosqlite.jsonl",
    ]

"""The workflows: every action by its hash, no more rights than needed, and only commands that exist."""

import re
import shlex
from pathlib import Path

import pytest

from matrix.__main__ import parser

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

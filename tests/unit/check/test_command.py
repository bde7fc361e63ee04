"""``python -m matrix check`` before the cell's environment: what it passes on, and how it says to do it again."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from matrix.runs import check
from matrix.runs.inputs import ROOT


@pytest.fixture(autouse=True)
def plain(monkeypatch):
    """Nobody else's variables; `python` is the one that runs this."""
    for name in ("PYTHONPATH", check.FROM):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))


def test_who_stands_in_the_suites_folder_needs_no_more_than_the_command(monkeypatch):
    monkeypatch.chdir(ROOT)
    assert check.again() == "python -m matrix"


def test_who_stands_elsewhere_is_led_there_with_what_is_imported_and_by_the_same_python(monkeypatch, tmp_path):
    project = tmp_path / "a project"
    project.mkdir()
    monkeypatch.chdir(project)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([".", "", "/lib/of mine", str(project), f"{ROOT}/docs/.."]))
    assert check.import_path() == f"{project}{os.pathsep}/lib/of mine"
    assert check.again() == f"cd {ROOT} && PYTHONPATH='{project}:/lib/of mine' python -m matrix"
    monkeypatch.setenv("PATH", "/nowhere")
    assert check.again().endswith(f"' {sys.executable} -m matrix")


def test_a_test_suite_says_where_its_caller_stands(monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv(check.FROM, str(tmp_path))
    assert check.again() == f"cd {ROOT} && python -m matrix"

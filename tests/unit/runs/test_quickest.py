"""Which Python CI takes of a machine that has several."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


def pythons(folder: Path, said: dict[str, str]) -> str:
    """A PATH on which a python3 of each name prints this, or fails where it is to print nothing."""
    for name, line in said.items():
        (folder / name).mkdir()
        script = folder / name / "python3"
        script.write_text(f"#!/bin/sh\n{f'echo {line}' if line else 'exit 1'}\n", "utf-8")
        script.chmod(0o755)
    return os.pathsep.join([*(str(folder / name) for name in said), str(folder / "nothing")])


def ask(path: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "ci/quickest.py"]
    return subprocess.run(command, cwd=ROOT, env={**os.environ, "PATH": path}, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("said", "chosen"),
    [
        ({"one": "0.02 /one"}, "/one"),
        ({"one": "0.02 /one", "two": "0.01 /a folder/two", "three": "0.015 /three"}, "/a folder/two"),
        ({"one": "0.02 /one", "two": "0.019 /two"}, "/one"),  # not clearly quicker
        ({"old": "", "one": "0.02 /one"}, "/one"),
        ({"odd": "no number", "silent": "-n", "one": "0.02 /one"}, "/one"),
        ({"chatty": "hello; echo 0.02 /chatty"}, "/chatty"),
    ],
)
def test_the_quickest_is_taken_and_the_first_of_those_that_are_alike(tmp_path, said, chosen):
    done = ask(pythons(tmp_path, said))
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{chosen}\n", "")


def test_a_file_that_cannot_be_run_is_passed_over(tmp_path):
    path = pythons(tmp_path, {"one": "0.02 /one", "two": "0.01 /two"})
    (tmp_path / "two" / "python3").chmod(0o644)
    assert ask(path).stdout == "/one\n"


@pytest.mark.parametrize("said", [{}, {"old": ""}])
def test_where_there_is_none_it_says_what_to_do(tmp_path, said):
    done = ask(pythons(tmp_path, said))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("no python3 of the PATH is 3.11 or newer")
    assert len(done.stderr.splitlines()) == 1


def test_the_one_that_runs_this_is_new_enough(tmp_path):
    (tmp_path / "python3").symlink_to(sys.executable)
    assert ask(str(tmp_path)).stdout == f"{tmp_path / 'python3'}\n"

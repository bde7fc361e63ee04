"""The tests of mutants in forks, over a small program with mutants made by hand, and what stands in for mutmut."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
MUTMUT = {
    "mutmut/__init__.py": "",
    "mutmut/state.py": "class State: _stats = set()\ndef state(): return State\n",
    "mutmut/mutation/__init__.py": "",
    "mutmut/mutation/trampoline.py": """
import os
def set_mutant_under_test(name):
    os.environ["MUTANT_UNDER_TEST"] = name
""",
}
SUMS = """
import os, time
from mutmut.state import state

def with_mutants(*mutants):
    def decorated(function):
        name = f"sums.x_{function.__name__}"
        def called(*given):
            active = os.environ.get("MUTANT_UNDER_TEST", "")
            if active == "stats":
                state()._stats.add(name)
            if active.startswith(f"{name}__mutmut_"):
                return mutants[int(active[-1])](*given)
            return function(*given)
        return called
    return decorated

def endless():
    while True:
        pass

@with_mutants(lambda a, b: a - b, lambda a, b: b + a, lambda a, b: endless(), lambda a, b: time.sleep(600),
              lambda a, b: os.kill(0, 9))
def both(a, b): return a + b

@with_mutants(lambda: 4)
def nobody(): return 3

@with_mutants(lambda: 4, lambda: 3)
def shared(): return 3

@with_mutants(lambda: 4)
def forked(): return 3
"""
TESTS = """
import os
import pytest, sums

@pytest.fixture(scope="module")
def made(tmp_path_factory):
    (tmp_path_factory.mktemp("x") / "y").touch()
    __import__("time").sleep(1.2)  # longer than who finds it made may take
    return sums.shared()

def test_both():
    assert sums.both(1, 2) == 3

def test_both_slowly():
    __import__("time").sleep(0.1)
    assert sums.both(2, 2) == 4

def test_made(made):
    pass

def test_made_again(made):
    __import__("time").sleep(0.05)
    assert made == 3

def test_in_a_fork():
    if (child := os.fork()) == 0:
        os._exit(sums.forked())
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3
"""


@pytest.fixture
def run(tmp_path):
    """``run(tests, *mutants)`` -> what is known of them, or None where they could not be tried."""
    for name, content in {**MUTMUT, "sums.py": SUMS}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    told = {"slots": 2, "reached": str(tmp_path / "reached"), "record": str(tmp_path / "record"), "spare": [0.3, 0.6]}

    def started(tests, *mutants):
        (tmp_path / "test_sums.py").write_text(tests)
        (tmp_path / "told").write_text(json.dumps({**told, "mutants": [{"name": name} for name in mutants]}))
        command = [sys.executable, "-m", "pytest", "-q", "-s", "-p", "tests.unit.mutation.forks", "--rootdir", tmp_path]
        places = {
            "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}",
            "TMPDIR": str(tmp_path),
            "MUTATION": str(tmp_path / "told"),
        }
        ended = subprocess.run(command, cwd=tmp_path, env={**os.environ, **places}, start_new_session=True)
        if ended.returncode:
            return None
        lines = map(json.loads, (tmp_path / "record").read_text().splitlines())
        return {line["name"].removeprefix("sums.x_"): line for line in lines}

    return started


def test_each_mutant_is_tried_by_the_tests_that_reach_it_the_quickest_first_until_one_fails(run, tmp_path):
    names = [*(f"both__mutmut_{n}" for n in range(5)), "nobody__mutmut_0", "shared__mutmut_0", "shared__mutmut_1"]
    found = run(TESTS, *(f"sums.x_{name}" for name in (*names, "forked__mutmut_0")))
    assert {name: (each["state"], each["tests"]) for name, each in found.items()} == {
        "both__mutmut_0": ("killed", 1),
        "both__mutmut_1": ("survived", 2),
        "both__mutmut_2": ("timeout", 1),
        "both__mutmut_3": ("timeout", 1),
        "both__mutmut_4": ("killed", 1),
        "nobody__mutmut_0": ("no tests", 0),
        "shared__mutmut_0": ("killed", 1),
        "shared__mutmut_1": ("survived", 2),
        "forked__mutmut_0": ("killed", 1),
    }
    assert found["both__mutmut_0"]["last"] == "test_sums.py::test_both"
    assert {path.name for path in tmp_path.iterdir() if path.name.startswith("mutant-")} == set()


def test_where_a_test_fails_without_a_mutant_none_is_tried(run, tmp_path):
    assert run(TESTS.replace("== 4", "== 5"), "sums.x_both__mutmut_0") is None
    assert run(TESTS + "oops", "sums.x_both__mutmut_0") is None
    assert not (tmp_path / "record").exists()

"""Runs the program as people do."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit import forked

ROOT = Path(__file__).parents[3]


@pytest.fixture
def variables(tmp_path, tmp_path_factory):
    """The state is a folder of the test's own, but for what only costs time to make again: environments, which lock
    themselves, and bytecode are those of all tests of this run."""
    ours = tmp_path_factory.getbasetemp()
    of_all = ours.parent if "PYTEST_XDIST_WORKER" in os.environ else ours
    (tmp_path / "state").mkdir()
    for kept in ("environments", "bytecode"):
        (of_all / kept).mkdir(exist_ok=True)
        (tmp_path / "state" / kept).symlink_to(of_all / kept)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"  # uv stands beside Python
    return {**os.environ, "PATH": path, "MATRIX_STATE": str(tmp_path / "state")}


@pytest.fixture
def start(variables):
    """``start("plan", "--json")`` -> the process, started anew as people do."""

    def start(*arguments, environment=None):
        command = [sys.executable, "-m", "matrix", *map(str, arguments)]
        pipe, own = subprocess.PIPE, variables | (environment or {})
        return subprocess.Popen(command, cwd=ROOT, env=own, stdout=pipe, stderr=pipe, text=True)

    return start


@pytest.fixture
def run(start, variables):
    """``run("plan", "--json")`` -> the completed process: where variables change what is imported, started anew."""

    def run(*arguments, environment=None):
        if "MATRIX_DRIVERS" not in (environment or {}):
            return forked.command(*map(str, arguments), env=variables | (environment or {}))
        with start(*arguments, environment=environment) as process:
            output, errors = process.communicate(timeout=600)
        return subprocess.CompletedProcess(arguments, process.returncode, output, errors)

    return run

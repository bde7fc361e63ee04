"""Runs the program as people do."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.fixture
def start(tmp_path):
    """``start("plan", "--json")`` -> the process; its state is a folder of the test's own."""

    def start(*arguments, environment=None):
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"  # uv stands beside Python
        own = {**os.environ, "PATH": path, "MATRIX_STATE": str(tmp_path / "state"), **(environment or {})}
        command = [sys.executable, "-m", "matrix", *map(str, arguments)]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, cwd=ROOT, env=own, stdout=pipe, stderr=pipe, text=True)

    return start


@pytest.fixture
def run(start):
    """``run("plan", "--json")`` -> the completed process."""

    def run(*arguments, environment=None):
        with start(*arguments, environment=environment) as process:
            output, errors = process.communicate(timeout=600)
        return subprocess.CompletedProcess(arguments, process.returncode, output, errors)

    return run

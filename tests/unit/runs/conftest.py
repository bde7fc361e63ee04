"""Runs the program as people do."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.fixture
def run(tmp_path):
    """``run("plan", "--json")`` -> the completed process; its state is a folder of the test's own."""

    def run(*arguments, **variables):
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"  # uv stands beside Python
        environment = {**os.environ, "PATH": path, "MATRIX_STATE": str(tmp_path / "state"), **variables}
        command = [sys.executable, "-m", "matrix", *map(str, arguments)]
        return subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=600
        )

    return run

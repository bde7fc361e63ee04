"""``python -m matrix`` as a whole: its commands, and what is left of it where only Python is installed."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from matrix.__main__ import PARTS, parser

ROOT = Path(__file__).parents[2]


def bare(*arguments):
    """The program without any installed package: -S leaves site-packages out."""
    command = [sys.executable, "-S", "-m", "matrix", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)


def test_every_command_is_told_where_it_comes_from():
    (commands,) = (action for action in parser()._actions if action.dest == "command")
    assert list(commands.choices) == [name for names in PARTS.values() for name in names]


def test_the_servers_need_only_python():
    done = bare("servers", "list")
    assert done.returncode == 0, done.stderr
    assert "postgres" in done.stdout


def test_a_command_that_needs_more_says_all_of_it_in_two_lines():
    done = bare("plan")
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "plan needs uv and some packages; packaging is not here",
        "Install them: python -m pip install -r ci/requirements.txt",
    ]


def test_who_reads_no_further_is_no_error():
    reads, writes = os.pipe()
    os.close(reads)
    command = [sys.executable, "-m", "matrix", "scenarios"]
    done = subprocess.run(command, cwd=ROOT, stdout=writes, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writes)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, "")

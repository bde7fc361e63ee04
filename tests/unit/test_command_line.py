"""``python -m matrix`` as a whole: its commands, and what is left of it where only Python is installed."""

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


def test_a_command_that_needs_more_says_so_in_one_line():
    done = bare("plan")
    assert done.returncode == 2
    assert done.stderr == "plan needs the package packaging: pip install -r ci/requirements.txt\n"

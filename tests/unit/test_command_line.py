"""``python -m matrix`` as a whole: its commands, and what is left of it where only Python is installed."""

import argparse
import errno
import importlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import matrix.__main__
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


def command(handler):
    """A command line with one command, ``headline``, that does this."""

    def made(lacking=None):
        parser = argparse.ArgumentParser()
        parser.add_subparsers(dest="command").add_parser("headline").set_defaults(handler=handler)
        return parser

    return made


def test_a_package_that_is_missed_late_is_said_in_two_lines_too(monkeypatch, capsys):
    monkeypatch.setattr(matrix.__main__, "parser", command(lambda _: importlib.import_module("no_such_package.part")))
    assert matrix.__main__.main(["headline"]) == 2
    assert capsys.readouterr().err.splitlines()[0] == "headline needs uv and some packages; no_such_package is not here"


def test_a_module_of_ours_that_is_missed_is_a_defect(monkeypatch):
    monkeypatch.setattr(matrix.__main__, "parser", command(lambda _: importlib.import_module("matrix.no_such_part")))
    with pytest.raises(ModuleNotFoundError):
        matrix.__main__.main(["headline"])


@pytest.mark.parametrize("moment", ["while the parts are imported", "while the command runs"])
def test_ctrl_c_is_one_word(monkeypatch, capsys, moment):
    def interrupted(_=None):
        raise KeyboardInterrupt

    monkeypatch.setattr(matrix.__main__, "parser", interrupted if "parts" in moment else command(interrupted))
    assert matrix.__main__.main(["headline"]) == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_a_command_that_has_said_how_it_ended_says_it_once(monkeypatch, capsys):
    monkeypatch.setattr(matrix.__main__, "parser", command(lambda _: 130))
    assert matrix.__main__.main(["headline"]) == 130
    assert capsys.readouterr().err == ""


def test_too_few_open_files_are_said_with_the_way_out(monkeypatch, capsys):
    def run_out(_):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(matrix.__main__, "parser", command(run_out))
    assert matrix.__main__.main(["headline"]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("headline needs more files open at a time than the ")
    assert second == "Allow more, and try again: ulimit -n 1024"

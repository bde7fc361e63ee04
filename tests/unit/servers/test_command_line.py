"""``python -m matrix servers``: what is printed, where, and the exit status."""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from matrix.servers import cli

PROJECT = Path(__file__).parents[3]
PROGRAM = """
import argparse, sys
from matrix.servers import cli
parser = argparse.ArgumentParser()
cli.register(parser.add_subparsers(required=True))
options = parser.parse_args()
sys.exit(options.handler(options))
"""


def run(*words: str) -> int:
    parser = argparse.ArgumentParser()
    cli.register(parser.add_subparsers(required=True))
    options = parser.parse_args(["servers", *words])
    return int(options.handler(options))


@pytest.mark.parametrize(
    "words",
    [
        ["start", "nosql"],
        ["start", "sqlite"],
        ["start", "mssql"],
        ["fetch", "postgres-99"],
        ["fetch", "sqlite"],
        ["start", "python-3.14"],
    ],
)
def test_bad_input_is_one_line_and_status_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*words) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("error: ")
    assert len(shown.err.splitlines()) == 1


def test_list_shows_every_kind_and_no_password(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MATRIX_MSSQL_URL", "mssql://me:hunter2@db.test:1433/")
    assert run("list") == 0
    shown = capsys.readouterr().out
    for words in (
        "sqlite",
        "postgres-18",
        "mariadb-10.11",
        "mysql-9.7",
        "given: MATRIX_MSSQL_URL (db.test:1433)",
        "odbc",
        "python-3.15",
    ):
        assert words in shown
    assert "hunter2" not in shown


def test_stop_all_without_servers_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("stop-all") == 0
    assert capsys.readouterr().out == "no private server was running\n"


def started(spec: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "servers", "start", spec],
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    assert process.stdout.readline().startswith("postgres://tester:")
    assert process.stdout.readline().startswith("PGPASSWORD=")
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_start_ends_cleanly_when_told_to(host_postgres: str, number: signal.Signals) -> None:
    process = started(host_postgres)
    process.send_signal(number)
    _, said = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "Traceback" not in said


def test_start_says_when_the_server_dies(host_postgres: str, capsys: pytest.CaptureFixture[str]) -> None:
    process = started(host_postgres)
    assert run("stop-all") == 0
    assert f"stopped {host_postgres} on port" in capsys.readouterr().out
    _, said = process.communicate(timeout=20)
    assert process.returncode == 1
    assert f"{host_postgres} ended by itself" in said
    assert "Traceback" not in said

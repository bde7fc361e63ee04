"""The watchman of a run that was killed: what it was told of is ended, and nothing else."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from matrix import maker
from matrix.runs import children
from tests.unit.mutation.reach import in_another_process

ROOT = Path(__file__).resolve().parents[3]

STUBBORN = "import signal, sys; signal.signal(signal.SIGINT, signal.SIG_IGN); print(flush=True); signal.pause()"
# It takes a while to clean up: whoever asks meanwhile whether it is there must not disturb it.
POLITE = """
import signal, sys, time
def end(*_):
    time.sleep(0.3)
    sys.exit(7)
signal.signal(signal.SIGINT, end)
print(flush=True)
signal.pause()
"""
# It goes when it is told to; what it has started does not.
PARENT = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]], stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
child.wait()
"""
KILLED = """
import os, signal, subprocess, sys
from matrix.runs.children import Children
children = Children()
with children.folder() as folder, children.folder() as gone:
    child = subprocess.Popen([sys.executable, "-c", sys.argv[1]], start_new_session=True)
    with children.one(child):
        over = subprocess.Popen(["true"], start_new_session=True)
        with children.one(over):
            over.wait()
        print(child.pid, folder, flush=True)
        os.killpg(0, signal.SIGKILL)  # as the end of a terminal's or a job's group
"""


@pytest.fixture
def begin():
    """``begin(script)`` -> a process in a session of its own that has come to its ``pause``."""
    made = []

    def start(script):
        made.append(subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, start_new_session=True))
        made[-1].stdout.readline()
        return made[-1]

    yield start
    for each in made:
        each.kill()
        each.wait()
        each.stdout.close()


def test_what_is_left_of_a_killed_run_is_told_to_end_then_killed_and_its_folder_goes(begin, tmp_path, monkeypatch):
    monkeypatch.setattr(children, "GRACE", 1.0)
    polite, stubborn, through = begin(POLITE), begin(STUBBORN), begin(STUBBORN)
    folders = tmp_path / "left X", tmp_path / "left ", tmp_path / "gone"
    for each in folders:
        each.mkdir()
    said = [f"+{polite.pid}", f"+{stubborn.pid}", f"+{through.pid}", f"-{through.pid}"]
    said += [*(f">{each}" for each in folders), f"<{folders[2]}"]
    began = time.monotonic()
    children.watch(io.StringIO("\n".join(said) + "\n"))
    assert time.monotonic() - began < 30
    assert polite.wait(30) == 7
    assert stubborn.wait(30) == -signal.SIGKILL
    assert through.poll() is None
    assert [each.exists() for each in folders] == [False, False, True]


def test_who_listens_is_waited_for_no_longer_than_he_takes(begin, monkeypatch):
    monkeypatch.setattr(children, "GRACE", 120.0)
    polite = begin(POLITE)
    threading.Thread(target=polite.wait, daemon=True).start()  # who has ended is there until somebody has asked how
    began = time.monotonic()
    children.watch(io.StringIO(f"+{polite.pid}\n"))
    assert time.monotonic() - began < 60


@pytest.mark.parametrize("script", ["import time; print(flush=True); time.sleep(60)", STUBBORN])
def test_what_a_process_of_a_killed_run_has_started_is_ended_too(monkeypatch, script):
    monkeypatch.setattr(children, "GRACE", 1.0)
    command = [sys.executable, "-c", PARENT, script]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as parent:
        child = int(parent.stdout.readline())
        began = maker.start_time(child)
        children.watch(io.StringIO(f"+{parent.pid}\n"))
    until = time.monotonic() + 30
    while maker.start_time(child) == began and time.monotonic() < until:
        time.sleep(0.01)
    assert maker.start_time(child) != began


def test_what_a_killed_run_started_is_ended_by_its_watchman(tmp_path):
    in_another_process(children)
    run = subprocess.run(
        [sys.executable, "-c", KILLED, "import time; time.sleep(60)"], cwd=ROOT, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)}, start_new_session=True,
    )  # fmt: skip
    assert run.returncode == -signal.SIGKILL
    child, folder = run.stdout.split()
    until = time.monotonic() + 30
    while (maker.start_time(int(child)) or list(tmp_path.iterdir())) and time.monotonic() < until:
        time.sleep(0.01)
    assert not maker.start_time(int(child))
    assert folder.startswith(str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_a_watchman_keeps_nothing_of_the_run_open(capfd):
    """Who reads what the run says hears its end, and its folder can be unmounted."""
    run = children.Children()
    with run.folder():
        watchman = run._watchman
        places = [str(Path(f"/proc/{watchman.pid}/{name}").readlink()) for name in ("fd/1", "cwd")]
        assert places == [os.devnull, "/"]
        assert os.getsid(watchman.pid) == watchman.pid
    watchman.stdin.close()
    assert watchman.wait(30) == 0


def test_a_run_that_ends_tells_its_children_and_kills_who_does_not_listen(begin, monkeypatch):
    monkeypatch.setattr(children, "GRACE", 1.0)
    polite, stubborn, over = begin(POLITE), begin(STUBBORN), begin("pass")
    over.wait()
    run = children.Children()
    began = time.monotonic()
    with run.one(polite), run.one(stubborn), run.one(over):
        run.end()
    assert time.monotonic() - began < 30
    assert polite.wait(30) == 7
    assert stubborn.wait(30) == -signal.SIGKILL

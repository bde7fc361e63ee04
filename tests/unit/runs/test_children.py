"""The watchman of a run that was killed: what it was told of is ended, and nothing else."""

from __future__ import annotations

import io
import signal
import subprocess
import sys
import time

import pytest

from matrix.runs import children

STUBBORN = "import signal, sys; signal.signal(signal.SIGINT, signal.SIG_IGN); print(flush=True); signal.pause()"
POLITE = "import signal, sys; signal.signal(signal.SIGINT, lambda *_: sys.exit(7)); print(flush=True); signal.pause()"


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
    folders = tmp_path / "left", tmp_path / "gone"
    for each in folders:
        each.mkdir()
    said = [f"+{polite.pid}", f"+{stubborn.pid}", f"+{through.pid}", f"-{through.pid}"]
    said += [f">{folders[0]}", f">{folders[1]}", f"<{folders[1]}"]
    began = time.monotonic()
    children.watch(io.StringIO("\n".join(said) + "\n"))
    assert time.monotonic() - began < 5
    assert polite.wait(5) == 7
    assert stubborn.wait(5) == -signal.SIGKILL
    assert through.poll() is None
    assert [each.exists() for each in folders] == [False, True]

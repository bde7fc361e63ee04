"""What a program forks ends with it, also where it is killed and can do nothing any more."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# Each prints a line when its children run, and they would run for ever. They hold its output open: it ends with them.
FORK = """
import os, signal
from matrix.parent import end_with
parent = os.getpid()
if os.fork() == 0:
    end_with(parent)
    os.write(1, b"runs\\n")
signal.pause()
"""
TOO_LATE = """
import os, select, signal
from matrix.parent import end_with
parent, dead = os.getpid(), os.pidfd_open(os.getpid())
if os.fork() == 0:
    os.write(1, b"runs\\n")
    select.select([dead], [], [])
    end_with(parent)
signal.pause()
"""
REPORT = """
import os, signal
from matrix.report import workers
def call(number):
    os.write(1, b"runs\\n")
    signal.pause()
workers.each(2, [(call, (number,)) for number in range(2)])
"""
FETCH = """
import os, sys, threading
from matrix.servers import tools
kept = os.dup(1)
os.set_inheritable(kept, True)
child = f"import os, signal; os.write({kept}, b'runs\\\\n'); signal.pause()"
real = tools.subprocess.run
tools.subprocess.run = lambda *words, **options: real(*words, **options, close_fds=False)
fetch = threading.Thread(target=tools.run, args=([sys.executable, "-c", child],), kwargs={"doing": "to wait"})
fetch.start()
fetch.join()  # some Pythons 3.12 start no process for a thread once the main one has ended
"""


@pytest.mark.parametrize("program", [FORK, TOO_LATE, REPORT, FETCH])
def test_children_of_a_killed_program_end(program):
    with subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, bufsize=0) as process:
        assert os.read(process.stdout.fileno(), 5) == b"runs\n"
        process.kill()
        process.wait()
        while select.select([process.stdout], [], [], 20)[0]:
            if not os.read(process.stdout.fileno(), 5):
                return
    pytest.fail("its children run on")

"""The gate's own file descriptors: under any limit of open files apart from the drivers', or nothing is judged."""

import subprocess
import sys

import pytest

LIMITED = """
import resource, socket, sys
limit = int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_NOFILE, (limit, int(sys.argv[2])))
from matrix.harness import sockets
from matrix.harness.cell import Cell, CellError
try:
    first = sockets.first_aside()
    made = sockets.aside(socket.socket())
    print(first, made.fileno() >= first, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    taken = []
    while True:
        taken.append(sockets.aside(socket.socket()))
except OSError:
    print("none is left, and that is said")
except sockets.NoFence as error:
    print(error)
    cell = Cell("sqlite-aiosqlite")
    try:
        cell.open()
    except CellError as refused:
        print("refused:", refused)
"""


@pytest.mark.parametrize(
    ("limit", "hard", "said"),
    [
        (256, 4096, "512 True 1024"),
        (256, 256, "128 True 256"),
        (600, 600, "300 True 600"),
        (128, 128, "refused: a process may open 128 files here"),
    ],
)
def test_the_gate_s_numbers_fit_into_the_limit_of_open_files_or_it_refuses(limit, hard, said):
    ran = subprocess.run([sys.executable, "-c", LIMITED, str(limit), str(hard)], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert said in ran.stdout
    assert ("ulimit -n" in ran.stdout) == (limit == 128)
    assert ("none is left" in ran.stdout) == (limit != 128)

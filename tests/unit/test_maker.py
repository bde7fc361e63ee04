"""What a killed process left is taken away by a later one; what somebody else made, or a living one, never."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Container
from pathlib import Path
from typing import Any

import pytest

from matrix import maker
from matrix.harness.cell import NAME, Cell
from matrix.harness.witness import Address
from matrix.report import files

ROOT = Path(__file__).resolve().parents[2]


def marked_elsewhere(seconds: float) -> str:
    """The mark of a process on another machine, so long ago."""
    _, _, pid, started, when = maker.mark().split("_")
    return f"matrix_{'0' * 12}_{pid}_{started}_{int(when) - int(seconds)}"


def marked_by_a_dead_one() -> str:
    made = subprocess.run(
        [sys.executable, "-c", "from matrix import maker; print(maker.mark())"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return made.stdout.strip()


def with_another_start(mark: str) -> str:
    """The mark of a process that is over and whose id is in use again."""
    parts = mark.split("_")
    return "_".join([*parts[:3], str(int(parts[3]) + 1), parts[4]])


MARKS = [
    ("dead", marked_by_a_dead_one, True),
    ("its id is in use again", lambda: with_another_start(maker.mark()), True),
    ("alive", maker.mark, False),
    ("on another machine, young", lambda: marked_elsewhere(maker.DAY / 2), False),
    ("on another machine, old", lambda: marked_elsewhere(maker.DAY + 60), True),
    ("somebody's comment", lambda: "matrix of the sales department", False),
]
EACH = pytest.mark.parametrize(("mark", "left"), [each[1:] for each in MARKS], ids=[each[0] for each in MARKS])


class Keeper:
    """A server's databases."""

    address = Address("postgres")

    def __init__(self, names: list[str], used: Container[str] = ()) -> None:
        self.names, self.used = names, used

    def databases(self) -> list[str]:
        return list(self.names)

    def in_use(self, name: str) -> bool:
        return name in self.used

    def execute(self, statement: str) -> None:
        verb, _, name = statement.partition(" DATABASE IF EXISTS ")
        assert verb == "DROP"
        self.names.remove(name)

    def terminate_backends(self) -> None: ...

    def close(self) -> None: ...


@EACH
def test_a_cell_drops_what_a_killed_one_left_in_a_given_server(mark: Any, left: bool) -> None:
    said = mark()
    ours, foreign = [f"{said}_0a0b0c", f"repro_{said}_1"], ["matrix_sales", said, f"{said}_0a0b0c_copy", f"my_{said}_1"]
    keeper = Keeper([*ours, *foreign])
    cell: Any = Cell.__new__(Cell)
    cell.progress, cell._witness = lambda _: None, lambda _: keeper
    cell._sweep(keeper, keeper.address)
    assert keeper.names == (foreign if left else [*ours, *foreign])


def test_a_run_of_another_machine_that_takes_longer_than_a_day_keeps_its_database() -> None:
    """Whose session is in one of this machine's is what the killed process had under way."""
    alive, over = (f"{marked_elsewhere(maker.DAY * 2)}_{number}" for number in "ab")
    mine = f"{marked_by_a_dead_one()}_c"
    keeper = Keeper([alive, over, mine], used={alive, mine})
    cell: Any = Cell.__new__(Cell)
    cell.progress, cell._witness = lambda _: None, lambda _: keeper
    cell._sweep(keeper, keeper.address)
    assert keeper.names == [alive]


def test_a_mark_fits_into_the_name_of_a_database() -> None:
    assert NAME.fullmatch(f"{maker.mark()}_0a0b0c")
    longest = f"repro_matrix_{'0' * 12}_{2**22}_{10**10}_{10**10}_fff"
    assert NAME.fullmatch(longest)
    assert len(longest) <= 63  # PostgreSQL's limit; MySQL's is 64


@EACH
def test_a_new_folder_takes_the_place_of_those_that_were_left(mark: Any, left: bool, tmp_path: Path) -> None:
    other, foreign = tmp_path / f"of[a]-{mark()}-x", tmp_path / f"else-{mark()}-x"
    for each in (other, foreign):
        each.mkdir()
        (each / "file").touch()
    made = Path(maker.folder("of[a]-", tmp_path))
    assert made.is_dir()
    assert other.exists() is not left
    assert foreign.exists()


KILLED = """
import os, signal, sys
from pathlib import Path
from matrix.report import files
with files.replaced_folder(Path(sys.argv[1])):
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_report_leaves_nothing_behind_for_long(tmp_path: Path) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "site")], cwd=ROOT, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert len(list(tmp_path.iterdir())) == 1  # nobody could remove it
    with files.replaced_folder(tmp_path / "site"):
        pass
    assert [each.name for each in tmp_path.iterdir()] == ["site"]


TOLD = """
import os, shutil, signal, sys
from pathlib import Path
from matrix import maker
from matrix.report import files
signal.signal(signal.SIGINT, signal.default_int_handler)  # tests may run under nohup, or behind a script's &
signal.signal(signal.SIGHUP, signal.SIG_DFL)
maker.clean_up_when_told_to_end()
def remove(*arguments, remove=shutil.rmtree, **options):
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):  # these do not end the cleaning
        os.kill(os.getpid(), number)
    remove(*arguments, **options)
shutil.rmtree = remove
with files.replaced_folder(Path(sys.argv[1])):
    os.kill(os.getpid(), int(sys.argv[2]))
    signal.pause()
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_what_is_told_to_end_cleans_up(number: signal.Signals, tmp_path: Path) -> None:
    command = [sys.executable, "-c", TOLD, str(tmp_path / "site"), str(int(number))]
    told = subprocess.run(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, check=False, timeout=60)
    assert "KeyboardInterrupt" in told.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT])
def test_what_has_no_effect_under_nohup_or_behind_an_ampersand_still_has_none(number: signal.Signals) -> None:
    program = (
        "import os, signal, sys; from matrix import maker; number = int(sys.argv[1]);"
        "signal.signal(number, signal.SIG_IGN); maker.clean_up_when_told_to_end(); os.kill(os.getpid(), number)"
    )
    assert subprocess.run([sys.executable, "-c", program, str(int(number))], cwd=ROOT, check=False).returncode == 0


@pytest.mark.skipif(sys.platform != "linux", reason="where a process has been told to the system in /proc")
def test_who_is_over_and_whose_parent_has_not_asked_how_made_nothing_that_is_still_in_use() -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", "from matrix import maker; print(maker.mark())"], stdout=subprocess.PIPE
    )
    assert child.stdout is not None
    mark = child.stdout.read().decode().strip()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # it has ended and stays a zombie
    assert maker.is_left(mark)
    child.wait()

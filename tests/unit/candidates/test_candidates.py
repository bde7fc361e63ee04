"""The candidates on a real SQLite, each in a process of its own: they replace Tortoise's classes for good."""

import pytest

from matrix import candidates
from matrix.runs import cells
from tests.unit import forked


def run(candidate, program):
    done = forked.run("tests.unit.candidates.programs", candidate, program, imports=("aiosqlite",), timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


OVER = "TransactionManagementError: Transaction already finalised"
INNER = "TransactionManagementError: Another block is open inside this one on the same connection"
OPEN = "TransactionManagementError: A block inside this one was still open; everything has been rolled back"


@pytest.mark.parametrize(
    ("candidate", "program", "says"),
    [
        # What the task of the outer block writes is not undone with the nested block: it waits, or is refused.
        ("one_lock", "beside", "('ok', ['inside', 'outside'])"),
        ("refuse", "beside", f"('{INNER}', ['inside'])"),
        ("one_lock", "late", f"(['{OVER}', '{OVER}'], [])"),
        ("refuse", "late", f"(['{OVER}', '{OVER}'], [])"),
        ("one_lock", "begin_cancelled", "('CancelledError', 'ok', ['next'])"),
        ("refuse", "begin_cancelled", "('CancelledError', 'ok', ['next'])"),
        ("one_lock", "elsewhere", "('StopAsyncIteration', ['kept'])"),
        ("refuse", "elsewhere", "('StopAsyncIteration', ['kept'])"),
        ("one_lock", "crossed", "('ok', 'ok', ['inner', 'outer'])"),
        ("refuse", "crossed", f"('{OPEN}', 'ok', [])"),
    ],
)
def test_a_candidate_keeps_what_it_promises(candidate, program, says):
    assert run(candidate, program) == says


@pytest.mark.parametrize("program", ["beside", "late", "begin_cancelled", "elsewhere"])
def test_the_release_does_not(program):
    """Or these programs would show nothing."""
    good = {
        "beside": "('ok', ['inside', 'outside'])",
        "late": f"(['{OVER}', '{OVER}'], [])",
        "begin_cancelled": "('CancelledError', 'ok', ['next'])",
        "elsewhere": "('StopAsyncIteration', ['kept'])",
    }
    assert run("", program) != good[program]


@pytest.mark.parametrize("name", candidates.NAMES)
def test_a_cell_names_its_candidate_and_installs_the_release(name):
    text = f"mysql-aiomysql-tortoise{candidates.FOR}+{name}"
    cell = cells.read(text)
    assert (str(cell), cell.candidate, cell.default) == (text, name, False)
    assert f"tortoise-orm=={candidates.FOR}" in cells.requirements(cell)


@pytest.mark.parametrize("text", ["mysql-aiomysql-tortoise1.1.9+other", "mysql-aiomysql-tortoise1.1.8+refuse"])
def test_what_is_no_candidate_is_told(text):
    with pytest.raises(ValueError, match=r"candidates are tortoise1\.1\.9\+one_lock and tortoise1\.1\.9\+refuse"):
        cells.read(text)

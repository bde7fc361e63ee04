"""The marker in a test suite of its own: a test for each cell, and what the check says when one fails."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.unit import forked

GUARD = Path(__file__).parents[1]
SUITE = """
import asyncio
import pytest
from app import models
from app.models import Note
from tortoise.transactions import in_transaction

orders = pytest.mark.tortoise_orders

async def fill():
    await Note.create(text="first")

async def audit():
    await Note.create(text="audit")

@orders("sqlite-aiosqlite", here=True, setup="fill")
async def test_late():
    async with in_transaction():
        await Note.create(text="note")
        task = asyncio.create_task(audit())
    await task

@orders("sqlite-aiosqlite", "sqlite-asyncpg", here=True, setup="fill", models="app.models", cancel="test_mended")
async def test_mended():
    await Note.create(text="note")

@orders("sqlite-aiosqlite", here=True, orders=0)
async def test_bad_option(): ...

@orders("sqlite-aiosqlite", hear=True)
async def test_unknown_option(): ...

@orders()
async def test_no_cell(): ...

@orders("sqlite-aiosqlite", here=True)
async def test_fixture(tmp_path): ...

@orders("sqlite-aiosqlite", here=True)
def test_no_coroutine(): ...

class TestClass:
    @orders("sqlite-aiosqlite")
    async def test_method(self): ...

@orders("sqlite-aiosqlite", here=True, setup=fill, models=models, invariant="SELECT count(*) = 1 FROM note")
async def test_objects(): ...

@orders("sqlite-aiosqlite", here=True, setup=lambda: None)
async def test_no_name(): ...

@pytest.mark.skip(reason="not today")
@orders("sqlite-aiosqlite")
async def test_skipped(): ...

def test_plain():
    assert True
"""
MODELS = """
from tortoise import fields
from tortoise.models import Model

class Note(Model):
    id = fields.IntField(primary_key=True)
    text = fields.TextField()
"""


def run(folder, *arguments, matrix=GUARD.parent, package="tests"):
    """pytest's exit code and what it printed, in a project of its own, with the variable that names the matrix."""
    for file, text in ((f"{package}/__init__.py", ""), ("app/models.py", MODELS), (f"{package}/test_notes.py", SUITE)):
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text(text)
    (folder / "conftest.py").write_text('pytest_plugins = ["tortoise_guard.orders"]')
    (folder / "pytest.ini").write_text("[pytest]\npythonpath = .\n")
    variables = {**os.environ, "PYTHONPATH": str(GUARD), "TORTOISE_MATRIX": str(matrix)}
    done = forked.pytest(folder, "-p", "no:randomly", "-rs", *arguments, env=variables)
    return done.returncode, done.stdout + done.stderr


def test_a_failing_check_fails_its_test_with_what_it_says(tmp_path):
    code, out = run(tmp_path, "-k", "late or plain")
    assert (code, "1 failed, 1 passed" in out) == (1, True), out
    for part in ("test_late[sqlite-aiosqlite]", "≠ lies", "test_notes.py:", "the order:", "like CTX-1", " --here"):
        assert part in out


def test_the_command_that_it_prints_runs_the_order_again_from_where_the_tests_were_started(tmp_path):
    """Pasted as it is: the models are found by pytest's settings alone, the folder of the tests is no package's."""
    _, out = run(tmp_path / "a project", "-k", "late", package="checks")
    command = out.split("again: ")[1].splitlines()[0]
    variables = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "TORTOISE_MATRIX")}
    again = subprocess.run(command, shell=True, cwd="/", env=variables, capture_output=True, text=True, check=False)
    assert again.returncode == 1, command + again.stderr
    assert "≠ lies: checks.test_notes:test_late" in again.stdout
    assert re.findall("^schedule: .*", again.stdout, re.MULTILINE) == re.findall("^schedule: .*", out, re.MULTILINE)


def test_each_cell_is_a_test(tmp_path):
    code, out = run(tmp_path, "-k", "mended", package="checks")
    assert (code, "1 failed, 1 passed" in out) == (1, True), out
    assert "'sqlite-asyncpg' is no cell" in out
    assert "PytestUnknownMarkWarning" not in out


def test_wrong_use_is_said(tmp_path):
    """Also which Python was asked, where it came to that."""
    by = f"(asked of {sys.executable}; tortoise_orders_python in pytest's settings names another one)"
    all_said = {
        "bad_option[sqlite-aiosqlite]": ["--orders 0: give a number from 1 to 10000", by],
        "unknown_option[sqlite-aiosqlite]": ["tortoise_orders has no hear"],
        "no_cell[]": ["tortoise_orders names no cell"],
        "fixture[sqlite-aiosqlite]": ["takes tmp_path"],
        "no_coroutine[sqlite-aiosqlite]": ["is no coroutine function"],
        "method[sqlite-aiosqlite]": ["is no function of a module"],
        "no_name[sqlite-aiosqlite]": [
            'has no name of its own\nGive a coroutine function of a module, or its name: setup="fill".'
        ],
    }
    code, out = run(tmp_path, "-k", " or ".join(test.partition("[")[0] for test in all_said))
    assert (code, f"{len(all_said)} failed" in out, "Traceback" in out) == (1, True, False), out
    _, *parts = re.split(r"^_+ (?:TestClass\.)?test_(\S+) _+$", out, flags=re.MULTILINE)
    told = dict(zip(parts[::2], parts[1::2], strict=True))
    assert told.keys() == all_said.keys()
    for test, texts in all_said.items():
        for text in texts:
            assert text in told[test], test


def test_a_function_and_a_module_are_named_as_well_as_their_names(tmp_path):
    code, out = run(tmp_path, "-k", "objects")
    assert (code, "1 passed" in out) == (0, True), out


def test_other_marks_count(tmp_path):
    code, out = run(tmp_path, "-m", "tortoise_orders", "-k", "skipped")
    assert (code, "not today" in out) == (0, True), out


def test_a_matrix_that_is_not_there_is_said(tmp_path):
    code, out = run(tmp_path, "-k", "late", matrix=tmp_path)
    named = f"the matrix is not found: TORTOISE_MATRIX names {tmp_path}, which is not its folder"
    assert (code, named in out) == (1, True), out

"""The plugin in a test suite of its own: modes, what is allowed, fixtures, and bad settings."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tests.unit import forked

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "PYTEST_ADDOPTS": ""}
SUITE = """
import asyncio
import pytest
from tortoise import Tortoise, fields
from tortoise.models import Model
from tortoise.transactions import in_transaction

class Note(Model):
    id = fields.IntField(primary_key=True)
    text = fields.TextField()

def run(program):
    async def all_of_it():
        await Tortoise.init(db_url="sqlite://:memory:", modules={"models": [__name__]})
        await Tortoise.generate_schemas()
        try:
            await program()
        finally:
            await Tortoise.close_connections()
    asyncio.run(all_of_it())

async def late():
    async with in_transaction():
        task = asyncio.create_task(audit())
    await task

async def audit():
    await asyncio.sleep(0)
    await Note.create(text="audit")

async def right():
    async with in_transaction():
        await asyncio.gather(Note.create(text="one"), Note.create(text="two"))

def test_wrong():
    run(late)

def test_wrong_again():
    run(late)

def test_right():
    run(right)

def test_fails_by_itself():
    run(late)
    assert "its own" == "error"

@pytest.mark.tortoise_guard_allow("late-query", reason="a trail that may be lost")
def test_allowed():
    run(late)

@pytest.fixture
def wrong_fixture():
    yield
    run(late)

def test_with_fixture(wrong_fixture):
    pass
"""


@pytest.fixture
def suite(tmp_path):
    """Runs the suite with some settings in its own process; gives the exit code and the output."""
    (tmp_path / "test_suite.py").write_text(SUITE, encoding="utf-8")

    def run(ini: str = "", *options: str) -> tuple[int, str]:
        (tmp_path / "pytest.ini").write_text(f"[pytest]\n{ini}", encoding="utf-8")
        done = forked.pytest(tmp_path, "-p", "tortoise_guard.plugin", *options, env={**ENVIRONMENT, "COLUMNS": "200"})
        return done.returncode, done.stdout + done.stderr

    return run


def words(output: str) -> dict[str, int]:
    (summary,) = re.findall(r"^=+ (.+) in [\d.]+s.* =+$", output, re.MULTILINE)
    counted = re.findall(r"(\d+) (passed|failed|errors?|warnings?)", summary)
    return {word.rstrip("s"): int(number) for number, word in counted}


def test_a_finding_fails_its_test_every_time_and_says_what_where_and_what_to_do(suite):
    code, output = suite()
    assert code == 1
    # two by the guard, one by itself; a fixture's finding is its test's error in teardown
    assert words(output) == {"failed": 3, "passed": 3, "error": 1}
    found = output[output.index("test_wrong_again ___") :]
    assert re.search(
        r"late-query: test_suite.py:29 \(task Task-\d+ audit\) queries in the transaction of test_suite.py:23", found
    )
    assert re.search(
        r"Can happen with Tortoise [\d.]+: what is reported to a task .* with aiomysql, .* \(lies\)", found
    )
    assert "measured by CTX-3: A late write meets a stranger's transaction" in found
    assert "instead FIX-2b: Start the task after the block (holds with every driver)" in found
    assert "assert 'its own' == 'error'" in output  # not hidden by the finding,
    assert "Captured tortoise guard call" in output  # which stands beside it


def test_it_warns_reports_or_is_silent_if_that_is_asked_for(suite):
    own = {"failed": 1, "passed": 5}
    assert words(suite("tortoise_guard = warn\n")[1]) == {**own, "warning": 3}
    output = suite("tortoise_guard = report\n")[1]
    assert words(output) == own
    assert output.count("late-query: test_suite.py:29") == 4  # one of them beside the error
    output = suite("", "--tortoise-guard=off")[1]
    assert words(output) == own
    assert "late-query" not in output


def test_what_is_allowed_by_file_passes_and_what_is_not_met_is_said(suite):
    allow = "tortoise_guard_allow =\n  late-query test_*.py: may be lost\n  script nowhere.py: not seen\n"
    output = suite(allow)[1]
    assert words(output) == {"failed": 1, "passed": 5}
    assert "allowed but not seen: script nowhere.py: not seen" in output
    assert "allowed but not seen: late-query" not in output


@pytest.mark.parametrize(
    ("ini", "said"),
    [
        ("tortoise_guard = loud\n", "tortoise_guard = loud: it can be fail, warn, report, off"),
        ("tortoise_guard_allow = late-query app.py\n", "say why after a colon"),
        ("tortoise_guard_allow = late app.py: why\n", "there is no rule 'late'; there are sibling-blocks, "),
    ],
)
def test_bad_settings_are_refused_in_one_line(suite, ini, said):
    code, output = suite(ini)
    assert code == 4
    assert said in output
    assert "Traceback" not in output


@pytest.mark.parametrize(
    ("marker", "said"),
    [
        ('("late", reason="why")', "there is no rule 'late'"),
        ('("late-query")', "say why"),
        ('(reason="why")', "there is no rule None"),
    ],
)
def test_a_bad_marker_is_refused_before_any_test_runs(suite, tmp_path, marker, said):
    text = f"import pytest\n\n@pytest.mark.tortoise_guard_allow{marker}\ndef test_marked():\n    pass\n"
    (tmp_path / "test_marked.py").write_text(text, encoding="utf-8")
    code, output = suite()
    assert code == 4
    assert f"test_marked.py::test_marked: tortoise_guard_allow: {said}" in output
    assert "Traceback" not in output
    assert "def _marked" not in output


def test_what_a_marker_allows_and_was_not_met_is_said(suite, tmp_path):
    text = '@pytest.mark.tortoise_guard_allow("script", "why not")\ndef test_marked():\n    pass\n'
    (tmp_path / "test_marked.py").write_text(f"import pytest\n\n{text}", encoding="utf-8")
    output = suite("tortoise_guard = report\n")[1]
    assert "allowed but not seen: script in test_marked.py::test_marked: why not" in output
    assert output.count("allowed but not seen") == 1


@pytest.mark.parametrize("first", ["plugin", "orders"])
def test_two_lists_in_conftest_are_refused_as_the_second_takes_the_firsts_place(suite, tmp_path, first):
    second = "orders" if first == "plugin" else "plugin"
    lines = [f'pytest_plugins = ["tortoise_guard.{name}"]\n' for name in (first, second)]
    (tmp_path / "conftest.py").write_text("".join(lines), encoding="utf-8")
    done = forked.pytest(tmp_path, env=ENVIRONMENT)
    assert done.returncode == 4
    assert f"so that tortoise_guard.{first} is not loaded" in done.stderr
    assert f"pytest_plugins = ['tortoise_guard.{first}', 'tortoise_guard.{second}']" in done.stderr


def test_links_lead_to_the_pages(suite):
    output = suite("tortoise_guard_pages = https://example.org/matrix/\n", "-k", "test_wrong_again")[1]
    assert "(https://example.org/matrix/scenarios/CTX-3.html)" in output


def test_the_head_of_a_run_says_that_it_is_on(suite):
    assert "\ntortoise-guard: warn\n" in suite("tortoise_guard = warn\n")[1]
    assert "\ntortoise-guard: off\n" in suite("", "--tortoise-guard=off")[1]


def test_the_package_is_not_taken_for_the_plugin(suite):
    code, output = suite("", "-p", "tortoise_guard")
    assert code == 4
    assert "ERROR: tortoise_guard is the package: the plugin is tortoise_guard.plugin" in output

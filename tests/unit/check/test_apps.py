"""The three applications: what is on record is as the matrix says; on SQLite the faults are found again, by the
explorer and by the guard."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import pytest

from matrix.harness.drivers import bases
from tests.apps.__main__ import FOUND, HERE, MENDED, README, faults, fill, options_of, wrong
from tests.unit import forked

ROOT = HERE.parents[1]
CELL = "sqlite-aiosqlite"
RECORD = json.loads(FOUND.read_text("utf-8"))


def test_the_record_has_every_cell_and_function_and_is_as_the_matrix_says():
    functions = [fault["function"] for fault in faults()]
    assert {cell: list(found) for cell, found in RECORD.items()} == dict.fromkeys(bases(orm=True), functions)
    assert list(wrong(RECORD)) == []
    assert README.read_text("utf-8") == fill(RECORD)


@pytest.mark.parametrize(
    ("key", "value"),
    [("complies", True), ("mended_complies", False)],
    ids=["a fault not found", "mended one accused"],
)
def test_a_record_that_is_not_as_the_matrix_says_is_named(key, value):
    changed = {CELL: {**RECORD[CELL], "shop:place_order": {**RECORD[CELL]["shop:place_order"], key: value}}}
    (said,) = wrong(changed)
    assert said.startswith(f"{CELL} shop:place_order")


@pytest.mark.parametrize("fault", faults(), ids=lambda fault: fault["function"])
def test_a_fault_shows_again_and_its_mended_version_complies(fault):
    for function, more in (
        (fault["function"], ("--schedule", RECORD[CELL][fault["function"]]["schedule"])),
        (fault["function"] + MENDED, ("--orders", "4")),
    ):
        done = forked.check(CELL, function, "--folder", str(HERE), "--json", *more, *options_of(fault))
        word = "safe" if function.endswith(MENDED) else RECORD[CELL][function]["verdict"]
        assert json.loads(done.stdout)["verdict"] == word, done.stdout


def test_the_guard_sees_what_needs_no_order_and_accuses_no_mended_version():
    command = [sys.executable, "-m", "pytest", "-q", "-p", "tortoise_guard.plugin", "tests/apps/test_functions.py"]
    variables = {**os.environ, "PYTHONPATH": str(ROOT / "guard")}
    done = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, check=False)
    found = {}
    for test, text in re.findall(
        r"^_+ test_it_runs\[(\S+)-\] _+\n(.*?)(?=^[_=])", done.stdout, re.MULTILINE | re.DOTALL
    ):
        found[test] = set(re.findall(r"^([a-z-]+): tests/apps/", text, re.MULTILINE))
    seen = {fault["function"]: fault["guard"] for fault in faults() if "guard" in fault}
    assert set(found) == set(seen), done.stdout
    assert all(seen[function] in rules for function, rules in found.items()), found
    assert f"{len(seen)} failed, {2 * len(faults()) - len(seen)} passed" in done.stdout

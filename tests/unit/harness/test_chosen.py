"""Which scenarios are named: exact ids and families, in a cell's ``-k`` and ``--only``."""

import os
from pathlib import Path

import pytest

from matrix.harness.scenario import catalogue, chosen
from tests.unit import forked

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ("NST-1", ["NST-1"]),
        ("pool-1", ["POOL-1"]),
        ("NST-10,NST-1", ["NST-1", "NST-10"]),
        ("fix-1a  CON-2, con-1", ["CON-1", "CON-2", "FIX-1a"]),
        ("NST-3 or NST-4", ["NST-3", "NST-4"]),
    ],
)
def test_ids_are_exact_in_any_case_and_come_in_the_catalogues_order(words, names):
    assert chosen(words) == names


def test_a_family_is_all_of_its_scenarios():
    found = chosen("gen,con")
    assert found == [name for name in catalogue() if name.startswith(("CON-", "GEN-"))]
    assert {"CON-1", "GEN-1"} <= set(found)


def test_what_is_unknown_is_told_with_ids_and_titles_of_its_family():
    with pytest.raises(LookupError) as problem:
        chosen("NST-1,nst-99")
    first, *listed = problem.value.args[0].splitlines()
    assert first.startswith("there is no scenario NST-99; there are (or a family: CON, CAN, POOL,")
    assert listed == [f"  {each.id:<8} {each.title}" for each in catalogue().values() if each.id.startswith("NST-")]


@pytest.mark.parametrize("words", ["CN", "1", " , "])
def test_where_no_family_is_meant_all_scenarios_are_listed(words):
    with pytest.raises(LookupError) as problem:
        chosen(words)
    assert len(problem.value.args[0].splitlines()) == len(catalogue()) + 1


def collected(*arguments):
    return forked.pytest(ROOT, "--collect-only", "-q", *arguments, env=os.environ)


@pytest.mark.parametrize("option", ["-k", "--only"])
def test_a_cell_takes_them_exactly(option):
    done = collected("tests/compliance", option, "POOL-1")
    assert [line for line in done.stdout.splitlines() if "::" in line] == [
        "tests/compliance/test_catalogue.py::test_scenario[POOL-1]"
    ]


def test_a_cell_says_what_there_is():
    done = collected("tests/compliance", "-k", "NST-99")
    assert done.returncode == 4
    assert "-k: there is no scenario NST-99" in done.stderr
    assert "  NST-1    Two levels, the inner rolls back\n" in done.stderr


def test_the_unit_tests_keep_pytests_own():
    done = collected("tests/unit/harness/test_chosen.py", "-k", "exact and NST-10")
    assert [line for line in done.stdout.splitlines() if "::" in line] == [
        f"{Path(__file__).relative_to(ROOT)}::test_ids_are_exact_in_any_case_and_come_in_the_catalogues_order"
        "[NST-10,NST-1-names2]"
    ]

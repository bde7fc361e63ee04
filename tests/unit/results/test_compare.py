"""Worse is what complied and does not; cells are matched by name, then by driver and server."""

import pytest

from matrix.results import compare, read
from tests.unit.results.samples import header, remedy, scenario, write_cell


@pytest.mark.parametrize(
    ("level", "old", "new", "kind"),
    [
        ("loud", "safe", "refuses", "changed"),  # both comply: a fix that refuses is not punished
        ("must", "safe", "refuses", "worse"),
        ("must", "refuses", "safe", "better"),
        ("loud", "lies", "refuses", "better"),
        ("must", "breaks", "lies", "changed"),  # neither complies
        ("info", "safe", "lies", "changed"),  # not judged
        ("must", "n/a", "lies", "changed"),
        ("loud", "lies", "error", "worse"),  # cannot be measured any more
        ("must", "safe", "safe", None),
    ],
)
def test_a_word_is_worse_when_it_complied_and_does_not(level, old, new, kind):
    assert compare.direction(scenario(verdict=old, level=level), scenario(verdict=new, level=level)) == kind


def test_a_remedy_is_worse_when_it_does_less():
    assert compare.direction(remedy(word="holds"), remedy(word="partly")) == "worse"
    assert compare.direction(remedy(word="fails"), remedy(word="partly")) == "better"


def cells(folder, *headers):
    for each in headers:
        write_cell(folder, each, [scenario("NST-3"), scenario("NST-4")])
    return {state.cell: state.result for state in read.read_folder(folder)}


def named(base, name):
    return {**header(base), "cell": name}


def test_a_release_and_a_checkout_are_compared(tmp_path):
    before = cells(tmp_path / "a", header("mysql-aiomysql"), header("sqlite-aiosqlite"))
    after = cells(
        tmp_path / "b",
        named("mysql-aiomysql", "mysql-aiomysql-path"),
        header("postgres-asyncpg"),
        header("sqlite-aiosqlite"),
    )
    assert compare.matched(before, after) == {
        "mysql-aiomysql": "mysql-aiomysql-path",
        "sqlite-aiosqlite": "sqlite-aiosqlite",
    }
    found = compare.compare(before, after)
    assert [(each.kind, each.cell, each.scenario) for each in found] == [("new", "postgres-asyncpg", None)]


def test_of_two_cells_with_one_driver_and_server_neither_is_taken_for_the_other(tmp_path):
    before = cells(tmp_path / "a", header("mysql-aiomysql"))
    after = cells(tmp_path / "b", named("mysql-aiomysql", "mysql-a"), named("mysql-aiomysql", "mysql-b"))
    assert compare.matched(before, after) == {}
    assert {each.kind for each in compare.compare(before, after)} == {"gone", "new"}

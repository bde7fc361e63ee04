"""The page of error messages, their record and the search's index: made of evidence."""

import json

import pytest

from matrix.report import errors, patterns, search, view
from matrix.results import expectations
from matrix.results.read import read_folder
from tests.unit.results.samples import evidence, header, scenario, write_cell

BUSY = "readexactly() called while another coroutine is already waiting for incoming data"


def raised(*pairs):
    return evidence(
        exceptions=[
            {"session": "child", "operation": 2, "type": kind, "message": message, "traceback": ""}
            for kind, message in pairs
        ]
    )


@pytest.fixture
def table(tmp_path):
    own = raised(
        ("builtins.RuntimeError", BUSY), ("matrix.harness.session.Deliberate", "child fails on purpose"),
        ("asyncpg.exceptions.UndefinedTableError", 'relation "no_such_table" does not exist'),
    )  # fmt: skip
    lines = [
        scenario("CON-1", "breaks", evidence=own),
        scenario("NST-3", "safe", evidence=own),
        scenario("NST-4", "lies", evidence=own, reason="a row of somebody else"),
        scenario("TXN-8", evidence=raised(("tortoise.exceptions.T", "Transaction already finalised"))),
    ]
    write_cell(tmp_path, header(planned=[line["scenario"] for line in lines]), lines)
    return view.build(read_folder(tmp_path), expectations.FOLDER)


def test_errors_are_collected_worst_for_an_application_first(table):
    first, second = errors.collect(table)
    assert (first.text, first.classes, first.drivers) == (BUSY, ("RuntimeError",), ("aiomysql",))
    assert list(first.scenarios) == ["NST-4", "CON-1", "NST-3"]
    assert first.seen[0].word == "lies"
    assert second.text == "Transaction already finalised"
    kept = errors.known((first,))[0]
    assert (kept.text, kept.drivers) == (BUSY, ("aiomysql",))
    assert list(kept.seen.items()) == [("NST-4", "lies"), ("CON-1", "breaks"), ("NST-3", "safe")]


def test_a_row_is_found_by_its_errors_its_reports_and_what_people_call_it(table):
    found = search.index(table, errors.collect(table), patterns.build(table), {"fastapi": ["NST-3", "NST-99"]})
    words = set(found["rows"]["NST-3"].split())
    assert {"readexactly", "runtimeerror", "fastapi", "1938", "orm"} <= words
    assert "fastapi" not in found["rows"]["NST-4"].split()
    assert "NST-99" not in found["rows"]
    card = found["errors"][0]
    assert [name for name, _ in card["scenarios"]] == ["NST-4", "CON-1", "NST-3"]
    assert card["instead"] is None or card["instead"][0].endswith("-instead")
    text = search.script(found).decode()
    assert json.loads(text.removeprefix("window.matrixIndex=").rstrip(";\n")) == json.loads(json.dumps(found))


def test_the_words_of_people_name_scenarios_that_exist():
    from matrix.harness.scenario import catalogue

    known = catalogue()
    assert [(word, name) for word, names in search.read_words().items() for name in names if name not in known] == []

"""The first answer: a row for each question, the answer in words, and whose each finding is."""

from __future__ import annotations

import argparse

import pytest

from matrix.report import headline, site, view
from matrix.report.cli import register
from matrix.report.markdown import markdown
from matrix.report.summary import by_driver
from matrix.results.questions import questions
from matrix.results.read import read_folder
from tests.unit.results.samples import header, scenario, write_cell

OVERLAP = ("CON-1", "CON-2", "CON-3", "CON-5", "CON-6", "CON-8", "CAN-5")


def shown(folder, **cells):
    """The lines of the headline by key, over cells with the words of some scenarios each."""
    for cell, words in cells.items():
        lines = [scenario(name, word, level) for name, (word, level) in words.items()]
        write_cell(folder, header(cell.replace("_", "-"), list(words)), lines)
    table = view.build(read_folder(folder), folder)
    return {line.key: line for line in headline.lines(table, list(by_driver(table.groups).values()))}


def loud(words, names=OVERLAP):
    return {name: (word, "loud") for name, word in zip(names, words.split(), strict=True)}


def test_a_question_has_the_worst_word_and_how_many_comply(tmp_path):
    words = loud("refuses refuses poisons refuses safe lies breaks")
    line = shown(tmp_path, postgres_asyncpg=words)["overlap"]
    (place,) = line.places
    assert (line.kind, place.word, place.count) == ("question", "lies", "4/7")
    assert place.href == "cells/postgres-asyncpg/CON-8.html"
    assert place.detail == "CON-8, driver"


def test_a_promised_refusal_is_not_worse_than_what_does_not_comply(tmp_path):
    found = shown(tmp_path, postgres_asyncpg={"CAN-1": ("refuses", "loud"), "CAN-6": ("refuses", "must")})
    (place,) = found["cancelled"].places
    assert (place.word, place.count, place.href) == ("refuses", "1/2", "cells/postgres-asyncpg/CAN-6.html")


def test_of_two_servers_a_scenario_complies_only_if_it_does_on_both(tmp_path):
    found = shown(
        tmp_path,
        mysql_aiomysql={"NST-3": ("breaks", "loud"), "NST-4": ("safe", "loud")},
        mariadb_aiomysql={"NST-3": ("safe", "loud"), "NST-4": ("lies", "loud")},
    )
    (place,) = found["blocks"].places
    assert (place.word, place.count, place.href) == ("lies", "0/2", "cells/mariadb-aiomysql/NST-4.html")
    assert place.detail == "NST-4 on MariaDB"


def test_misuse_stands_below_the_line_and_counts_in_no_question(tmp_path):
    found = shown(tmp_path, postgres_asyncpg={**loud("safe safe safe safe safe safe safe"), "CON-4": ("lies", "loud")})
    assert [(line.key, line.kind) for line in found.values()] == [
        ("shared?", "sharing"),
        ("overlap", "question"),
        ("overlap, misuse", "misuse"),
    ]
    assert (found["overlap"].places[0].word, found["overlap"].places[0].count) == ("safe", "7/7")
    assert found["overlap, misuse"].places[0].word == "lies"


def test_what_is_not_judged_does_not_count(tmp_path):
    found = shown(tmp_path, postgres_asyncpg={"POOL-2": ("lies", "info"), "POOL-3": ("safe", "must")})
    assert (found["pool"].places[0].word, found["pool"].places[0].count) == ("safe", "1/1")


def test_programs_made_at_random_have_rows_of_their_own_which_say_how_many_there_were(tmp_path, monkeypatch):
    """GEN-2 in "its task is cancelled" was a program without any cancellation."""
    made = view.fewest_and_most
    monkeypatch.setattr(view, "_programs", lambda columns, name: made([15, 4, 15]) if name.startswith("GEN") else ())
    found = shown(tmp_path, postgres_asyncpg={"CAN-1": ("safe", "must"), "GEN-2": ("lies", "loud")})
    assert (found["cancelled"].places[0].word, found["cancelled"].places[0].count) == ("safe", "1/1")
    assert (found["random"].places[0].word, found["random"].places[0].count) == ("lies", "0/1")
    assert found["random"].title == "The driver, programs made at random, 4 to 15 a line"
    assert found["cancelled"].title == questions()["cancelled"].title


@pytest.mark.parametrize(
    ("words", "answer", "detail"),
    [
        ("safe safe safe safe safe safe safe", "queues", "yes"),
        ("safe safe safe safe safe safe breaks", "queues", "yes; not in CAN-5"),
        ("safe safe safe safe safe safe lies", "wrong data", "no, silently"),
        ("refuses refuses safe refuses refuses refuses refuses", "refuses", "no, and says so"),
        ("refuses refuses poisons refuses refuses refuses refuses", "refuses", "no, and says so; not in CON-3"),
        ("poisons lies lies lies refuses refuses refuses", "wrong data", "no, silently"),
        ("breaks hangs breaks hangs refuses refuses safe", "breaks", "no, and harms others"),
        ("safe safe safe safe refuses safe breaks", "queues", "yes; refuses in CON-6; not in CAN-5"),
    ],
)
def test_whether_a_connection_may_be_shared_is_said_in_words(tmp_path, words, answer, detail):
    (place,) = shown(tmp_path, postgres_asyncpg=loud(words))["shared?"].places
    assert (place.word, place.detail) == (answer, detail)


def test_without_the_first_question_nothing_is_said_of_sharing(tmp_path):
    assert "shared?" not in shown(tmp_path, postgres_asyncpg={"NST-3": ("safe", "loud")})


def test_what_fails_with_every_driver_is_tortoises(tmp_path):
    failing = {"NST-5": ("lies", "loud"), "CON-4": ("lies", "loud")}
    shown(tmp_path, postgres_asyncpg=failing, postgres_psycopg=failing)
    table = view.build(read_folder(tmp_path), tmp_path)
    assert table.faults["postgres-asyncpg", "NST-5"] == "orm"
    assert table.faults["postgres-asyncpg", "CON-4"] == "driver"  # bare drivers: Tortoise has no part in it


def test_with_a_driver_that_complies_it_is_whose_it_is_on_record(tmp_path, expectations):
    shown(
        tmp_path,
        mysql_aiomysql={"NST-5": ("lies", "loud"), "CON-2": ("poisons", "loud")},
        postgres_psycopg={"NST-5": ("safe", "loud")},
    )
    table = view.build(read_folder(tmp_path), expectations)
    assert table.faults == {("mysql-aiomysql", "NST-5"): "", ("mysql-aiomysql", "CON-2"): "driver"}


def test_the_command_prints_what_home_readme_and_the_badge_show(results, table, built, capsys):
    parser = argparse.ArgumentParser()
    register(parser.add_subparsers())
    options = parser.parse_args(["headline", str(results)])
    assert options.handler(options) == 0
    printed = capsys.readouterr().out
    home = (built / "index.html").read_text("utf-8")
    assert printed.strip() in markdown(table)
    for line in headline.lines(table, list(by_driver(table.groups).values())):
        assert line.title in home
        assert line.title in printed
        for place in line.places:
            assert place.count in home


def test_a_folder_without_results_is_said_in_one_line(tmp_path, capsys):
    parser = argparse.ArgumentParser()
    register(parser.add_subparsers())
    options = parser.parse_args(["headline", str(tmp_path)])
    assert options.handler(options) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_a_racing_word_is_marked_wherever_it_is_shown(tmp_path):
    entry = '[[expect]]\nscenarios = ["CAN-5"]\nverdict = "breaks"\nalso = ["safe"]\nreason = "A race."\n'
    (tmp_path / "asyncpg.toml").write_text(entry + 'category = "driver"\nseen = { breaks = 3, safe = 17 }\n')
    results = tmp_path / "results"
    shown(results, postgres_asyncpg=loud("safe safe safe safe safe safe breaks"))
    table = view.build(read_folder(results), tmp_path)
    found = {line.key: line.places[0] for line in headline.lines(table, list(by_driver(table.groups).values()))}
    assert found["shared?"].detail == "yes; not in CAN-5 (races)"
    assert found["overlap"].detail == "CAN-5, driver, races"
    page = (site.build(table, tmp_path).parent / "cells/postgres-asyncpg/index.html").read_text("utf-8")
    assert "races: breaks in 3, safe in 17 of 20 runs" in page
    assert "races: breaks in 3, safe in 17 of 20 runs" in markdown(table)
    assert "not in CAN-5 (races)" in (tmp_path / "site/badges/asyncpg.json").read_text("utf-8")


def test_what_is_the_servers_or_by_design_does_not_decide_a_row_on_drivers(tmp_path):
    """CON-9 on aiosqlite: scripts commit, as SQLite documents."""
    entry = '[[expect]]\nscenarios = ["CON-9"]\nverdict = "lies"\nreason = "As documented."\ncategory = "by design"\n'
    (tmp_path / "aiosqlite.toml").write_text(entry)
    words = {"CON-9": ("lies", "must"), "CON-34": ("safe", "must")}
    (place,) = shown(tmp_path, sqlite_aiosqlite=words)["alone"].places
    assert (place.word, place.count, place.detail) == ("safe", "1/1", "by design: CON-9")
    (place,) = shown(tmp_path, sqlite_aiosqlite={**words, "CON-34": ("breaks", "must")})["alone"].places
    assert (place.word, place.count, place.detail) == ("breaks", "0/1", "CON-34, driver; by design: CON-9")
    (place,) = shown(tmp_path, sqlite_aiosqlite={"CON-9": ("lies", "must")})["alone"].places
    assert (place.word, place.count, place.detail) == ("lies", "0/1", "CON-9, by design")


def test_nor_does_it_decide_what_is_said_of_sharing(tmp_path):
    """CON-35 on psycopg: who waits for notifications has the connection, as is documented."""
    entry = '[[expect]]\nscenarios = ["CON-8"]\nverdict = "hangs"\nreason = "As documented."\ncategory = "by design"\n'
    (tmp_path / "psycopg.toml").write_text(entry)
    (place,) = shown(tmp_path, postgres_psycopg=loud("safe safe safe safe safe hangs breaks"))["shared?"].places
    assert place.detail == "yes; not in CAN-5"


def test_short_titles_leave_room_for_three_drivers_at_80_columns():
    assert all(len(question.short) <= 19 for question in questions().values())
    assert len({question.short for question in questions().values()}) == len(questions())

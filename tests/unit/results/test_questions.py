"""Every scenario asks a question of the headline, and whose a finding is follows from a rule."""

from __future__ import annotations

import pytest

from matrix.harness.scenario import catalogue
from matrix.results.questions import USES, fault, questions, questions_asked


def test_every_scenario_but_remedies_asks_a_question():
    asking = [name for name, each in catalogue().items() if not each.cures]
    assert sorted(questions_asked()) == sorted(asking)
    for name, said in questions_asked().items():
        assert said.question in questions(), name
        assert said.use in USES, name


def test_every_question_is_asked_and_misuse_has_a_title():
    assert {each.question for each in questions_asked().values()} == set(questions())
    for said in questions_asked().values():
        assert said.use != "misuse" or questions()[said.question].misuse


def test_a_question_of_the_driver_is_asked_by_scenarios_that_need_no_orm():
    for name, said in questions_asked().items():
        assert (questions()[said.question].of == "orm") is ("tortoise" in catalogue()[name].needs), name


def test_what_was_made_at_random_asks_no_question_that_a_scenario_asks():
    made = {name for name, each in catalogue().items() if each.family == "generated"}
    assert made == {name for name, said in questions_asked().items() if said.question in ("random", "orm-random")}


@pytest.mark.parametrize(
    ("scenario", "category", "ran", "failing", "whose"),
    [
        ("NST-5", "driver", ("asyncpg", "psycopg"), ("asyncpg", "psycopg"), "orm"),
        ("NST-5", "driver", ("asyncpg", "psycopg"), ("asyncpg",), "driver"),
        ("NST-5", "driver", ("asyncpg",), ("asyncpg",), "driver"),
        ("NST-5", None, ("asyncpg",), ("asyncpg",), ""),
        ("CON-4", "by design", ("asyncpg", "psycopg"), ("asyncpg", "psycopg"), "by design"),
        ("CON-4", None, ("asyncpg", "psycopg"), ("asyncpg", "psycopg"), "driver"),
        ("TXN-13", "server", ("asyncpg", "psycopg", "aiomysql"), ("asyncpg", "psycopg"), "server"),
    ],
)
def test_whose_a_finding_is(scenario, category, ran, failing, whose):
    assert fault(scenario, category, ran, failing) == whose

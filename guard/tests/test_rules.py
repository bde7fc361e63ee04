"""What is found in the corpus and what is not, against the generated table, which is current."""

from __future__ import annotations

import asyncio
import inspect
import json

import corpus
import generate
import pytest
from corpus import NOT_SEEN, RIGHT, WRONG, runs_here
from tortoise_guard import Place, watching
from tortoise_guard.happened import Life, Transaction, clock

from docs.patterns import patterns
from matrix.harness.scenario import catalogue

pytestmark = pytest.mark.filterwarnings("ignore")
TABLE = generate.table()


@pytest.mark.parametrize("name", filter(runs_here, WRONG))
def test_wrong_programs_are_found_as_the_table_says(name):
    assert ", ".join(sorted(asyncio.run(corpus.findings_of(WRONG[name])))) == TABLE[name]


@pytest.mark.parametrize("name", filter(runs_here, RIGHT))
def test_right_programs_are_not_accused_and_do_what_they_do(name):
    found, error = asyncio.run(corpus.findings(RIGHT[name]))
    assert ([finding.sentence for finding in found], error) == ([], None)


def test_the_table_has_every_rule_curable_scenario_and_pattern():
    curable = {name for scenario in catalogue().values() for name in scenario.cures}
    written = {name for name, each in vars(patterns).items() if inspect.iscoroutinefunction(each)}
    assert (curable | written) - set(TABLE) == set()
    assert {name for name, said in TABLE.items() if said.startswith("not seen")} == set(NOT_SEEN)
    found = {rule for said in TABLE.values() for rule in said.split(", ")}
    assert set(json.loads(generate.MEASURED.read_text(encoding="utf-8"))["rules"]) - found == set()


def test_measured_is_current():
    assert generate.MEASURED.read_text(encoding="utf-8") == generate.as_json(generate.measured()), generate.COMMAND


def test_the_page_is_current():
    assert generate.RULES.read_text(encoding="utf-8") == generate.page(generate.measured()), generate.COMMAND


def test_a_finding_names_the_lines_of_both_tasks_and_of_the_transaction():
    (finding,) = asyncio.run(corpus.findings(patterns.child_while_parent_queries))[0][:1]
    source, first = inspect.getsourcelines(patterns.child_while_parent_queries)
    lines = [place.line - first for place in finding.places]
    assert {place.file for place in finding.places} == {patterns.__file__}
    assert [source[line].strip() for line in lines] == [
        "async with in_transaction():",
        "await Note.all().count()",
        "async with in_transaction():",
    ]
    assert lines[0] != lines[2]
    assert all(f"patterns.py:{place.line}" in finding.sentence for place in finding.places)


def ours(function) -> str:
    """The file of a function, as it is without decorators."""
    return function.__code__.co_filename if function is not None else ""


def test_everything_is_taken_out_again():
    from tortoise.backends.base import client
    from tortoise.backends.base.executor import BaseExecutor
    from tortoise.backends.sqlite.client import SqliteTransactionWrapper

    hooked = [
        (asyncio.BaseEventLoop, "create_task"),
        (asyncio.Lock, "acquire"),
        (asyncio.Semaphore, "__init__"),
        (client.ConnectionWrapper, "__init__"),
        (client.NestedTransactionContext, "__aenter__"),
        (BaseExecutor, "execute_insert"),
        (SqliteTransactionWrapper, "commit"),
        (SqliteTransactionWrapper, "execute_query"),
    ]
    asyncio.run(corpus.findings(patterns.gather_queries))
    assert [name for owner, name in hooked if "tortoise_guard" in ours(vars(owner).get(name))] == []
    before = [vars(owner).get(name) for owner, name in hooked]
    with watching():
        during = [vars(owner).get(name) for owner, name in hooked]
        with pytest.raises(RuntimeError, match="already"), watching():
            pass
    assert [vars(owner).get(name) for owner, name in hooked] == before
    assert during[:6] != before[:6]


def test_findings_are_told_at_once():
    told = []

    async def late() -> None:
        await patterns.background_write()
        assert [finding.rule for finding in told] == ["late-query"]

    error = asyncio.run(corpus.findings(late, told.append))[1]
    assert error is None


# -- which tasks are in each other's way, without any task ------------------------------------------------------------


def transaction() -> Transaction:
    return Transaction("default", life(), Place("app.py", 1), None, None)


def life(parent: Life | None = None) -> Life:
    return Life("task", next(clock), parent, Place("app.py", 2))


def rules_of(block: Transaction) -> list[str]:
    return [rule for rule, _, _ in block.conflicts()]


def use(block: Transaction, who: Life, opens: bool, *locks: int, client: int = 1, inside: bool = False) -> None:
    block.add(who, opens, client, Place("app.py", next(clock)), frozenset(locks), inside)


def test_siblings_that_are_alive_at_once_are_in_each_others_way_whoever_came_first():
    block = transaction()
    one, other = life(block.owner), life(block.owner)
    use(block, one, True)
    use(block, other, True)
    one.died = next(clock)
    assert rules_of(block) == ["sibling-blocks"]
    assert rules_of(block) == []  # it was told


def test_a_task_that_is_born_after_the_other_died_is_not():
    block = transaction()
    one = life(block.owner)
    use(block, one, True)
    one.died = next(clock)
    use(block, life(block.owner), True)
    assert rules_of(block) == []


def test_what_a_parent_does_before_and_after_its_child_is_ordered():
    block = transaction()
    use(block, block.owner, False)
    child = life(life(block.owner))
    use(block, child, True)
    child.died = next(clock)
    use(block, block.owner, False)
    assert rules_of(block) == []


def test_what_a_parent_does_while_its_child_lives_is_not():
    block = transaction()
    child = life(life(block.owner))
    use(block, child, True)
    use(block, block.owner, False)
    assert rules_of(block) == ["block-beside-query"]


def test_a_lock_that_both_hold_orders_them_two_locks_do_not():
    block = transaction()
    one, other = life(block.owner), life(block.owner)
    use(block, one, True, 7, 8)
    use(block, other, True, 8, 9)
    assert rules_of(block) == []
    use(block, other, False, 9)
    assert rules_of(block) == ["block-beside-query"]


def test_queries_through_one_client_wait_for_each_other_through_two_they_do_not():
    block = transaction()
    one, other = life(block.owner), life(block.owner)
    use(block, one, False)
    use(block, other, False)
    assert rules_of(block) == []
    use(block, other, False, client=2)
    assert rules_of(block) == ["two-clients"]

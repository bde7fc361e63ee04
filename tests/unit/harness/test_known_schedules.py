"""The schedule on record is asked first, at the depth of record alone where it gives the verdict on record again."""

from __future__ import annotations

import dataclasses
import functools
import json

import pytest

from matrix.harness import known_schedules
from matrix.harness.remedy import NO_REMEDY
from matrix.harness.result_lines import line_of
from matrix.harness.runner import Runner
from matrix.harness.scenario import catalogue
from matrix.harness.situations import Situation
from matrix.words import FULL, NOT_APPLICABLE, RECORD
from tests.unit.miniatures.driver import Backing, Miniature, Queueing
from tests.unit.miniatures.faults import AnswersInWrongOrder

BOUND = 6


async def explored(
    miniature: type[Miniature], known: known_schedules.KnownResult | None, scenario: str = "CON-1", depth: str = RECORD
):
    runner = Runner(Backing(miniature()), BOUND)
    runner.depth = depth
    if known is not None:
        runner.known_schedules = known_schedules.KnownSchedules({scenario: vars(known)})
    return await runner.explore(catalogue()[scenario])


@pytest.mark.asyncio
async def test_what_is_as_on_record_takes_its_schedule_alone():
    whole = await explored(AnswersInWrongOrder, None)
    known = known_schedules.KnownResult(whole.deciding.verdict, whole.deciding.schedule)
    brief = await explored(AnswersInWrongOrder, known)
    assert (brief.deciding.verdict, brief.deciding.schedule) == (known.verdict, known.schedule)
    assert len(brief.outcomes) == 1 < len(whole.outcomes)
    assert brief.orders["on_record"] == known.schedule


@pytest.mark.asyncio
async def test_what_is_otherwise_than_on_record_is_explored_whole():
    bad = await explored(AnswersInWrongOrder, None)
    whole = await explored(Queueing, None)
    asked = await explored(Queueing, known_schedules.KnownResult(bad.deciding.verdict, bad.deciding.schedule))
    assert asked.deciding.verdict == "safe"
    assert {each.schedule for each in asked.outcomes} == {each.schedule for each in whole.outcomes}
    assert "on_record" not in asked.orders


@pytest.mark.asyncio
async def test_all_orders_begin_with_the_one_that_decided():
    whole = await explored(AnswersInWrongOrder, None)
    last = next(each.schedule for each in reversed(whole.outcomes) if each.verdict == whole.deciding.verdict)
    asked = await explored(AnswersInWrongOrder, known_schedules.KnownResult("lies", last), depth=FULL)
    assert asked.outcomes[0].schedule == last != whole.outcomes[0].schedule
    assert asked.outcomes[0].verdict == whole.deciding.verdict  # an exploration that ends early has the worst word
    assert {each.schedule for each in asked.outcomes} == {each.schedule for each in whole.outcomes}
    assert asked.deciding.verdict == whole.deciding.verdict
    assert asked.orders == whole.orders


@pytest.mark.asyncio
async def test_safe_on_record_is_asked_with_an_order_of_its_own_too():
    safe = await explored(Queueing, None)
    known = known_schedules.KnownResult("safe", safe.deciding.schedule)
    assert {each.verdict for each in (await explored(Queueing, known)).outcomes} == {"safe"}
    bad = await explored(AnswersInWrongOrder, known)
    assert bad.deciding.verdict == "lies"
    assert len(bad.outcomes) > 2


@pytest.mark.asyncio
async def test_with_a_remedy_safe_on_record_is_asked_with_an_order_of_its_own_only():
    runner = Runner(Backing(Queueing()), BOUND)
    runner.depth = RECORD
    runner.known_schedules = known_schedules.KnownSchedules({"FIX-4 CON-1": {"verdict": "safe", "schedule": "B.A"}})
    asked = await runner.explore(catalogue()["CON-1"], NO_REMEDY, remedy_id="FIX-4")
    assert [each.schedule for each in asked.outcomes] == ["A.B.1.1"]
    assert asked.orders["on_record"] == "B.A"


@pytest.mark.asyncio
async def test_where_its_own_order_does_not_come_to_the_situation_the_one_on_record_is_asked():
    """A remedy can make it rare: to find an order that comes to it anew took 30 times as long."""
    second_first = Situation(
        "the second asks first", lambda history: history.operations[0].session == "second", avoidable=False
    )
    scenario = dataclasses.replace(catalogue()["CON-1"], situation=second_first)
    runner = Runner(Backing(Queueing()), BOUND)
    runner.depth = RECORD
    runner.known_schedules = known_schedules.KnownSchedules({"FIX-4 CON-1": {"verdict": "safe", "schedule": "B.A"}})
    asked = await runner.explore(scenario, NO_REMEDY, remedy_id="FIX-4")
    assert [(each.schedule, each.met) for each in asked.outcomes] == [("A.B.1.1", False), ("B.A.1.1", True)]
    assert (asked.deciding.verdict, asked.orders["on_record"]) == ("safe", "B.A")


@pytest.mark.asyncio
async def test_a_schedule_that_is_not_possible_here_is_no_error():
    asked = await explored(Queueing, known_schedules.KnownResult("safe", "Z.9.Z.9"))
    assert asked.error == ""
    assert asked.deciding.verdict == "safe"


def test_a_cells_lines_become_entries_and_are_read_again(tmp_path):
    lines = [
        {"scenario": "CON-1", "verdict": "lies", "schedule": "A.B"},
        {"scenario": "CON-2", "verdict": "n/a"},
        {"scenario": "CON-3", "verdict": "error", "schedule": None},
        {"scenario": "FIX-4", "verdict": "safe", "cures": {"NST-3": {"verdict": "safe", "schedule": None}}},
        {"scenario": "GEN-1", "verdict": "safe", "schedule": "B", "generated": {"deciding": [["Cancel", 1]]}},
    ]
    file = tmp_path / "schedules.json"
    file.write_text(json.dumps({"mysql-aiomysql": known_schedules.entries(lines)}), encoding="utf-8")
    made = known_schedules.read("mysql-aiomysql", "mysql-aiomysql", file)
    assert made.of("CON-1") == known_schedules.KnownResult("lies", "A.B")
    assert made.of("CON-2") is made.of("CON-3") is made.of("NST-3") is None
    assert made.of("NST-3", "FIX-4") == known_schedules.KnownResult("safe", "")
    assert made.of("GEN-1") == known_schedules.KnownResult("safe", "B", [["Cancel", 1]])
    assert known_schedules.read("mysql-asyncmy", "mysql-asyncmy", file).of("CON-1") is None
    assert known_schedules.read("mysql-aiomysql", "mysql-aiomysql", tmp_path / "none.json").of("CON-1") is None


def test_each_database_of_a_cell_has_a_record_of_its_own():
    """Where one of three breaks, the other two are safe, and were asked all orders each time."""
    line = {
        "scenario": "CON-8",
        "verdict": "breaks",
        "schedule": "A.B",
        "orders": {},
        "variants": {"postgres": "breaks", "sqlite": "safe", "mariadb": "n/a"},
        "schedules": {"postgres": "A.B", "sqlite": "B.A", "mariadb": None},
    }
    entries = known_schedules.entries([line])
    made = known_schedules.KnownSchedules(entries)
    assert made.of("CON-8") == made.of("CON-8", database="postgres") == known_schedules.KnownResult("breaks", "A.B")
    assert made.of("CON-8", database="sqlite") == known_schedules.KnownResult("safe", "B.A")
    assert made.of("CON-8", database="mariadb") == known_schedules.KnownResult("n/a", "")
    assert made.of("CON-8", database="mysql") == made.of("CON-8")
    assert not any("@" in key for key in known_schedules.entries([{**line, "generated": {"deciding": None}}]))
    # What a cell of other releases has of its own says more than what the newest ones have of that database.
    other = known_schedules.KnownSchedules(entries, {"CON-8": {"verdict": "safe", "schedule": "A"}})
    own = known_schedules.KnownResult("safe", "A", newest=made.of("CON-8"))
    assert other.of("CON-8", database="sqlite") == own


@pytest.mark.asyncio
async def test_what_no_order_came_to_is_on_record_as_well():
    never = Situation("no such thing", lambda history: False, never="it never does")
    scenario = dataclasses.replace(catalogue()["CON-1"], situation=never)
    runner = Runner(Backing(Queueing()), BOUND)
    whole = line_of(scenario, await runner.explore(scenario), 0.0)
    assert (whole["verdict"], whole["reason"], whole["depth"]) == (NOT_APPLICABLE, "it never does", FULL)
    entries = known_schedules.entries([whole])
    assert entries == {"CON-1": {"verdict": NOT_APPLICABLE, "schedule": ""}}
    runner.depth, runner.known_schedules = RECORD, known_schedules.KnownSchedules(entries)
    brief = line_of(scenario, await runner.explore(scenario), 0.0)
    assert (brief["verdict"], brief["reason"], brief["depth"]) == (NOT_APPLICABLE, "it never does", RECORD)
    assert brief["orders"]["situation_not_met"] < whole["orders"]["situation_not_met"]
    # Where it comes to it after all, all orders are run.
    met = dataclasses.replace(catalogue()["CON-1"], situation=dataclasses.replace(never, met=lambda history: True))
    asked = line_of(met, await runner.explore(met), 0.0)
    assert (asked["verdict"], asked["depth"]) == ("safe", FULL)


@pytest.mark.parametrize(
    ("entry", "differs"),
    [
        ({"verdict": "hangs", "schedule": "A.B"}, False),
        ({"verdict": "hangs", "schedule": "B.A"}, True),  # that of the base did not show it
        ({"verdict": "lies", "schedule": "A.B"}, True),
    ],
)
def test_a_cell_keeps_what_showed_the_same_by_another_schedule(entry, differs):
    own = known_schedules.differing({"CON-1": entry}, {"CON-1": {"verdict": "hangs", "schedule": "A.B"}})
    assert own == ({"CON-1": entry} if differs else {})


def test_what_was_safe_by_another_schedule_is_the_same():
    base, other = ({"CON-1": {"verdict": "safe", "schedule": order}} for order in ("A.B", "B.A"))
    assert known_schedules.differing(other, base) == {}


def test_only_of_a_cell_that_is_on_record_is_a_part_of_the_moments_enough(tmp_path):
    file = tmp_path / "schedules.json"
    file.write_text('{"mysql-aiomysql": {}, "mysql-aiomysql0.2": {}, "mysql-aiomysql0.1": {}}')
    asked = [known_schedules.read(f"mysql-aiomysql{each}", "mysql-aiomysql", file) for each in ("", "0.2", "0.1", "9")]
    assert [each.moments for each in asked] == [*[known_schedules.MOMENTS] * 3, None]
    assert len({each.drawn_by for each in asked[:3]}) == 3


@pytest.mark.asyncio
async def test_cells_are_cancelled_at_moments_of_their_own():
    """At a few each, and together at more."""
    whole = await explored(Queueing, None, "CAN-13")
    known = {"CAN-13": {"verdict": "safe", "schedule": whole.deciding.schedule}}
    asked = []
    for cell in ("one", "one", "two", "three"):
        runner = Runner(Backing(Queueing()), BOUND)
        runner.depth, runner.known_schedules = RECORD, known_schedules.KnownSchedules(known, {}, 2, cell)
        brief = await runner.explore(catalogue()["CAN-13"])
        assert "on_record" in brief.orders
        asked.append({outcome.schedule for outcome in brief.outcomes})
    first, again, *others = asked
    assert first == again
    assert len(first) < len(first.union(*others))


@pytest.mark.asyncio
async def test_what_was_otherwise_in_this_cell_before_takes_that_schedule_and_the_newest_releases_one():
    whole = await explored(AnswersInWrongOrder, None)
    bad, other = whole.deciding, next(each for each in whole.outcomes if each.schedule != whole.deciding.schedule)
    newest = known_schedules.KnownResult("breaks", other.schedule)  # of releases that break in what is wrong here
    brief = await explored(AnswersInWrongOrder, known_schedules.KnownResult(bad.verdict, bad.schedule, newest=newest))
    assert brief.deciding.verdict == bad.verdict
    assert [each.schedule for each in brief.outcomes] == [bad.schedule, other.schedule]
    # It was safe in this cell, and is not any more.
    cured = known_schedules.KnownResult(
        "safe", other.schedule, newest=known_schedules.KnownResult(bad.verdict, bad.schedule)
    )
    asked = await explored(AnswersInWrongOrder, cured)
    assert asked.deciding.verdict == "lies"
    assert "on_record" not in asked.orders


def test_a_cells_own_entries_stand_before_those_of_its_base(tmp_path):
    base = {"CON-1": {"verdict": "lies", "schedule": "A.B"}, "CON-2": {"verdict": "safe", "schedule": "A"}}
    made = base | {"CON-1": {"verdict": "breaks", "schedule": "B.A"}, "CON-9": {"verdict": "safe", "schedule": "B"}}
    own = known_schedules.differing(made, base)
    assert sorted(own) == ["CON-1", "CON-9"]
    file = tmp_path / "schedules.json"
    file.write_text(json.dumps({"mysql-aiomysql": base, "mysql-aiomysql0.2": own}), encoding="utf-8")
    read = known_schedules.read("mysql-aiomysql0.2", "mysql-aiomysql", file)
    known = read.of("CON-1")
    assert known == known_schedules.KnownResult("breaks", "B.A", newest=known_schedules.KnownResult("lies", "A.B"))
    assert known.schedules == ["B.A", "A.B"]
    assert read.of("CON-2") == known_schedules.KnownResult("safe", "A")
    assert read.of("CON-9") == known_schedules.KnownResult("safe", "B")
    assert known_schedules.read("mysql-aiomysql0.3", "mysql-aiomysql", file).of("CON-1") == known_schedules.KnownResult(
        "lies", "A.B"
    )


def test_a_cell_of_no_named_python_takes_the_entries_of_the_one_it_runs_on(tmp_path):
    lies, safe = ({"CON-1": {"verdict": word, "schedule": order}} for word, order in (("lies", "A.B"), ("safe", "B.A")))
    file = tmp_path / "schedules.json"
    file.write_text(json.dumps({"mysql-aiomysql": lies, "mysql-aiomysql-py313": safe}), encoding="utf-8")
    read = functools.partial(known_schedules.read, base="mysql-aiomysql", file=file)
    newest = known_schedules.KnownResult("lies", "A.B")
    there = known_schedules.KnownResult("safe", "B.A", newest=newest)
    assert read("mysql-aiomysql", python="3.13.0").of("CON-1") == there
    assert read("mysql-aiomysql", python="3.11.7").of("CON-1") == newest
    # Another release's own entries are whole: on which Python they were taken is not asked.
    assert read("mysql-aiomysql0.2", python="3.13.0").of("CON-1") == newest


def test_the_file_has_a_line_for_each_entry():
    content = known_schedules.FILE.read_text("utf-8")
    on_record = json.loads(content)
    assert content == known_schedules.text(on_record) + "\n"
    entries = sum(map(len, on_record.values()))
    assert len(content.splitlines()) == 2 + entries + sum(2 if own else 1 for own in on_record.values())

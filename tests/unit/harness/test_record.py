"""Cells of other releases: the schedule on record is asked first, all orders only where it gives another verdict."""

from __future__ import annotations

import json

import pytest

from tests.harness import record
from tests.harness.runner import Runner
from tests.harness.scenario import catalogue
from tests.unit.miniatures.driver import Backing, Miniature, Queueing
from tests.unit.miniatures.faults import AnswersInWrongOrder

BOUND = 6


async def explored(miniature: type[Miniature], known: record.Known | None, scenario: str = "CON-1"):
    runner = Runner(Backing(miniature()), BOUND)
    if known is not None:
        runner.record = record.Record({scenario: vars(known)})
    return await runner.explore(catalogue()[scenario])


@pytest.mark.asyncio
async def test_what_is_as_on_record_takes_its_schedule_alone():
    whole = await explored(AnswersInWrongOrder, None)
    known = record.Known(whole.deciding.verdict, whole.deciding.schedule)
    brief = await explored(AnswersInWrongOrder, known)
    assert (brief.deciding.verdict, brief.deciding.schedule) == (known.verdict, known.schedule)
    assert len(brief.outcomes) == 1 < len(whole.outcomes)
    assert brief.orders["on_record"] == known.schedule


@pytest.mark.asyncio
async def test_what_is_otherwise_than_on_record_is_explored_whole():
    bad = await explored(AnswersInWrongOrder, None)
    whole = await explored(Queueing, None)
    asked = await explored(Queueing, record.Known(bad.deciding.verdict, bad.deciding.schedule))
    assert asked.deciding.verdict == "safe"
    assert [each.schedule for each in asked.outcomes] == [each.schedule for each in whole.outcomes]
    assert "on_record" not in asked.orders


@pytest.mark.asyncio
async def test_safe_on_record_is_asked_with_an_order_of_its_own_too():
    safe = await explored(Queueing, None)
    known = record.Known("safe", safe.deciding.schedule)
    assert {each.verdict for each in (await explored(Queueing, known)).outcomes} == {"safe"}
    bad = await explored(AnswersInWrongOrder, known)
    assert bad.deciding.verdict == "lies"
    assert len(bad.outcomes) > 2


@pytest.mark.asyncio
async def test_a_schedule_that_is_not_possible_here_is_no_error():
    asked = await explored(Queueing, record.Known("safe", "Z.9.Z.9"))
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
    file.write_text(json.dumps({"mysql-aiomysql": record.entries(lines)}), encoding="utf-8")
    made = record.read("mysql-aiomysql", file)
    assert made.of("CON-1") == record.Known("lies", "A.B")
    assert made.of("CON-2") is made.of("CON-3") is made.of("NST-3") is None
    assert made.of("NST-3", "FIX-4") == record.Known("safe", "")
    assert made.of("GEN-1") == record.Known("safe", "B", [["Cancel", 1]])
    assert record.read("mysql-asyncmy", file).of("CON-1") is None
    assert record.read("mysql-aiomysql", tmp_path / "none.json").of("CON-1") is None

"""The suite is tested itself: real scenarios, real runner, miniature drivers. Every seeded fault must be caught."""

from __future__ import annotations

import asyncio
import dataclasses
import json

import pytest

from matrix.harness.result_lines import remedy_line
from matrix.harness.runner import Runner
from matrix.harness.scenario import catalogue
from matrix.results import schema
from matrix.results.write import plain
from matrix.words import PROPERTIES, VERDICTS
from tests.unit.results.strict import of_a_line

from . import __main__ as published
from . import modes, proposed
from .driver import Backing, Miniature, Queueing, Refusing
from .faults import FAULTS
from .orm import Transaction
from .table import Right, Row, applicable, first_of, line, table

# What the program does there cannot end well for everybody: somebody is told so, in a documented way.
REFUSED_BY_THE_RIGHT_ONE = ("CON-7", "POOL-6", "POOL-7", "POOL-9", "POOL-12", "POOL-13", "TXN-8", "TXN-23", "TXN-24")
REFUSED_BY_THE_RIGHT_ONE += (
    "CON-10",
    "CON-11",
    "CON-16",
    "CTX-14",
    "NST-17",
    "NST-18",
    "NST-20",
    "NST-21",
    "POOL-21",
    "POOL-22",
    "POOL-29",
    "TXN-50",
    "TXN-51",
    "TXN-52",
    "TXN-53",
    "TXN-54",
    "TXN-55",
)


# Giving back never waits in these, they send no cancel request, a cancelled read waits for nothing more, and what a
# transaction has read nobody changes.
NEVER = ("POOL-20", "CAN-12", "CAN-14", "TXN-56")
BOUND = 4  # orders of a right one; `tox -e faults` runs more
KNOWN = json.loads(published.CAUGHT.read_text("utf-8"))
WRONG_WITH = of_a_line()  # a line has no key that the schema lacks


def row_of(fault: type[Miniature], *scenarios: str) -> Row:
    return table([fault], scenarios)[0]


def test_there_are_enough_faults_and_each_is_described():
    assert len(FAULTS) >= 20
    for fault in FAULTS:
        assert fault.__doc__
        assert fault.expects is not None
        assert fault.expects[0] in PROPERTIES
        assert fault.expects[1] in VERDICTS


@pytest.mark.parametrize("fault", FAULTS[::12], ids=lambda fault: fault.__name__)
def test_a_fault_is_caught_for_what_it_is_and_is_no_error_of_the_harness(fault):
    """A sample, and of each no more scenarios than it takes: all of them, over all, are the business of ``tox -e
    faults``, which fails as this would."""
    found = first_of(fault, KNOWN.get(fault.__name__, ()))
    assert found.errors == ()
    assert found.as_expected


def test_a_scenario_that_caught_a_fault_is_asked_first_and_the_others_where_it_does_not():
    (known, *_), (other, *_) = KNOWN["LeavesAnswerOnWire"], KNOWN["ErrorToWrongAsker"]
    fault = next(each for each in FAULTS if each.__name__ == "LeavesAnswerOnWire")
    assert [each.scenario for each in first_of(fault, [known]).catches] == [known]
    found = first_of(fault, [other])
    assert [each.scenario for each in found.as_expected] == [found.catches[-1].scenario]
    assert found.as_expected[0].scenario != other


@pytest.mark.asyncio
@pytest.mark.parametrize("scenario", applicable(Queueing()), ids=lambda scenario: scenario.id)
async def test_the_queueing_one_is_safe_everywhere(scenario):
    found = await line(Queueing, scenario, BOUND)
    expected = "refuses" if scenario.id in REFUSED_BY_THE_RIGHT_ONE else "n/a" if scenario.id in NEVER else "safe"
    assert found["verdict"] == expected, found["reason"]


@pytest.mark.asyncio
@pytest.mark.parametrize("right", modes.RIGHT_AND_UNUSUAL, ids=lambda right: right.__name__)
async def test_a_right_one_is_not_accused_for_going_about_it_in_an_unusual_way(right):
    for scenario in applicable(right()):
        if scenario.family in ("connection", "cancellation", "pool") or (scenario.orm and scenario.orm.setting):
            found = await line(right, scenario, BOUND)
            assert found["complies"] is not False, found["reason"]


@pytest.mark.asyncio
@pytest.mark.parametrize("scenario", applicable(Refusing()), ids=lambda scenario: scenario.id)
async def test_the_refusing_one_complies_everywhere(scenario):
    found = await line(Refusing, scenario, BOUND)
    assert found["complies"] is not False, found["reason"]
    if scenario.level == "must" and scenario.id != "POOL-20":
        assert found["verdict"] == "safe", found["reason"]
    assert WRONG_WITH(plain(found)) == []


def test_the_published_table_fits_its_schema_and_names_what_is_missing():
    caught = row_of(FAULTS[0], "CON-1", "CON-2", "CON-6")
    missed = dataclasses.replace(caught, fault="Missed", catches=())
    right = Right("Queueing", "Right: whoever comes second waits.", {"CON-1": "safe"}, ())
    made = published.document([caught, missed], [right], 1.5)
    assert schema.document_checker("faults")(made) is None
    assert [bool(fault["caught_by"]) for fault in made["faults"]] == [True, False]
    assert published.problems([caught], [right]) == []
    wrong = dataclasses.replace(right, problems=("CON-1 lies: so it was seen",))
    gave_up = dataclasses.replace(caught, errors=("CON-2: the world moved",))
    assert published.problems([missed, gave_up], [wrong]) == [
        "Missed: no scenario catches it for what it is",
        f"{caught.fault}: the harness gave up, CON-2: the world moved",
        "Queueing is right, but CON-1 lies: so it was seen",
    ]


@pytest.mark.asyncio
async def test_the_same_miniature_gives_the_same_schedules_and_verdicts_twice():
    scenario = next(each for each in applicable(Queueing()) if each.id == "TXN-5")
    first, second = [await line(Queueing, scenario, 8) for _ in range(2)]
    assert first["orders"] == second["orders"]
    assert first["schedule"] == second["schedule"]


@pytest.mark.asyncio
@pytest.mark.parametrize(("documented", "verdict"), [(True, "refuses"), (False, "breaks")])
async def test_who_uses_a_transaction_in_another_event_loop_may_be_refused_in_a_documented_way(documented, verdict):
    class Bound(Transaction):
        async def execute(self, statement):
            if asyncio.get_running_loop() is not self.loop:
                raise self.error("belongs to another event loop") if documented else RuntimeError("another event loop")
            return await super().execute(statement)

    class Binding(Queueing):
        transaction_type = Bound

    found = await line(Binding, catalogue()["CTX-5"], BOUND)
    assert found["verdict"] == verdict, found["reason"]


@pytest.mark.asyncio
async def test_the_parent_of_a_cancelled_child_is_not_a_victim_of_the_driver():
    found = await line(Queueing, proposed.made(proposed.parent_of_a_cancelled_child, "must"), 12)
    assert found["verdict"] == "safe", found["reason"]


@pytest.mark.asyncio
async def test_who_tries_a_transaction_again_that_ended_in_a_deadlock_gets_it_done_in_any_order():
    scenarios = catalogue()
    exploration = await Runner(Backing(Queueing()), 60).explore(scenarios["TXN-23"], scenarios["FIX-15"].remedy)
    assert set(exploration.counts) == {"refuses"}
    for outcome in exploration.outcomes:
        told = [line for line in outcome.evidence["history"] if line["event"] == "told"]
        done = {line["session"] for line in told if line["text"].endswith(": committed")}
        assert {"up", "down"} <= done, outcome.schedule


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("remedy", "word"),
    [
        ("FIX-1a", "worse"),
        ("FIX-1b", "not needed"),
        ("FIX-2b", "not needed"),
        ("FIX-6", "not needed"),
        ("FIX-7", "not needed"),
        ("FIX-9", "not needed"),
        ("FIX-11", "not needed"),
    ],
)
async def test_remedies_of_a_right_client_are_not_needed_but_one_writes_elsewhere(remedy, word):
    scenarios = catalogue()
    found = await remedy_line(Runner(Backing(Queueing()), 3), scenarios[remedy], scenarios, {})
    assert found["remedy"] == word, found["reason"]

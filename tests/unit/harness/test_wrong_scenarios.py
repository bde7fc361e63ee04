"""A mistake in the suite's own code is no verdict on a driver."""

from __future__ import annotations

from dataclasses import replace

import pytest

from matrix.harness.recording import ROOT
from matrix.harness.runner import Runner
from matrix.harness.scenario import catalogue
from tests.unit.miniatures.driver import Backing, Queueing

pytestmark = pytest.mark.asyncio

PROGRAM = """
async def program(world):
    async def parent(session):
        async with session.orm().transaction():
            await session.orm().write()
            {mistake}

    await world.together(parent=parent)
"""


def scenario(file, mistake):
    """One whose program stands in this file of the repository."""
    made = {}
    exec(compile(PROGRAM.format(mistake=mistake), str(ROOT / file), "exec"), made)
    return replace(catalogue()["TXN-1"], program=made["program"])


@pytest.mark.parametrize(
    ("mistake", "said"),
    [
        (
            "await session.start()",
            "AttributeError: 'Session' object has no attribute 'start', raised at tests/compliance",
        ),
        ("session.world.session('nobody')", "raised at matrix/harness/world.py:"),
    ],
)
async def test_a_scenario_that_fails_by_itself_is_an_error(mistake, said):
    explored = await Runner(Backing(Queueing()), 4).explore(scenario("tests/compliance/some.py", mistake))
    assert explored.error.startswith("not the driver's: the scenario itself failed: parent ended with ")
    assert said in explored.error


async def test_the_same_out_of_a_driver_or_the_orm_is_its_verdict():
    explored = await Runner(Backing(Queueing()), 4).explore(
        scenario("site-packages/driver.py", "await session.start()")
    )
    assert explored.error == ""
    assert explored.deciding.verdict == "breaks"
    assert "ended with an error that no operation had given: AttributeError" in explored.deciding.reason


async def test_an_error_that_an_operation_has_given_is_the_drivers_wherever_it_is_raised():
    mistake = "await session.operate('read', {'kind': 'ping'}, lambda: session.start(), scope='x')"
    explored = await Runner(Backing(Queueing()), 4).explore(scenario("tests/compliance/some.py", mistake))
    assert explored.error == ""
    assert "internal error" in explored.deciding.reason

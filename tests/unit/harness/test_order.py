"""The harness owns the order: the same scenario gives the same run twice, and a printed schedule gives its run
again."""

from __future__ import annotations

import asyncio
import dataclasses
import re
import sys
from typing import Any

import pytest
import pytest_asyncio

from matrix.harness.outcome import Exploration, Outcome
from matrix.harness.runner import Runner
from matrix.harness.scenario import catalogue
from matrix.harness.schedule import Execution
from matrix.harness.situations import Situation
from matrix.harness.strategies import replay
from tests.unit.miniatures.driver import Backing, Miniature, Queueing, Refusing
from tests.unit.miniatures.faults import LeavesAnswerOnWire, LosesReleaseOnCancel

pytestmark = pytest.mark.asyncio

RUN = re.compile(r"\bw-[0-9a-f]+x\d+-")  # rows bear the name of their run, so that two runs never meet
SAVEPOINT = re.compile(r"\bs\d+\b")  # ... and the miniatures' savepoints are counted up for as long as Python runs
CASES = pytest.mark.parametrize(
    ("miniature", "scenario"),
    [
        (Queueing, "TXN-5"),
        (Queueing, "CTX-4"),
        (Refusing, "NST-3"),
        (LeavesAnswerOnWire, "CAN-1"),
        (LosesReleaseOnCancel, "POOL-20"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)


async def explored(miniature: type[Miniature], scenario: str) -> Exploration:
    exploration = await Runner(Backing(miniature()), 8).explore(catalogue()[scenario])
    assert exploration.error == ""
    return exploration


def plain(text: str) -> str:
    return SAVEPOINT.sub("s", RUN.sub("w-", text))


def told(outcome: Outcome) -> dict[str, Any]:
    """What people read of a run, without what differs by right: the run's name and the clock."""
    steps = [(step["n"], step["action"], plain(step["text"])) for step in outcome.evidence["steps"]]
    history = [(line["n"], line["session"], line["event"], plain(line["text"])) for line in outcome.evidence["history"]]
    frames = [(frame["n"], frame["wire"], plain(frame["text"])) for frame in outcome.evidence["frames"]]
    reason, sentences = plain(outcome.reason), [plain(violation.sentence) for violation in outcome.violations]
    return {
        "schedule": outcome.schedule,
        "signature": outcome.signature,
        "reason": reason,
        "sentences": sentences,
        "steps": steps,
        "history": history,
        "frames": frames,
    }


@CASES
async def test_a_scenario_run_twice_gives_the_same_schedules_verdicts_and_steps(miniature, scenario):
    first, second = [await explored(miniature, scenario) for _ in range(2)]
    assert len(first.outcomes) > 1
    assert [told(outcome) for outcome in first.outcomes] == [told(outcome) for outcome in second.outcomes]
    assert first.orders == second.orders
    assert first.deciding.schedule == second.deciding.schedule


@CASES
async def test_the_printed_deciding_schedule_gives_its_run_again(miniature, scenario):
    deciding = (await explored(miniature, scenario)).deciding
    execution = Execution(replay(deciding.schedule))
    again = await Runner(Backing(miniature()), 1).once(catalogue()[scenario], execution)
    assert told(again) == told(deciding)


async def test_the_wrong_ones_among_them_are_told_from_the_right_ones_by_a_schedule_of_their_own():
    """Else the two tests above would have nothing to hold on to: all orders would end alike."""
    verdicts = {outcome.verdict for outcome in (await explored(LosesReleaseOnCancel, "POOL-20")).outcomes}
    assert len(verdicts) > 1


@pytest_asyncio.fixture
async def eager_loop():
    """The loop of a cell of eager tasks."""
    if sys.version_info < (3, 12):
        pytest.skip("needs Python 3.12")
    loop = asyncio.get_running_loop()
    loop.set_task_factory(asyncio.eager_task_factory)
    yield loop
    loop.set_task_factory(None)


async def test_eager_tasks_stay_eager_from_run_to_run(eager_loop):
    """What CTX-7 does to the loop for its own time had switched a whole cell of eager tasks back to ordinary ones."""
    exploration = await explored(Queueing, "CON-1")
    assert {outcome.schedule[0] for outcome in exploration.outcomes} == {"1"}  # both have asked while they were made
    assert eager_loop.get_task_factory() is asyncio.eager_task_factory
    await explored(Queueing, "CTX-7")
    assert eager_loop.get_task_factory() is asyncio.eager_task_factory


async def test_what_cannot_happen_with_eager_tasks_does_not_apply(eager_loop):
    """Such as that two tasks each hold one connection and want another: the first has both before the next is made."""
    never = dataclasses.replace(catalogue()["CON-1"], situation=Situation("cannot be", lambda history: False))
    exploration = await Runner(Backing(Queueing()), 8).explore(never)
    assert (exploration.error, exploration.judged) == ("", [])
    assert exploration.absent.startswith("tasks that begin to run while they are created came to its situation in none")


async def test_who_is_no_task_of_the_program_waits_for_a_turn_with_eager_tasks_too(eager_loop):
    """An administrator who ends connections is a session, and no task that begins to run while it is created: else no
    connection could ever be lost inside a transaction."""
    exploration = await explored(Queueing, "CON-10")
    assert any("B" in outcome.schedule.split(".")[1:] for outcome in exploration.judged)


async def test_rows_of_many_runners_never_meet():
    """A run that came upon the rows of another would be told as the driver's fault."""
    prefixes = [Runner(None, 1)._prefix for _ in range(30_000)]
    assert len(set(prefixes)) == len(prefixes)

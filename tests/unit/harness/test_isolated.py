"""Schedules in a forked child: what crashes or never returns ends the child, not the cell."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

import pytest

from tests.harness import isolated
from tests.harness.isolated import once_in_child
from tests.harness.runner import Exploration, Runner
from tests.harness.scenario import Scenario
from tests.unit.miniatures.driver import Backing, Queueing

pytestmark = pytest.mark.asyncio


async def run(program: Any, bound: int = 1) -> Exploration:
    scenario = Scenario("CON-0", "made up", "Made up.", "loud", (), None, False, (3, 10), program, "", "", ())
    return await Runner(Backing(Queueing()), bound, once=once_in_child).explore(scenario)


async def two_reads(world):
    connection = await world.connect()

    async def reader(session):
        await session.on(connection).read()

    await world.together(first=reader, second=reader)


def dying_of(number: int) -> Any:
    async def program(world):
        async def dies(session):
            await session.step("die")
            os.kill(os.getpid(), number)

        await world.together(dies=dies)

    return program


async def test_what_ends_well_is_told_as_in_this_process():
    inside = await run(two_reads, 3)
    here = await Runner(Backing(Queueing()), 3).explore(
        Scenario("CON-0", "", "", "loud", (), None, False, (3, 10), two_reads, "", "", ())
    )
    assert inside.error == here.error == ""
    assert [o.schedule for o in inside.outcomes] == [o.schedule for o in here.outcomes]
    assert [o.signature for o in inside.outcomes] == [o.signature for o in here.outcomes]


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT])
async def test_a_child_that_dies_of_a_signal_breaks_and_says_of_which(number):
    found = (await run(dying_of(number))).deciding
    assert found.verdict == "breaks"
    assert number.name in found.reason
    assert found.schedule == "A"
    assert "die" in found.reason


async def test_an_error_of_the_program_is_an_error_not_a_verdict():
    async def program(world):
        raise KeyError("a slip of the pen")

    assert "KeyError" in (await run(program)).error


async def test_a_child_that_exits_by_itself_is_an_error_not_a_verdict():
    async def program(world):
        os._exit(3)

    assert "ended with 3" in (await run(program)).error


async def test_a_child_that_never_returns_is_killed(monkeypatch):
    monkeypatch.setattr(isolated, "LIMIT", 1.0)  # its last fifth must be enough for a stack to be written

    async def program(world):
        async def stuck(session):
            await session.step("get stuck")
            while True:
                signal.pause()

        await world.together(stuck=stuck)

    started = time.monotonic()
    found = (await run(program)).deciding
    assert time.monotonic() - started < 10
    assert (found.verdict, found.proof) == ("hangs", "deadline")
    assert "signal.pause()" not in found.reason
    assert "in stuck" in found.evidence["hang"]["stack"]


async def test_no_child_is_left():
    await run(dying_of(signal.SIGKILL))
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)  # noqa: ASYNC222 - it does not wait


async def test_what_the_child_prints_is_not_taken_for_a_message():
    async def program(world):
        print('{"error": "I am no message"}')
        os.write(2, b'{"error": "nor am I"}\n')

    found = await run(program)
    assert found.error == ""
    assert found.deciding.verdict == "safe"

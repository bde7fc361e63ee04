"""Adapters that are wrong in the ways that CONTRIBUTING.md shows: the harness says that it does not own the order."""

import asyncio
import itertools
import threading
from pathlib import Path

import pytest

from matrix.harness import loop
from matrix.harness.runner import NOT_OWNED, STRANGE, Runner
from matrix.harness.scenario import catalogue
from tests.unit.miniatures.driver import Backing, Queueing

ROOT = Path(__file__).parents[3]
SOMETHING_OUTLIVES_THE_RUN: set[str] = set()


class Remembers(Queueing):
    """Asks once more where a value is new to this process."""

    async def read(self, connection, nonce):
        if nonce not in SOMETHING_OUTLIVES_THE_RUN:
            SOMETHING_OUTLIVES_THE_RUN.add(nonce)
            await connection.execute("SHOW")
        return await super().read(connection, nonce)


class ClockOrChance(Queueing):
    """Something that is not the program's decides whether it asks once more. Here it is a count, so that this test
    always says the same."""

    def __init__(self):
        super().__init__()
        self.drawn = itertools.count()

    async def read(self, connection, nonce):
        if next(self.drawn) % 7 == 0:
            await connection.execute("SHOW")
        return await super().read(connection, nonce)


class OwnThread(Queueing):
    """Asks in a thread that nobody told the gate of."""

    async def read(self, connection, nonce):
        answer = await super().read(connection, nonce)
        loop, asked = asyncio.get_running_loop(), asyncio.Future()
        threading.Thread(target=loop.call_soon_threadsafe, args=(asked.set_result, answer), name="mine").start()
        return await asked


def test_a_thread_that_no_gate_holds_is_told_and_is_no_hang():
    exploration = loop.run(Runner(Backing(OwnThread()), 1).explore(catalogue()["CON-1"]))
    assert exploration.error == STRANGE.format("mine")


@pytest.mark.parametrize("adapter", [Remembers, ClockOrChance])
def test_what_else_decides_is_told_and_is_no_verdict(adapter):
    SOMETHING_OUTLIVES_THE_RUN.clear()
    exploration = loop.run(Runner(Backing(adapter()), 1).explore(catalogue()["CON-1"]))
    before, _, after = NOT_OWNED.partition("{}")
    assert exploration.error.startswith(before) and exploration.error.endswith(after)


@pytest.mark.parametrize("message", [NOT_OWNED, STRANGE])
def test_the_message_points_to_a_section_that_exists(message):
    file, _, heading = message.partition("(what to do: ")[2].rstrip(")").partition(", ")
    assert f"\n### {heading}\n" in (ROOT / file).read_text(encoding="utf-8")


def test_a_right_adapter_is_asked_twice_and_stays_a_verdict():
    exploration = loop.run(Runner(Backing(Queueing()), 1).explore(catalogue()["CON-1"]))
    assert not exploration.error


@pytest.mark.parametrize(("says_so", "streamed", "known"), [(True, True, 2), (True, False, 0), (False, True, 0)])
def test_a_transaction_that_a_cursor_needs_is_in_the_history(says_so, streamed, known):
    class Streams(Queueing):
        streams_in_transaction = says_so

    seen = []
    runner = Runner(Backing(Streams()), 1 if streamed else 10)  # in the first order nobody comes between two rows
    runner.on_world = seen.append
    outcome = loop.run(runner.explore(catalogue()["CON-3" if streamed else "CON-8"])).deciding
    assert outcome.verdict == "safe"
    assert [each.transaction for each in seen[-1].history.iterations] == [bool(known)]
    said = [
        line["text"] for line in outcome.evidence["history"] if line["event"] == "note" and "cursor" in line["text"]
    ]
    assert len(said) == known

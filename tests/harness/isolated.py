"""Runs a scenario in a forked child: a driver that crashes the interpreter or never returns ends the child, not the
cell.

The child reports each step before it takes it, so that a crash has a schedule too.
"""

from __future__ import annotations

import asyncio
import dataclasses
import faulthandler
import json
import os
import selectors
import signal
import tempfile
import threading
import time
from typing import IO, TYPE_CHECKING, Any

from .checker import LIVENESS, LOUDNESS, Violation
from .loop import MatrixLoop, thread_rests
from .runner import Outcome, Runner
from .verdict import BREAKS, HANGS
from .world import HarnessError, World

if TYPE_CHECKING:
    from .scenario import Scenario
    from .schedule import Strategy

STUCK = 10  # looks at an unmoving loop thread before the pump takes over
LIMIT = 10.0  # seconds of real time for one schedule; reached only where a thread never comes back


async def once_in_child(runner: Runner, scenario: Scenario, strategy: Strategy, way: Any) -> Outcome:
    """One schedule in a forked child. Fills ``strategy`` with what was chosen, as a run in this process would."""
    _ = scenario.source  # read off once, here: what a child learns is lost with it
    reading, writing = os.pipe()
    with tempfile.TemporaryFile() as stacks:
        child = os.fork()
        if child == 0:
            os.close(reading)
            _child(runner, scenario, strategy, way, writing, stacks)
        os.close(writing)
        messages, timed_out = _collect(reading, child, time.monotonic() + LIMIT)
        _, status = os.waitpid(child, 0)  # noqa: ASYNC222 - nothing else is to happen meanwhile
        stacks.seek(0)
        where = stacks.read().decode(errors="replace")
    steps = [m["step"] for m in messages if "step" in m]
    # The others were nobody's choice: the loop was stuck, or a moment of cancellation had come.
    chosen = [step for step in steps if step[0] != "-" and "@" not in step[0]]
    strategy.taken = [token for token, *_ in chosen]
    strategy.widths = [width for *_, width in chosen]
    if not any("@" in token for token, *_ in steps):
        strategy.cancel = None  # there was no such moment, or not yet
    finished = next((m for m in messages if "outcome" in m or "error" in m), None)
    strategy.waits, strategy.victim = (finished or {}).get("waits", (0, ""))
    if finished is not None and "outcome" in finished:
        told = finished["outcome"]
        violations = [Violation(**each) for each in told["violations"]]
        return Outcome(
            told["verdict"], violations, told["refused"], told["schedule"], lambda: told["evidence"], told["proof"]
        )
    if finished is not None:
        raise HarnessError(finished["error"])
    runner.backing.reopen_witness()  # the child died with a copy of it in hand
    if timed_out:
        what = f"a thread of the driver did not return within {LIMIT:g} s"
        return _ended(scenario, HANGS, what, strategy.text, steps, where)
    if os.WIFSIGNALED(status):
        name = signal.Signals(os.WTERMSIG(status)).name
        return _ended(scenario, BREAKS, f"the interpreter died of {name}", strategy.text, steps, "")
    raise HarnessError(f"the child process ended with {os.waitstatus_to_exitcode(status)}")


def _ended(scenario: Scenario, verdict: str, what: str, schedule: str, steps: list[Any], stack: str) -> Outcome:
    last = steps[-1][1] if steps else "the set-up"
    sentence = f"{what}; the last step was: {last}."
    hang = {"proof": "deadline", "waiting": [], "connections": [], "text": sentence, "stack": stack}
    evidence = {
        "program": scenario.source,
        "steps": [{"n": n, "action": token, "text": text} for n, (token, text, _) in enumerate(steps, 1)],
        "hang": hang if verdict == HANGS else None,
    }
    return Outcome(
        verdict,
        [Violation(LIVENESS if verdict == HANGS else LOUDNESS, sentence)],
        "",
        schedule,
        lambda: evidence,
        "deadline" if verdict == HANGS else None,
        crashed=verdict == BREAKS,
    )


def _collect(reading: int, child: int, deadline: float) -> tuple[list[dict[str, Any]], bool]:
    """All messages until the child closes its end; it is killed when the deadline passes."""
    selector = selectors.DefaultSelector()
    selector.register(reading, selectors.EVENT_READ)
    received = bytearray()
    timed_out = False
    while True:
        left = deadline - time.monotonic()
        if left <= 0 and not timed_out:
            timed_out = True
            os.kill(child, signal.SIGKILL)
        if selector.select(max(left, 0.05)):
            data = os.read(reading, 1 << 16)
            if not data:
                break
            received += data
    os.close(reading)
    messages = []
    for text in received.decode(errors="replace").splitlines():
        try:
            messages.append(json.loads(text))
        except ValueError:
            break  # the child died in the middle of a line
    return messages, timed_out


def _plain(outcome: Outcome) -> dict[str, Any]:
    return {
        "verdict": outcome.verdict,
        "violations": [dataclasses.asdict(violation) for violation in outcome.violations],
        "refused": outcome.refused,
        "schedule": outcome.schedule,
        "evidence": outcome.evidence,
        "proof": outcome.proof,
    }


class Pump(threading.Thread):
    """Relays for the gate while the event loop's own thread is stuck inside the driver.

    The gate runs in that loop. Without this an answer that it holds could never end a call that blocks the loop, and
    the harness itself would make a hang out of what is a blocked loop. What is held then goes through.
    """

    def __init__(self, world: World, loop_thread: int, stacks: IO[bytes]) -> None:
        super().__init__(daemon=True)
        self.stacks = stacks
        self.world = world
        self.loop_thread = loop_thread

    def run(self) -> None:
        seen: tuple[int, int] = (-1, -1)
        still = 0
        told = False
        began = time.monotonic()
        while not self.world.over:
            time.sleep(0.02)  # how often to look; no outcome hangs on it
            asleep, switches = thread_rests(self.loop_thread)
            now = (self.world.loop.idle_selector.rounds, switches)
            still = still + 1 if asleep and now == seen else 0
            seen = now
            if still >= STUCK:
                self._relay()
            if time.monotonic() - began > LIMIT * 0.8 and not told:
                told = True
                faulthandler.dump_traceback(self.stacks)  # for the evidence of a run that never ends

    def _relay(self) -> None:
        self.world.loop_was_stuck()
        for gate in self.world.gates:
            for wire in gate.wires:
                wire.pump()


def _child(runner: Runner, scenario: Scenario, strategy: Strategy, way: Any, writing: int, stacks: IO[bytes]) -> None:
    """Runs in the fork, and never returns. It uses the parent's witness, who waits meanwhile."""

    def tell(message: dict[str, Any]) -> None:
        os.write(writing, json.dumps(message).encode() + b"\n")

    try:
        faulthandler.disable()  # a crash is a verdict here, not a report on the terminal
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null, 2)
        asyncio._set_running_loop(None)
        loop = MatrixLoop()
        asyncio.set_event_loop(loop)
        here = Runner(runner.backing, runner.bound)
        here.on_step = lambda token, text: tell({"step": [token, text, strategy.widths[-1] if strategy.widths else 1]})
        here.on_world = lambda world: Pump(world, threading.get_native_id(), stacks).start()
        outcome = loop.run_until_complete(here.once(scenario, strategy, way))
        tell({"outcome": _plain(outcome), "waits": (strategy.waits, strategy.victim)})
    except BaseException as error:
        tell({"error": f"{type(error).__name__}: {error}"})
    finally:
        os._exit(0)  # threads that a driver has lost must not be waited for

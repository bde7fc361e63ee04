"""Runs a scenario in a forked child: a driver that crashes the interpreter or never returns ends the child, not the cell.

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
import time
from typing import TYPE_CHECKING, Any

from .checker import LIVENESS, LOUDNESS, Violation
from .loop import MatrixLoop
from .runner import Outcome, Runner
from .verdict import BREAKS, HANGS
from .world import HarnessError

if TYPE_CHECKING:
    from .scenario import Scenario
    from .schedule import Strategy

LIMIT = 10.0  # seconds of real time for one schedule; reached only where a thread never comes back


async def once_in_child(runner: Runner, scenario: Scenario, strategy: Strategy, way: Any) -> Outcome:
    """One schedule in a forked child. Fills ``strategy`` with what was chosen, as a run in this process would."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _child(runner, scenario, strategy, way, writing)
    os.close(writing)
    messages, timed_out = _collect(reading, child, time.monotonic() + LIMIT)
    _, status = os.waitpid(child, 0)
    strategy.taken = [m["step"][0] for m in messages if "step" in m]
    strategy.widths = [m["step"][2] for m in messages if "step" in m]
    finished = next((m for m in messages if "outcome" in m or "error" in m), None)
    if finished is not None and "outcome" in finished:
        fields = finished["outcome"]
        return Outcome(**{**fields, "violations": [Violation(**each) for each in fields["violations"]]})
    if finished is not None:
        raise HarnessError(finished["error"])
    steps = [m["step"] for m in messages if "step" in m]
    if timed_out:
        where = next((m["stack"] for m in messages if "stack" in m), "")
        return _ended(scenario, HANGS, f"a thread of the driver did not return within {LIMIT:g} s", steps, where)
    if os.WIFSIGNALED(status):
        name = signal.Signals(os.WTERMSIG(status)).name
        return _ended(scenario, BREAKS, f"the interpreter died of {name}", steps, "")
    raise HarnessError(f"the child process ended with {os.waitstatus_to_exitcode(status)}")


def _ended(scenario: Scenario, verdict: str, what: str, steps: list[Any], stack: str) -> Outcome:
    schedule = ".".join(token for token, *_ in steps if token != "-")
    last = steps[-1][1] if steps else "the set-up"
    sentence = f"{what}; the last step was: {last}."
    hang = {"proof": "deadline", "waiting": [], "connections": [], "text": sentence, "stack": stack}
    return Outcome(
        verdict,
        [Violation(LIVENESS if verdict == HANGS else LOUDNESS, sentence)],
        "",
        schedule,
        {
            "program": scenario.source,
            "steps": [{"n": n, "action": token, "text": text} for n, (token, text, _) in enumerate(steps, 1)],
            "hang": hang if verdict == HANGS else None,
        },
        "deadline" if verdict == HANGS else None,
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


def _child(runner: Runner, scenario: Scenario, strategy: Strategy, way: Any, writing: int) -> None:
    """Runs in the fork, and never returns."""

    def tell(message: dict[str, Any]) -> None:
        os.write(writing, json.dumps(message).encode() + b"\n")

    try:
        faulthandler.disable()  # a crash is a verdict here, not a report on the terminal
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null, 2)
        runner.backing.reopen_witness()
        asyncio._set_running_loop(None)
        loop = MatrixLoop()
        asyncio.set_event_loop(loop)
        here = Runner(runner.backing, runner.bound)
        here.on_step = lambda token, text: tell({"step": [token, text, strategy.widths[-1] if strategy.widths else 1]})
        outcome = loop.run_until_complete(here.once(scenario, strategy, way))
        tell({"outcome": dataclasses.asdict(outcome)})
    except BaseException as error:
        tell({"error": f"{type(error).__name__}: {error}"})
    finally:
        os._exit(0)  # threads that a driver has lost must not be waited for

"""Runs a scenario in a forked child: a driver that crashes the interpreter or never returns ends the child, not the cell.

The child reports each step before it takes it, so that a crash has a schedule too.
"""

from __future__ import annotations

import asyncio
import json
import os
import selectors
import signal
import sys
import time
import traceback
from typing import TYPE_CHECKING, Any

from .loop import MatrixLoop
from .runner import ERROR, Runner, line_head, line_of, without_verdict
from .verdict import BREAKS, HANGS, complies

if TYPE_CHECKING:
    from .cell import Backing
    from .scenario import Scenario

LIMIT = 60.0  # seconds of real time for all orders of one scenario on one database


async def run(backing: Backing, scenario: Scenario, bound: int) -> dict[str, Any]:
    """The scenario's result line, from a child. The caller's loop stands still meanwhile: nothing else runs in it."""
    started = time.monotonic()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _child(backing, scenario, bound, writing)
    os.close(writing)
    messages, timed_out = _collect(reading, child, started + LIMIT)
    _, status = os.waitpid(child, 0)
    seconds = round(time.monotonic() - started, 4)
    finished = next((m["line"] for m in messages if "line" in m), None)
    if finished is not None:
        return {**finished, "seconds": seconds}
    steps = [m["step"] for m in messages if "step" in m]
    last = max((i for i, m in enumerate(messages) if "order" in m), default=-1)
    steps = [m["step"] for m in messages[last + 1 :] if "step" in m]
    orders = sum("order" in m for m in messages)
    if timed_out:
        return _ended(scenario, HANGS, f"a thread of the driver did not return within {LIMIT:g} s", steps, orders, seconds)
    if os.WIFSIGNALED(status):
        name = signal.Signals(os.WTERMSIG(status)).name
        return _ended(scenario, BREAKS, f"the interpreter died of {name}", steps, orders, seconds)
    return without_verdict(scenario, ERROR, f"the child process ended with {os.waitstatus_to_exitcode(status)}")


def _ended(
    scenario: Scenario, verdict: str, sentence: str, steps: list[Any], orders: int, seconds: float
) -> dict[str, Any]:
    schedule = ".".join(token for token, _ in steps)
    line = line_head(scenario)
    line.update(
        verdict=verdict,
        complies=complies(scenario.level, verdict),
        violations=[
            {"property": "liveness" if verdict == HANGS else "loudness", "sentence": f"{sentence}, after {schedule}."}
        ],
        reason=f"{sentence}, after {schedule}",
        proof="deadline" if verdict == HANGS else None,
        orders={"explored": orders, "possible": None, "verdicts": {verdict: 1}},
        schedule=schedule,
        seconds=seconds,
        evidence={
            "program": scenario.source,
            "steps": [{"n": n, "action": token, "text": text} for n, (token, text) in enumerate(steps, 1)],
        },
    )
    return line


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


def _child(backing: Backing, scenario: Scenario, bound: int, writing: int) -> None:
    """Runs in the fork, and never returns."""

    def tell(message: dict[str, Any]) -> None:
        os.write(writing, json.dumps(message).encode() + b"\n")

    status = 0
    try:
        sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115,PTH123
        backing.reopen_witness()
        asyncio._set_running_loop(None)
        loop = MatrixLoop()
        asyncio.set_event_loop(loop)
        runner = Runner(backing, bound)
        runner.on_order = lambda: tell({"order": 1})
        runner.on_step = lambda token, text: tell({"step": [token, text]})
        started = time.monotonic()
        exploration = loop.run_until_complete(runner.explore(scenario))
        tell({"line": line_of(scenario, exploration, time.monotonic() - started)})
    except BaseException:
        tell({"line": without_verdict(scenario, ERROR, traceback.format_exc().strip().splitlines()[-1])})
        status = 1
    finally:
        os._exit(status)  # threads that a driver has lost must not be waited for

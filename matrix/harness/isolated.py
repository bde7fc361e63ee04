"""Runs a scenario in a forked child: a driver that crashes the interpreter or never returns ends the child, not the
cell.

The child reports each step before it takes it, so that a crash has a schedule too.

Threads that race inside a C driver may also destroy memory that is not theirs, and then anything in that process may
fail: the loop has been seen to be given -1639009656 as its file. Where a child fails by what the harness does not raise
itself, its run is not judged, and made again; that this happened is kept beside what is found then.
"""

from __future__ import annotations

import asyncio
import ctypes
import dataclasses
import faulthandler
import functools
import json
import os
import selectors
import signal
import tempfile
import threading
import time
from collections.abc import Callable
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from matrix.lines import Evidence, Hang
from matrix.parent import end_with
from matrix.words import BREAKS, HANGS, LIVENESS, LOUDNESS

from .checker import Violation
from .conductor import HarnessError
from .evidence import step_of
from .history import without_folders
from .loop import MatrixLoop, thread_rests
from .outcome import Outcome
from .runner import UNJUDGED, Runner
from .sentences import sentence
from .threads import all_asleep, fast_asleep, others
from .world import World

if TYPE_CHECKING:
    from .scenario import Scenario
    from .schedule import Execution

LOOK_SECONDS = 0.01  # seconds between the pump's looks; no outcome hangs on it
STUCK = 20  # looks at an unmoving loop thread before the pump takes over, where nothing is proven
LIMIT = 10.0  # seconds of real time without a step; reached only where a thread never comes back
ANSWER = 1.0  # seconds that a server may take to let a witness in and answer it, where a thread never came back
POLL_SECONDS = 0.1  # seconds between two looks at a child that says nothing; no outcome hangs on it
SHOW_STACKS = signal.SIGUSR1
# What code in the process does to it. Any other signal comes from outside: KILL of the machine that is out of memory,
# TERM and HUP of people.
CRASHES = frozenset(
    {
        signal.SIGSEGV,
        signal.SIGABRT,
        signal.SIGBUS,
        signal.SIGILL,
        signal.SIGFPE,
        signal.SIGTRAP,
        signal.SIGSYS,
        signal.SIGPIPE,
    }
)
EVIDENCE = b'{"evidence": '  # how the message begins that has it
UNSERVED = "unserved"  # no proof: the server does not answer either
ATTEMPTS = 3  # runs of one schedule, one after the other, until one says something


async def once_in_child(
    runner: Runner, scenario: Scenario, execution: Execution, remedy: Any, failures: list[str]
) -> Outcome:
    """One schedule in a forked child. Fills ``execution`` with what was chosen, as a run in this process would.

    ``failures``: how a child itself failed is added, whose run is made again. Raises HarnessError where the run cannot
    be judged, and where the child fails in each of ATTEMPTS runs.
    """
    for _ in range(ATTEMPTS):
        child = _in_child(runner, scenario, execution, remedy)
        if not child.failure:
            return _judged(runner, scenario, execution, child)
        runner.backing.reopen_witness()  # who knows in the middle of what the child has left it
        failures.append(child.failure)
    raise HarnessError(f"{failures[-1]} (so in each of {ATTEMPTS} runs)")


class Child(NamedTuple):
    """What is known of a child that has ended."""

    messages: list[dict[str, Any]]
    hung: str | None  # how that is known, if it did
    ended: os.waitid_result
    stacks: str  # where its threads were, of one that hung

    @property
    def died(self) -> bool:
        return self.ended.si_code != os.CLD_EXITED

    @property
    def finished(self) -> dict[str, Any]:
        """The first message that ends a run; empty where there is none."""
        return next((m for m in self.messages if m.keys() & {"outcome", "error", "failed"}), {})

    @property
    def failure(self) -> str:
        """How it failed itself, where nothing else is known of it."""
        return "" if self.hung or self.died else str(self.finished.get("failed", ""))


def _in_child(runner: Runner, scenario: Scenario, execution: Execution, remedy: Any) -> Child:
    parent = os.getpid()
    use_up_free_memory(parent)
    _ = scenario.source  # read off once, here: what a child learns is lost with it
    reading, writing = os.pipe()  # tells only that the child has ended: each word on it would wake this process up
    with os.fdopen(os.memfd_create("said"), "w+b", buffering=0) as said, tempfile.TemporaryFile() as stacks:
        child = os.fork()
        if child == 0:
            end_with(parent)
            os.close(reading)
            _child(runner, scenario, execution, remedy, said, stacks)
        os.close(writing)
        messages, hung = _collect(reading, child, said, stacks, runner.backing.answers)
        ended = _wait_for(child)
        stacks.seek(0)
        return Child(messages, hung, ended, without_folders(stacks.read().decode()))


def _judged(runner: Runner, scenario: Scenario, execution: Execution, child: Child) -> Outcome:
    """What a child's messages and its end say. Raises HarnessError where they say nothing."""
    steps = [m["step"] for m in child.messages if "step" in m]
    # The others were nobody's choice: the loop was stuck, or a moment of cancellation had come.
    chosen = [step for step in steps if step[0] != "-" and "@" not in step[0]]
    execution.taken = [token for token, *_ in chosen]
    execution.enabled = [tuple(enabled) for *_, enabled in chosen]
    if not any("@" in token for token, *_ in steps):
        execution.cancel = None  # there was no such moment, or not yet
    finished = child.finished
    execution.waits, execution.victim = finished.get("waits", (0, ""))
    execution.outside = {int(point): token for point, token in finished.get("outside", {}).items()}
    if "outcome" in finished:
        sent, evidence = finished["outcome"], next(m["evidence"] for m in child.messages if "evidence" in m)
        violations = [Violation(**each) for each in sent["violations"]]
        return Outcome(
            sent["verdict"],
            violations,
            sent["refused"],
            sent["schedule"],
            lambda: json.loads(evidence)["evidence"],
            sent["proof"],
            met=sent["met"],
        )
    if "error" in finished:
        raise HarnessError(finished["error"])
    runner.backing.reopen_witness()  # the child died with a copy of it in hand
    if child.hung == UNSERVED:
        raise HarnessError(f"for {LIMIT:g} s nothing happened, and the server did not answer its witness either")
    if child.hung:
        return _ended(scenario, HANGS, execution.text, steps, stack=child.stacks, proof=child.hung)
    if child.died:
        number = signal.Signals(child.ended.si_status)
        if number not in CRASHES:
            raise HarnessError(f"the child process was ended from outside, by {number.name}")
        return _ended(scenario, BREAKS, execution.text, steps, died_of=number.name)
    raise HarnessError(f"the child process ended with {child.ended.si_status}")


class _Memory(ctypes.Structure):
    """What malloc tells of itself: the ten numbers of struct mallinfo2 (glibc's malloc.h)."""

    _fields_ = [("told", ctypes.c_size_t * 10)]
    free = property(lambda self: self.told[8])
    free_at_end = property(lambda self: self.told[9])


@functools.cache
def use_up_free_memory(_process: int) -> None:
    """Take, once in a process, all memory that is free between its blocks in use, before it forks off children: some
    thousand pieces. Each child would take its own memory from there, and for nearly each piece the kernel copies a
    page; now it takes new pages. What is freed from here on is used again as ever, in the children too. Does nothing
    without glibc's malloc.
    """
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "mallinfo2"):
        return
    libc.mallinfo2.restype, libc.sbrk.restype, libc.malloc.restype = _Memory, ctypes.c_size_t, ctypes.c_size_t
    end = libc.sbrk(ctypes.c_ssize_t(0)) - libc.mallinfo2().free_at_end
    for size in (*(1 << power for power in range(16, 10, -1)), *range(1016, 8, -16)):
        while 0 < libc.malloc(ctypes.c_size_t(size)) < end:
            pass


_to_be_reaped: list[int] = []  # the child that ended last


def _wait_for(child: int) -> os.waitid_result:
    """How a child ends. It is reaped when the next one has ended: the last of its threads may be about to take its
    files of /proc away, and who reaps the process meanwhile goes round and round in the kernel until that thread gets
    a core again, for up to 0.2 s."""
    ended = os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    assert ended is not None  # it is, with WNOHANG only
    while _to_be_reaped:
        os.waitpid(_to_be_reaped.pop(), 0)
    _to_be_reaped.append(child)
    return ended


def _ended(
    scenario: Scenario,
    verdict: str,
    schedule: str,
    steps: list[Any],
    *,
    died_of: str = "",
    stack: str | None = None,
    proof: str | None = None,
) -> Outcome:
    """What is known of a run whose process was ended by a signal, or had to be."""
    last = steps[-1][1] if steps else None
    fact = {"kind": "process_ended", "signal": died_of, "proof": proof, "limit": LIMIT, "step": last}
    hang: Hang = {"proof": proof, "waiting": [], "connections": [], "text": sentence(fact), "fact": fact}
    evidence: Evidence = {
        "program": scenario.source,
        "declared": scenario.declared(),
        "steps": [step_of(n, token, fact) for n, (token, fact, _) in enumerate(steps, 1)],
        "hang": None if stack is None else {**hang, "stack": stack},
    }
    return Outcome(
        verdict,
        [Violation(LIVENESS if verdict == HANGS else LOUDNESS, fact)],
        None,
        schedule,
        lambda: evidence,
        proof,
        crashed=verdict == BREAKS,
    )


def _collect(
    ends: int, child: int, said: IO[bytes], stacks: IO[bytes], answers: Callable[[float], bool]
) -> tuple[list[dict[str, Any]], str | None]:
    """All messages of the child until the pipe ``ends``, and how it is known to hang, if it is. Then it is killed.

    ``answers``: whether the server answers within so many seconds. A child that is silent for LIMIT may wait for a
    server that stalls; where it does answer, the child gets as long again to hear of it.
    """
    selector = selectors.DefaultSelector()
    selector.register(ends, selectors.EVENT_READ)
    heard = 0
    seen: frozenset[tuple[int, int]] | None = None
    hung: str | None = None
    moved = time.monotonic()
    while not selector.select(POLL_SECONDS):
        asleep = None
        if (size := _size(said)) != heard:
            heard = size
            moved = time.monotonic()
        elif hung is None:
            # What the harness holds has gone through when its helper says so; the other threads are the driver's.
            helper = next((m["relayed"] for m in _messages(said) if "relayed" in m), None)
            asleep = fast_asleep(child, helper) if helper is not None else None
        proof = "idle" if asleep is not None and asleep == seen else None
        if proof is None and hung is None and time.monotonic() > moved + LIMIT:
            if not answers(ANSWER):
                proof = UNSERVED
            elif selector.select(ANSWER) or _size(said) != heard:
                continue
            else:
                proof = "deadline"
        if hung is None and proof:
            hung = proof
            _show_stacks(child, stacks)
            os.kill(child, signal.SIGKILL)
        seen = asleep
    os.close(ends)
    return _messages(said), hung


def _size(file: IO[bytes]) -> int:
    return os.fstat(file.fileno()).st_size


def _messages(said: IO[bytes]) -> list[dict[str, Any]]:
    messages = []
    for text in os.pread(said.fileno(), _size(said), 0).splitlines():  # the child's place in it is left alone
        try:
            # The evidence is by far the longest, and few runs need it: it is left as it came.
            messages.append({"evidence": text} if text.startswith(EVIDENCE) else json.loads(text))
        except ValueError:
            break  # the child died in the middle of a line
    return messages


def _show_stacks(child: int, stacks: IO[bytes]) -> None:
    """Have the child write where its threads are, as far as it still can; for the evidence only."""
    os.kill(child, SHOW_STACKS)
    before = 0
    for _ in range(20):
        time.sleep(POLL_SECONDS / 2)
        size = _size(stacks)
        if size == before and size:
            return
        before = size


def _plain(outcome: Outcome) -> dict[str, Any]:
    return {
        "verdict": outcome.verdict,
        "violations": [dataclasses.asdict(violation) for violation in outcome.violations],
        "refused": outcome.refused,
        "schedule": outcome.schedule,
        "proof": outcome.proof,
        "met": outcome.met,
    }


class Pump(threading.Thread):
    """Relays for the gate while the event loop's own thread is stuck inside the driver.

    The gate runs in that loop. Without this an answer that it holds could never end a call that blocks the loop, and
    the harness itself would make a hang out of what is a blocked loop. What is held then goes through.
    """

    def __init__(
        self, world: World, loop_thread: int, relayed: Callable[[int], None], failed: Callable[[Exception], None]
    ) -> None:
        super().__init__()
        self.relayed = relayed  # told this thread's native id when everything went through for the first time
        self.failed = failed  # told what it cannot do: without it a hang of the driver would be proven
        self.world = world
        self.loop_thread = loop_thread

    def run(self) -> None:
        try:
            self._watch()
        except Exception as error:
            self.failed(error)

    def _watch(self) -> None:
        seen: tuple[int, int] | None = None
        still = 0
        announced = False
        while not self.world.over:
            time.sleep(LOOK_SECONDS)
            asleep, switches = thread_rests(self.loop_thread)
            now = (self.world.loop.idle_selector.rounds, switches)
            still = still + 1 if asleep and now == seen else 0
            seen = now
            if still >= STUCK or (still and self._nobody_else_can_act()):
                self._relay()
                if not announced:
                    announced = True
                    self.relayed(threading.get_native_id())

    def _nobody_else_can_act(self) -> bool:
        """Whether all threads but this one sleep, the loop's too, and none can be woken but by what the gate passes on
        or holds: then it is known at once that the loop is stuck."""
        return all_asleep(others(), self.world.gates.sockets)

    def _relay(self) -> None:
        self.world.recording.loop_was_stuck()
        for gate in self.world.gates:
            for wire in gate.wires:
                wire.pump()
        for channel in self.world.worker_gate.channels:
            channel.let_through()


def _child(
    runner: Runner, scenario: Scenario, execution: Execution, remedy: Any, said: IO[bytes], stacks: IO[bytes]
) -> None:
    """Runs in the fork, and never returns. It uses the parent's witness, who waits meanwhile."""

    def send(message: dict[str, Any]) -> None:
        said.write(json.dumps(message).encode() + b"\n")

    try:
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)  # how the cell comes to its end is not for its children
        faulthandler.disable()  # a crash is a verdict here, not a report on the terminal
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null, 2)
        asyncio._set_running_loop(None)
        loop = MatrixLoop()
        here = Runner(runner.backing, runner.bound)
        here.on_step = lambda token, fact: send({"step": [token, fact, (execution.enabled or [()])[-1]]})
        faulthandler.register(SHOW_STACKS, stacks)
        loop_thread = threading.get_native_id()

        def failed(error: Exception) -> None:
            # By an OSError it says that it cannot do it.
            how = "error" if isinstance(error, (*UNJUDGED, OSError)) else "failed"
            send({how: f"what stands in for the loop failed: {type(error).__name__}: {error}"})
            os._exit(0)

        relayed = lambda helper: send({"relayed": helper})  # noqa: E731
        here.on_world = lambda world: Pump(world, loop_thread, relayed, failed).start()
        outcome = loop.run_until_complete(here.once(scenario, execution, remedy))
        known = {"waits": (execution.waits, execution.victim), "outside": execution.outside}
        send({"evidence": outcome.evidence})
        send({"outcome": _plain(outcome), **known})
    except UNJUDGED as error:
        send({"error": f"{type(error).__name__}: {error}"})
    except BaseException as error:
        send({"failed": f"{type(error).__name__}: {error}"})
    finally:
        os._exit(0)  # threads that a driver has lost must not be waited for

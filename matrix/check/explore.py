"""All orders of a user's function within the bound, and then those in which one of its tasks is cancelled."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, field, replace
from typing import Any

from matrix.harness.outcome import Exploration, Outcome
from matrix.harness.runner import Runner
from matrix.harness.scenario import Scenario
from matrix.harness.schedule import CancelPoint, Execution, parse
from matrix.harness.strategies import replay
from matrix.words import LETTERS, MUST, badness, complies

from .arguments import EVERY
from .places import UserError
from .program import UserProgram
from .told import plain


@dataclass
class Explored:
    """What came of it. ``orders`` as in a result's line; ``swept``: the tasks that were cancelled, by name;
    ``left_out``: those that were not, and why (as in told.py)."""

    outcome: Outcome | None
    error: str
    counts: dict[str, int]
    orders: dict[str, Any]
    swept: list[str]
    left_out: dict[str, str] = field(default_factory=dict)


async def once(runner: Runner, scenario: Scenario, schedule: str) -> Explored:
    """The one order that is asked for, with its cancellation."""
    tokens = parse(schedule)
    cancel = CancelPoint.parse(tokens[0]) if tokens else None
    scenario = replace(scenario, cancels=cancel.victim if cancel else "")
    outcome = await runner.once(scenario, Execution(replay(schedule)))
    return Explored(outcome, "", {outcome.verdict: 1}, {}, [])


async def explore(runner: Runner, scenario: Scenario, program: UserProgram, cancel: str | None) -> Explored:
    """Every order; where all of them comply and ``cancel`` asks for it (EVERY, or a task's name), its sweeps. Raises
    UserError where no task has that name."""
    made = [await runner.explore(scenario)]
    left_out: dict[str, str] = {}
    if cancel and _complies(made[0]):
        victims = _victims(program, cancel)
        for letter in victims:
            made.append(await runner.explore(replace(scenario, cancels=letter)))
            if made[-1].error:
                break
        left_out = _left_out(program, victims) if cancel == EVERY else {}
    error = next((each.error for each in made if each.error), "")
    counts: dict[str, int] = {}
    for each in made[1:] or made:  # a sweep has the orders without a cancellation too
        for verdict, count in each.counts.items():
            counts[verdict] = counts.get(verdict, 0) + count
    worst = None if error else max((each.deciding for each in made), key=lambda found: badness(found.verdict))
    orders = dict(made[0].orders) if len(made) == 1 else {"swept": sum(each.orders["swept"] or 0 for each in made)}
    return Explored(worst, error, counts, orders, list(program.swept), left_out)


def _complies(exploration: Exploration) -> bool:
    return not exploration.error and complies(MUST, exploration.deciding.verdict) is True


def _victims(program: UserProgram, cancel: str) -> list[str]:
    """The letters of the tasks to be cancelled, since a name may be another task's in another order. EVERY: those that
    a cancellation of the function reaches; what the function cancels itself, it has cancelled in the orders."""
    if cancel == EVERY:
        reached, found = set(LETTERS[0]), [LETTERS[0]]
        while found:
            found = sorted(program.reaches.get(found.pop(), set()) - reached) + found
            reached |= set(found)
        return sorted(reached)
    named = [letter for letter, names in program.tasks.items() if cancel in (*map(plain, names), *names)]
    if not named:
        known = ", ".join(sorted(map(plain, set().union(*program.tasks.values()))))
        raise UserError(f"--cancel={cancel}: no task of the function is called so\nThere are: {known}")
    return sorted(named)


def _left_out(program: UserProgram, victims: Container[str]) -> dict[str, str]:
    """The names of the tasks that were not cancelled although they wait, and why."""
    found: dict[str, str] = {}
    for letter, names in sorted(program.tasks.items()):
        shielded, behind = letter in program.shielded, any(letter in each for each in program.reaches.values())
        if shielded or letter not in victims:
            why = "shielded" if shielded else "behind" if behind else "kept"
            found |= dict.fromkeys(sorted(names - program.swept.keys()), why)
    return found


def cancelled(evidence: Any) -> list[dict[str, Any]]:
    """Who was cancelled by the sweep in a run: ``task``, ``at`` (file:line), ``wait`` and ``as_it_ends``."""
    steps = [step["fact"] for step in evidence["steps"] if (step["fact"] or {}).get("kind") == "swept"]
    return [{"task": fact["session"], **{key: fact[key] for key in ("at", "wait", "as_it_ends")}} for fact in steps]

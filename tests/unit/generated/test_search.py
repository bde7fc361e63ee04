"""The search accuses no right driver, finds seeded faults and shrinks them, and says what is new."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest

from matrix.generated.program import (
    Block,
    Cancel,
    Fail,
    Gather,
    Hold,
    Limit,
    Program,
    Read,
    Sleep,
    Spawn,
    Write,
    from_data,
)
from matrix.generated.search import LINES, RACING, SEED, Search, Signature
from matrix.harness import known_schedules
from matrix.harness.loop import MatrixLoop
from matrix.harness.runner import Runner
from matrix.harness.scenario import catalogue
from tests.unit.miniatures import faults, losses
from tests.unit.miniatures.driver import Backing, Miniature, Queueing, Refusing

PROGRAMS = 30  # a line: 420 programs for both right drivers
SEEDED = 10  # for a driver with a fault in it; a cell judges half as many more
DRAWN: dict[tuple[Any, ...], list[Program]] = {}


class Drawn(Search):
    """The seed means the same programs to each search (see test_programs.py): they are drawn once for all of them."""

    def draw(self, first: int = sys.maxsize) -> list[Program]:
        asked = self.scenario.id, self.seed, self.budget, self.racing, first
        if asked not in DRAWN:
            DRAWN[asked] = super().draw(first)
        return list(DRAWN[asked])


def searched(
    miniature: type[Miniature],
    line: str,
    use: Callable[[Search], Any],
    *,
    budget: int = PROGRAMS,
    known: dict[Signature, list[str]] | None = None,
    orders: int = 2,
    search: type[Search] = Drawn,
) -> Any:
    loop = MatrixLoop()
    try:
        return use(search(catalogue()[line], Runner(Backing(miniature()), orders), loop, SEED, budget, known))
    finally:
        loop.close()


@pytest.mark.parametrize("line", LINES)
@pytest.mark.parametrize("right", [Queueing, Refusing])
def test_right_drivers_comply(right, line):
    found = searched(right, line, Search.line)
    assert found["verdict"] in ("safe", "refuses"), (found["reason"], found["generated"])
    assert found["complies"]
    assert from_data(found["generated"].pop("deciding")).asks
    assert found["generated"] == {"seed": SEED, "programs": PROGRAMS, "anomalies": []}


@pytest.mark.parametrize(
    ("fault", "line", "signature", "size"),
    [
        (faults.SwallowsServerErrors, "GEN-1", ("lies", ("routing",)), 2),
        (faults.HangsOnErrors, "GEN-1", ("hangs", ("liveness",)), 2),
        (faults.AnswersInWrongOrder, "GEN-2", ("lies", ("routing",)), 4),
        (faults.LeavesAnswerOnWire, "GEN-2", ("poisons", ("routing",)), 3),
        (faults.SwallowsCancellation, "GEN-2", ("breaks", ("cancellation",)), 3),
        (faults.SwallowsServerErrors, "GEN-3", ("lies", ("routing",)), 2),
        (faults.SwallowsCancellation, "GEN-4", ("breaks", ("cancellation",)), 4),
        (faults.NeverWakesWaiter, "GEN-5", ("hangs", ("liveness",)), 9),
        (faults.HandsOneConnectionToTwo, "GEN-5", ("breaks", ("recovery",)), 11),
        (faults.SwallowsServerErrors, "GEN-5", ("lies", ("routing",)), 3),
        (faults.ForgetsLockWithUsingDb, "GEN-6", ("breaks", ("loudness",)), 9),
        (faults.CommitsWhenCancelled, "GEN-6", ("lies", ("atomicity",)), 9),
        (losses.WaitsForEverForTheTurn, "GEN-7", ("hangs", ("liveness",)), 8),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_seeded_fault_is_found_and_shrunk_to_few_statements(fault, line, signature, size):
    def use(search: Search) -> Any:
        made = search.line()
        shown = [each for each in search.judged if search.judged[each].deciding.signature == signature]
        return made, min(each.size for each in shown)

    made, smallest = searched(fault, line, use, known={}, budget=SEEDED)
    anomalies = {(each["verdict"], tuple(each["properties"])): each for each in made["generated"]["anomalies"]}
    assert signature in anomalies
    assert smallest <= size
    told = anomalies[signature]
    assert told["program"].count("create_task") + told["program"].count("await") <= 2 * size + 1
    assert told["found_by_generation"]
    assert told["schedule"]
    assert made["complies"] is False


def test_the_same_seed_gives_the_same_line():
    first, second = (searched(faults.AnswersInWrongOrder, "GEN-2", Search.line, search=Search) for _ in range(2))
    for key in ("verdict", "orders", "schedule"):
        assert first[key] == second[key]
    plain = [
        [(a["signature"], a["program"], a["schedule"]) for a in x["generated"]["anomalies"]] for x in (first, second)
    ]
    assert plain[0] == plain[1]


@pytest.mark.parametrize(
    ("known", "by", "parts", "new"),
    [
        (None, [], [], None),
        ({}, [], [], True),
        ({("lies", ("routing",)): ["CON-1"]}, ["CON-1"], [], False),
        ({("lies", ("durability",)): ["CON-2"]}, [], [], True),
    ],
)
def test_an_anomaly_that_a_scenario_shows_is_not_new(known, by, parts, new):
    made = searched(faults.SwallowsServerErrors, "GEN-1", Search.line, budget=10, known=known)
    told = next(each for each in made["generated"]["anomalies"] if each["properties"] == ["routing"])
    assert (told["known_by"], told["made_of"], told["found_by_generation"]) == (by, parts, new)


def test_several_known_anomalies_in_one_program_are_nothing_new():
    known = {("lies", ("routing",)): ["CON-1"], ("breaks", ("loudness",)): ["CAN-1"]}
    search = Search(catalogue()["GEN-2"], None, None, known=known)  # type: ignore[arg-type]
    assert search._made_of(("lies", ("loudness", "routing"))) == ["CON-1", "CAN-1"]
    assert not search._is_new(("lies", ("loudness", "routing")))


def test_an_error_of_the_harness_is_the_lines_error():
    def use(search: Search) -> Any:
        async def broken(*_: Any, **__: Any) -> Any:
            from matrix.harness.outcome import Exploration

            return Exploration([], False, error="the witness is gone")

        search.runner.explore = broken  # type: ignore[method-assign]
        return search.line()

    line = searched(Queueing, "GEN-1", use)
    assert line["verdict"] == "error"
    assert line["reason"] == "the witness is gone"
    assert line["evidence"]["program"].startswith("async def program():")


# -- what generation has found wrong in the harness itself -----------------------------------------------------------


def test_a_row_that_a_commit_under_way_has_stored_was_not_seen_early():
    late = Spawn(3, (Write(),))
    program = Program((Spawn(1, (Block((Gather((Spawn(2, (late,)),)),)),)),))
    exploration = searched(Queueing, "GEN-4", lambda search: search.judge(program), orders=12)
    assert {outcome.verdict for outcome in exploration.outcomes} <= {"safe", "refuses"}


def test_a_cancellation_is_passed_on_to_the_task_that_is_waited_for():
    program = Program((Spawn(1, (Gather((Spawn(2, (Write(), Write())),)),)), Cancel(1)))

    def every(search: Search) -> Any:
        return search.loop.run_until_complete(search.runner.explore(search.bound(program)))

    exploration = searched(Queueing, "GEN-4", every, orders=12)
    assert {outcome.verdict for outcome in exploration.outcomes} == {"safe"}
    lines = [line["text"] for outcome in exploration.outcomes for line in outcome.evidence["history"]]
    assert "is cancelled with task 1, which waits for it" in lines


@pytest.mark.parametrize(("limited", "lies", "left_out"), [(True, 2, 0), (False, 0, 6)])
def test_a_sleep_ends_wherever_a_time_limit_is_over_then(limited, lies, left_out):
    """Where none is, nothing would end with it: those points are counted, and not asked."""
    block = Block((Write(),))
    program = Program((Spawn(1, (Limit((block,)) if limited else block,)), Spawn(2, (Sleep(),))))

    def both(search: Search) -> Any:
        every = search.runner.explore(search.bound(program), confirm=False)
        return search.loop.run_until_complete(every), search.judge(program)

    every, asked = searched(faults.CommitsWhenCancelled, "GEN-6", both)
    assert [each.counts.get("lies", 0) for each in (every, asked)] == [lies, lies]
    assert asked.orders.get("unplaced", 0) == left_out
    assert every.orders["placed"] == 6
    assert asked.orders["placed"] == (1 if left_out else 6)


def test_a_generated_program_is_what_the_evidence_shows():
    program = Program((Spawn(1, (Write(),)),))
    exploration = searched(Queueing, "GEN-3", lambda search: search.judge(program))
    assert "await Entry.create(token=new_value())" in exploration.deciding.evidence["program"]


def test_a_cancellation_before_a_clean_up_that_never_awaits_arrives_behind_it():
    child = Spawn(2, (Hold((Read(),)), Hold((Fail(),))))
    program = Program((Spawn(1, (child, Hold((Read(),)), Cancel(2))),))
    exploration = searched(Queueing, "GEN-5", lambda search: search.judge(program), orders=60)
    assert {outcome.verdict for outcome in exploration.outcomes} == {"safe"}


# -- where nobody owns the order ---------------------------------------------------------------------------------------


def test_what_is_seen_once_and_not_again_is_no_anomaly():
    """Every first run of a program shows another driver than all later ones."""

    def use(search: Search) -> Any:
        search.racing = True
        wrong = Runner(Backing(faults.SwallowsServerErrors()), 1)
        seen: dict[str, int] = {}

        async def once(runner: Runner, scenario: Any, strategy: Any, remedy: Any, failures: Any) -> Any:
            seen[scenario.source] = seen.get(scenario.source, 0) + 1
            return await (wrong if seen[scenario.source] == 1 else right).once(scenario, strategy, remedy)

        right = search.runner
        search.runner = Runner(right.backing, 2, once)
        return search.line()

    line = searched(Queueing, "GEN-1", use, budget=20)
    assert (line["verdict"], line["generated"]["anomalies"]) == ("safe", [])
    assert line["generated"]["programs"] == 20 // RACING


def test_what_is_seen_twice_is_one_and_is_shrunk_by_what_is_seen_twice():
    def use(search: Search) -> Any:
        search.racing = True
        tried: list[str] = []

        async def once(runner: Runner, scenario: Any, strategy: Any, remedy: Any, failures: Any) -> Any:
            tried.append(scenario.source)
            return await plain.once(scenario, strategy, remedy)

        plain = search.runner
        search.runner = Runner(plain.backing, 1, once)
        line = search.line()
        return line, tried

    line, tried = searched(faults.SwallowsServerErrors, "GEN-1", use, budget=60)
    (told,) = (each for each in line["generated"]["anomalies"] if each["properties"] == ["routing"])
    assert tried.count(told["program"]) == 2
    assert line["complies"] is False


def test_what_is_on_record_is_asked_first_and_not_shrunk_again():
    whole = searched(faults.AnswersInWrongOrder, "GEN-2", Search.line)
    entries = known_schedules.entries([whole])
    known = known_schedules.KnownSchedules({}, entries).of("GEN-2")

    def use(search: Search) -> Any:
        search.known_result, search.brief = known, True
        return search.line(), len(search.judged)

    brief, judged = searched(faults.AnswersInWrongOrder, "GEN-2", use)
    assert (brief["verdict"], judged) == (whole["verdict"], 1)
    otherwise, judged = searched(Queueing, "GEN-2", use)
    assert (otherwise["verdict"], judged) == ("safe", PROGRAMS + 1)


def test_what_was_shrunk_before_is_not_shrunk_again():
    """It is what shrinking leads to; where it does not show the same, that is done."""
    whole = searched(faults.AnswersInWrongOrder, "GEN-2", lambda search: (search.line(), len(search.judged)))
    known = known_schedules.KnownSchedules({}, known_schedules.entries([whole[0]])).of("GEN-2")

    def use(search: Search) -> Any:
        search.known_result = known
        return search.line(), len(search.judged)

    again = searched(faults.AnswersInWrongOrder, "GEN-2", use)
    assert again[1] < whole[1]
    for key in ("verdict", "reason", "orders", "schedule", "generated"):
        assert again[0][key] == whole[0][key]

    other = searched(faults.SwallowsCancellation, "GEN-2", use)
    assert other[0]["generated"]["deciding"] != whole[0]["generated"]["deciding"]

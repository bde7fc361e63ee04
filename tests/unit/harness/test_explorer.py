"""The explorer's bounds: what is swept, what is sampled, when it gives up, and when it may say that nothing is left."""

from __future__ import annotations

import pytest

from matrix.harness.explorer import Explorer, Tree
from matrix.harness.schedule import Execution
from matrix.harness.strategies import Cancelling, Departing, Placing, Sampling, replay

from .test_schedule import Game, every_order, explore, watched

SWEEPS = 20


@pytest.fixture(autouse=True)
def few_sweeps(monkeypatch):
    monkeypatch.setattr("matrix.harness.explorer.SWEEPS", SWEEPS)


def explore_watched(
    bound: int, waits: int, questions: tuple[int, ...] = (1, 1), moments: int | None = None
) -> tuple[list[str], Explorer]:
    """All schedules of a game whose session A may be cancelled while it waits, so often."""
    explorer = Explorer(bound, moments=moments)
    played = []
    for execution in explorer.executions():
        played.append(Game(questions).play(execution))
        execution.waits, execution.victim = waits, "A"
    return played, explorer


def test_nothing_is_known_to_be_exhausted_before_it_was_run():
    assert Explorer(10).exhausted is False


def test_every_strategy_departs_in_its_own_way():
    explorer = Explorer(30)
    ways = []
    for execution in explorer.executions():
        Game([2, 2]).play(execution)
        strategy = execution.strategy
        if isinstance(strategy, Departing):
            ways.append((strategy.eager, tuple(sorted(strategy.departures.items()))))
    assert len(set(ways)) == len(ways)
    assert all(point >= 0 and shift >= 1 for _, departures in ways for point, shift in departures)


def test_a_program_that_goes_its_own_way_whatever_is_chosen_is_given_up():
    explorer = Explorer(4)
    asked: list[Execution] = []
    for execution in explorer.executions():
        execution.taken, execution.enabled = ["A", "1", "A"], [("A", "1") * 4] * 3
        asked.append(execution)
    departing = [execution.strategy for execution in asked if isinstance(execution.strategy, Departing)]
    assert len(departing) == 4 * 4
    assert all(point >= 0 for strategy in departing for point in strategy.departures)
    assert not explorer.exhausted


# -- no schedule twice -----------------------------------------------------------------------------------------------


def explored_twice(bound: int, questions: tuple[int, ...], waits: int) -> list[tuple[list[str], Explorer]]:
    """Each schedule once, then with all the repeats. Where the victim's last wait is, hangs on the order."""
    explored = []
    for tree in (Tree(), None):
        explorer = Explorer(bound, tree=tree)
        played = []
        for execution in explorer.executions():
            Game(questions).play(execution)
            execution.waits, execution.victim = max(waits - (execution.taken[0] == "B"), 0), "A" if waits else ""
            if execution.cancel and execution.cancel.wait > execution.waits:
                execution.cancel = None
            played.append(execution.text)
        explored.append((played, explorer))
    return explored


@pytest.mark.parametrize("waits", [0, 2])
@pytest.mark.parametrize(("bound", "questions"), [(10, (2, 2)), (100, (2, 1))])
def test_no_schedule_is_run_twice_and_none_is_left_out_for_it(bound, questions, waits):
    (once, explorer), (again, repeating) = explored_twice(bound, questions, waits)
    assert len(once) == len(set(once)) < len(again)
    assert set(once) == set(again)
    for fact in ("explored", "swept", "sampled", "estimate", "exhausted"):
        assert getattr(explorer, fact) == getattr(repeating, fact), fact


def test_what_was_run_before_is_not_run_again_and_counts():
    tree = Tree()
    known = Execution(replay("B.2.A.1"))
    Game((1, 1)).play(known)
    tree.add(None, known)
    explorer = Explorer(20, tree=tree)
    played = [Game((1, 1)).play(execution) for execution in explorer.executions()]
    assert set(played) == every_order([1, 1]) - {"B.2.A.1"}
    assert explorer.explored == len(every_order([1, 1]))


def test_no_more_is_counted_than_was_run_where_a_departure_changes_nothing_behind_the_cancellation():
    explorer = Explorer(20, tree=Tree())
    played = []
    for execution in explorer.executions():
        text = Game((1, 1)).play(execution)
        execution.waits, execution.victim = 1, "A"
        if execution.cancel:  # the victim's end cuts the rest short
            execution.taken, execution.enabled = execution.taken[:1], execution.enabled[:1]
        played.append(execution.text if execution.cancel else text)
    assert len(played) == len(set(played)) == explorer.explored


def test_half_as_many_orders_are_drawn_as_were_run_one_by_one():
    explorer = Explorer(6)
    drawn = 0
    for execution in explorer.executions():
        Game([2, 2, 2]).play(execution)
        drawn += isinstance(execution.strategy, Sampling)
    assert drawn == 3


# -- sweeps ----------------------------------------------------------------------------------------------------------


def test_both_base_orders_are_swept_to_their_end_however_long_that_is():
    _, explorer = explore_watched(2, waits=SWEEPS * 3)
    assert explorer.swept == 2 * 2 * SWEEPS * 3


@pytest.mark.parametrize("moments", [1, 2, 4, 7, 40])
def test_a_sweep_can_be_of_some_moments(moments):
    (every, _), (some, explorer) = (explore_watched(1, waits=9, moments=limit) for limit in (None, moments))
    assert explorer.swept == min(moments, 18)
    assert set(some) <= set(every)


def test_what_is_swept_in_part_is_not_exhausted():
    for moments, exhausted in ((5, False), (6, False), (None, True)):
        _, explorer = explore_watched(40, waits=3, questions=(1,), moments=moments)
        assert explorer.exhausted is exhausted


def test_departures_are_swept_too_in_their_own_order():
    played, explorer = explore_watched(4, waits=3)
    assert explorer.swept == 4 * 2 * 3
    orders = [text for text in played if "@" not in text][:4]
    for order in orders:
        assert {f"A@{wait}{ends}.{order}" for wait in (1, 2, 3) for ends in ("", "+")} <= set(played)


@pytest.mark.parametrize("waits", [SWEEPS // 4, SWEEPS])
def test_departures_are_swept_until_there_are_enough(waits):
    _, explorer = explore_watched(4, waits)
    assert explorer.swept == 4 * waits  # the base orders alone


def test_a_moment_that_never_came_is_no_sweep():
    explorer, absent = Explorer(3), 0
    for execution in explorer.executions():
        Game([1, 1]).play(execution)
        execution.waits, execution.victim = SWEEPS // 4, "A"
        if execution.cancel and execution.cancel.token == "A@1+" and not absent:
            execution.cancel, absent = None, 1
    assert explorer.swept == 3 * SWEEPS // 2 - 1  # one less than enough behind the base orders


def test_what_is_all_swept_is_exhausted():
    for waits in (SWEEPS // 2, SWEEPS, SWEEPS * 3):
        played, explorer = explore_watched(2, waits, (1,))
        assert explorer.swept == 2 * waits
        assert explorer.exhausted, played


def test_what_is_not_all_swept_is_not_exhausted():
    played, explorer = explore_watched(8, 2 * SWEEPS)
    assert {text for text in played if "@" not in text} == every_order([1, 1])
    assert explorer.swept == 8 * SWEEPS  # enough, but not all
    assert not explorer.exhausted


def test_a_sample_draws_moments_of_cancellation_as_well():
    drawn = set()
    for seed in range(20):
        explorer = Explorer(4, str(seed))
        for execution in explorer.executions():
            watched(execution)
            strategy = execution.strategy
            order = strategy.order if isinstance(strategy, Cancelling) else strategy
            if isinstance(order, Sampling):
                drawn.add(execution.cancel)
    assert None in drawn
    assert len(drawn) > 3


def test_a_sample_without_a_victim_cancels_nobody():
    played, _ = explore([2, 2, 2], 4)
    assert not [text for text in played if "@" in text]


# -- what comes from outside -----------------------------------------------------------------------------------------


def placed_in(bound: int, tree: Tree | None = None) -> tuple[list[Execution], Explorer]:
    """All that is run of a session A that asks four times, and of an administrator B who does one thing (and waits for
    an answer, numbered 2, that nobody misses)."""
    explorer = Explorer(bound, tree=tree)
    runs = []
    for execution in explorer.executions():
        Game([4, 1]).play(execution)
        execution.outside = {execution.taken.index("B"): "B"}
        runs.append(execution)
    return runs, explorer


@pytest.mark.parametrize("tree", [None, Tree()])
def test_what_comes_from_outside_is_placed_at_every_point_of_the_order_in_which_answers_arrive_first(tree):
    runs, explorer = placed_in(2, tree)
    befores = {tuple(run.taken[: run.taken.index("B")]) for run in runs}
    whole = ("A", "1") * 4
    assert befores >= {whole[:point] for point in range(len(whole) + 1)}
    assert explorer.placed == len(whole)  # at each but where the base order has it
    assert explorer.explored == 2 + explorer.placed + explorer.sampled


@pytest.mark.parametrize(("most", "points"), [(9, [2, 3, 4, 5, 6]), (3, [2, 3, 5]), (0, [])])
def test_with_a_bound_a_clock_is_only_moved_where_something_is_due(most, points):
    explorer = Explorer(2, placements=most)
    placed = []
    for execution in explorer.executions():
        Game([4, 1]).play(execution)
        execution.outside = {execution.taken.index("B"): "B"}
        execution.idle = {point: frozenset("B") for point in range(10) if not 2 <= point <= 6}
        if isinstance(execution.strategy, Placing):
            assert execution.strategy.token == "B"
            placed.append(execution.taken.index("B"))
    assert placed == [8, *points]  # first where it comes last: that run shows at which points something is due
    assert explorer.placed == len(points)
    assert explorer.placed + explorer.unplaced == 8  # all that are without a bound


def test_it_is_due_only_where_the_run_came_and_it_could_be_and_what_is_left_out_adds_up():
    explorer = Explorer(1, placements=1)
    latest = Execution(Departing())
    latest.taken, latest.enabled = ["A", "A", "B"], [("A",), ("A", "B"), ("B",)]
    for number in (1, 2):
        assert explorer._due(latest, "B", [0, 1, 2, 3], 1) == [1]
        assert explorer.unplaced == number


def test_one_order_of_one_s_own_does_not_place_anything():
    """As many as a cell asks that only looks whether it is as on record."""
    runs, explorer = placed_in(1)
    assert explorer.placed == 0
    assert [type(run.strategy) for run in runs] == [Departing]


def test_who_does_something_else_as_well_is_not_placed():
    explorer = Explorer(2)
    for execution in explorer.executions():
        Game([2, 2]).play(execution)
        execution.outside = {execution.taken.index("B"): "B"}  # its second step is a question
    assert explorer.placed == 0


def test_where_nothing_comes_from_outside_nothing_is_placed():
    assert explore_watched(4, 0)[1].placed == 0


def test_a_step_is_placed_as_soon_as_it_can_be_and_nothing_waits_for_it_in_vain():
    taken = Game([2, 1]).play(Execution(Placing(Departing(eager=False), "B", 3)))
    assert taken == "A.1.A.B.1.2"
    only = Execution(Placing(Departing(eager=False), "A", 5))
    assert Game([1]).play(only) == "A.1"  # there was nothing else

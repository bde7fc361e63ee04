"""Schedules: ranking, departures, replay; and the explorer enumerates each order, and knows when it has them all."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from matrix.harness.explorer import Explorer
from matrix.harness.schedule import Action, CancelPoint, Execution, ScheduleMismatch, parse
from matrix.harness.strategies import Cancelling, Departing, Replay, ranked, replay

LETTERS = "ABCD"


def step(letter: str) -> Action:
    return Action(letter, letter)


def answer(number: int) -> Action:
    return Action(str(number), number)


class Game:
    """Sessions that ask a number of questions each: a step to ask, then its answer is held until it is delivered.

    ``together``: all of them ask on one connection, so that answers come in the order of the questions.
    """

    def __init__(self, questions: Sequence[int], *, together: bool = False) -> None:
        self.left = dict(zip(LETTERS, questions, strict=False))
        self.together = together
        self.owed: list[str] = []

    def enabled(self) -> list[Action]:
        steps = [step(letter) for letter, left in self.left.items() if left and letter not in self.owed]
        if self.together:
            return steps + [answer(1)] * bool(self.owed)
        return steps + [answer(LETTERS.index(letter) + 1) for letter in sorted(self.owed)]

    def perform(self, action: Action) -> None:
        if action.kind == "step":
            self.left[action.token] -= 1
            self.owed.append(action.token)
        else:
            self.owed.remove(self.owed[0] if self.together else LETTERS[int(action.target) - 1])

    def play(self, execution: Execution) -> str:
        while enabled := self.enabled():
            self.perform(execution.choose(enabled))
        return execution.text


def every_order(questions: Sequence[int], *, together: bool = False) -> set[str]:
    """By brute force."""
    found = set()

    def go_on(taken: tuple[str, ...]) -> None:
        game = Game(questions, together=together)
        for token in taken:
            game.perform(next(action for action in game.enabled() if action.token == token))
        enabled = game.enabled()
        if not enabled:
            found.add(".".join(taken))
        for action in enabled:
            go_on((*taken, action.token))

    go_on(())
    return found


# -- one strategy ----------------------------------------------------------------------------------------------------


def test_eager_steps_come_before_answers_in_fair_turns():
    assert Game([2, 2]).play(Execution(Departing(eager=True))) == "A.B.1.A.1.2.B.2"


def test_lazy_answers_come_before_steps_and_a_session_goes_on():
    assert Game([2, 1]).play(Execution(Departing(eager=False))) == "A.1.A.1.B.2"


def test_turns_are_fair_between_capital_and_small_letters():
    execution = Execution(Departing())
    taken = [execution.choose([step("Z"), step("a")]).token for _ in range(3)]
    assert taken == ["Z", "a", "Z"]


def test_the_first_turn_is_the_first_session_s_however_many_there_are():
    assert Departing().choose([step("A"), step("Y"), step("a")], []).token == "A"


@pytest.mark.parametrize(("token", "kind"), [("A", "step"), ("12", "answer"), ("A~", "timer")])
def test_a_token_says_what_it_is(token, kind):
    assert Action(token, token).kind == kind


@pytest.mark.parametrize(("eager", "order"), [(True, ["B", "A", "1", "A~"]), (False, ["1", "A", "B", "A~"])])
def test_a_sleep_ends_last_and_is_no_turn_of_its_session(eager, order):
    enabled = [Action(token, token) for token in ("A~", "1", "A", "B")]
    assert [action.token for action in ranked(enabled, ["A", "B~"], eager=eager)] == order


def test_a_departure_moves_the_choice_on():
    assert Game([1, 1]).play(Execution(Departing(departures={0: 1}))) == "B.A.1.2"
    assert Game([1, 1]).play(Execution(Departing(departures={1: 1}))) == "A.1.B.2"


def test_a_departure_beyond_the_choices_goes_round():
    assert Game([1, 1]).play(Execution(Departing(departures={0: 2}))) == Game([1, 1]).play(Execution(Departing()))


@given(
    st.lists(st.integers(1, 2), min_size=1, max_size=3),
    st.dictionaries(st.integers(0, 8), st.integers(0, 3)),
    st.booleans(),
)
def test_every_printed_schedule_replays(questions, departures, eager):
    text = Game(questions).play(Execution(Departing(eager, departures)))
    assert Game(questions).play(Execution(replay(text))) == text


@given(st.lists(st.sampled_from(["A", "b", "1", "12"])))
def test_parsing_undoes_printing(tokens):
    assert parse(".".join(tokens)) == tuple(tokens)


def test_a_replay_that_is_not_possible_says_where_and_what_was():
    with pytest.raises(ScheduleMismatch, match=r"step 2 of the schedule is 'C'; possible: B, 1$"):
        Game([2, 1]).play(Execution(Replay(("A", "C"))))


def test_a_lenient_replay_goes_on_with_the_base_order_where_it_must():
    assert Game([2]).play(Execution(Replay(("A", "B"), lenient=True))) == "A.1.A.1"


@pytest.mark.parametrize("moment", ["", "A@1."])
def test_a_printed_schedule_is_followed_leniently_only_where_that_is_asked(moment):
    assert Game([2]).play(Execution(replay(f"{moment}A.B", lenient=True))) == f"{moment}A.1.A.1"
    with pytest.raises(ScheduleMismatch):
        Game([2]).play(Execution(replay(f"{moment}A.B")))


def test_an_empty_schedule_is_the_base_order():
    assert Game([1, 1]).play(Execution(replay(""))) == "A.B.1.2"


def test_a_replay_that_ends_early_goes_on_with_the_base_order():
    assert Game([1, 1]).play(Execution(Replay(("B",)))).startswith("B.A")


# -- the explorer ----------------------------------------------------------------------------------------------------


def explore(questions: Sequence[int], bound: int, *, together: bool = False) -> tuple[list[str], Explorer]:
    explorer = Explorer(bound)
    played = [Game(questions, together=together).play(execution) for execution in explorer.executions()]
    return played, explorer


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(1, 2), min_size=1, max_size=3).filter(lambda questions: sum(questions) <= 4), st.booleans())
def test_without_a_bound_every_order_is_found_and_the_explorer_knows(questions, together):
    played, explorer = explore(questions, 10_000, together=together)
    assert set(played) == every_order(questions, together=together)
    assert explorer.exhausted
    assert explorer.explored == len(set(played))


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.integers(1, 2), min_size=1, max_size=3).filter(lambda questions: sum(questions) <= 4),
    st.integers(1, 40),
)
def test_within_a_bound_distinct_orders_are_run_and_never_more(questions, bound):
    played, explorer = explore(questions, bound)
    possible = every_order(questions)
    assert explorer.explored == len(set(played)) <= bound + bound // 2
    assert explorer.explored - explorer.sampled == min(bound, len(possible))
    assert set(played) <= possible
    if explorer.exhausted:
        assert set(played) == possible
        assert explorer.sampled == 0
        assert explorer.estimate is None


def test_a_program_with_a_single_order_is_exhausted_at_once():
    played, explorer = explore([3], 10)
    assert set(played) == {"A.1.A.1.A.1"}
    assert explorer.exhausted


def test_the_base_orders_come_first():
    played, _ = explore([1, 1], 2)
    assert played[:2] == ["A.B.1.2", "A.1.B.2"]


def test_the_same_program_is_explored_in_the_same_order_twice():
    assert explore([2, 2], 20)[0] == explore([2, 2], 20)[0]


# -- the sample ------------------------------------------------------------------------------------------------------


def test_a_sample_goes_beyond_the_bound_and_depends_on_its_seed_only():
    def sampled(seed: str) -> list[str]:
        explorer = Explorer(4, seed)
        played = [Game([2, 2, 2]).play(execution) for execution in explorer.executions()]
        assert explorer.sampled <= 2
        return played[4:]

    assert sampled("1") == sampled("1")
    assert len({tuple(sampled(str(seed))) for seed in range(5)}) > 1


def test_the_number_of_orders_is_estimated_without_bias():
    estimates = []
    for seed in range(300):
        explorer = Explorer(8, str(seed))
        for execution in explorer.executions():
            Game([2, 1, 1]).play(execution)
        assert explorer.estimate is not None
        estimates.append(explorer.estimate)
    possible = len(every_order([2, 1, 1]))
    assert sum(estimates) / len(estimates) == pytest.approx(possible, rel=0.1)


# -- cancellations ---------------------------------------------------------------------------------------------------


def watched(execution: Execution, waits: int = 3) -> str:
    """A game in which session A waits so often and may be cancelled."""
    text = Game([1, 1]).play(execution)
    execution.waits, execution.victim = waits, "A"
    return text


def test_every_moment_of_both_base_orders_is_swept_whatever_the_bound():
    explorer = Explorer(2)
    played = [watched(execution) for execution in explorer.executions()]
    cancel_points = [f"A@{wait}{ends}" for wait in (1, 2, 3) for ends in ("", "+")]
    for base in ("A.B.1.2", "A.1.B.2"):
        assert base in played
        assert {f"{cancel_point}.{base}" for cancel_point in cancel_points} <= set(played)
    assert explorer.swept == 12
    assert explorer.explored == len(set(played))


@given(st.sampled_from("Aaz"), st.integers(1, 99), st.booleans())
def test_a_moment_is_printed_and_read(victim, wait, ends):
    cancel_point = CancelPoint(victim, wait, ends)
    assert CancelPoint.parse(cancel_point.token) == cancel_point


@pytest.mark.parametrize("token", ["A", "1", "A@", "A@0", "@1", "A@1++", "12@1"])
def test_other_tokens_are_no_moments(token):
    assert CancelPoint.parse(token) is None


def test_a_schedule_with_a_moment_replays():
    first = Execution(Cancelling(Departing(), CancelPoint("A", 2, as_it_ends=True)))
    text = Game([2, 1]).play(first)
    again = Execution(replay(text))
    assert Game([2, 1]).play(again) == text == f"A@2+.{'.'.join(first.taken)}"
    assert again.cancel == first.cancel
    assert again.enabled == first.enabled

"""The checker's finer lines: which error is a warning, whose an error is, when a block has ended, what undoes what."""

from __future__ import annotations

import pytest

from matrix.harness.history import ABORTED, DOCUMENTED

from .story import Story


@pytest.fixture
def story() -> Story:
    return Story()


# -- warnings --------------------------------------------------------------------------------------------------------


def refused_overlap(story: Story) -> None:
    """An error that somebody was shown, and that is nobody's violation."""
    first = story.ask("a", "read", "n-1")
    story.error(story.ask("b", "read", "n-2"))
    story.ok(first, "n-1")


def test_an_error_is_a_warning(story):
    refused_overlap(story)
    story.reads("probe 1", "n-3", result="n-1", after=True)
    assert story.verdict == "poisons"


def test_an_error_that_is_shown_before_the_wrong_answer_comes_is_a_warning(story):
    asked = story.ask("probe 1", "read", "n-3", after=True)
    story.error(story.ask("b", "read", "n-2"))
    story.ok(asked, "n-1")
    assert story.verdict == "poisons"


def test_the_wrong_error_itself_is_no_warning(story):
    story.error(story.ask("probe 1", "write", "w-1", after=True))
    story.stores("w-1")
    assert story.verdict == "lies"


@pytest.mark.parametrize(("warned", "verdict"), [(True, "poisons"), (False, "lies")])
def test_wrong_data_that_is_claimed_afterwards_is_poison_if_there_was_a_warning(story, warned, verdict):
    if warned:
        refused_overlap(story)
    story.claims("containment", after=True)
    assert story.verdict == verdict


def test_a_wrong_answer_to_a_probe_is_a_wrong_answer(story):
    story.ok(story.ask("probe 1", "probe", "n-1", after=True), "n-2")
    assert story.violated == {"routing"}


@pytest.mark.parametrize(("after", "property"), [(2, "durability"), (4, "atomicity")])
def test_a_wrong_counter_is_the_last_increment_s(story, after, property):
    for session in ("a", "b"):
        story.ok(story.ask(session, "put", "c-1", scope=session))
    refused_overlap(story)
    story.ok(story.ask("c", "put", "c-1", scope="c"))
    story.history.counters["c-1"] = 0, after
    (violation,) = story.violations
    assert (violation.property, violation.warned) == (property, True)


# -- counters --------------------------------------------------------------------------------------------------------


def test_a_counter_counts_from_where_it_was(story):
    story.ok(story.ask("a", "put", "c-1"))
    story.history.counters["c-1"] = 5, 6
    assert story.verdict == "safe"


def test_who_only_reads_a_counter_increments_nothing(story):
    story.ok(story.ask("a", "take", "c-1", block=story.block("a", outcome="committed")), 0)
    story.history.counters["c-1"] = 0, 0
    assert story.verdict == "safe"


@pytest.mark.parametrize("outcome", ["cancelled", "pending"])
@pytest.mark.parametrize(("fate", "after", "violated"), [
    ("committed", 0, set()),
    ("committed", 1, set()),
    ("committed", 2, {"atomicity"}),
    ("rolled back", 0, set()),
    ("rolled back", 1, {"atomicity"}),
])  # fmt: skip
def test_an_increment_that_nobody_heard_of_may_count_unless_it_was_rolled_back(story, outcome, fate, after, violated):
    asked = story.ask("a", "put", "c-1", block=story.block("a", outcome=fate))
    if outcome == "cancelled":
        story.session("a", cancelled=True, ended="cancelled")
        story.cancelled(asked)
    story.history.counters["c-1"] = 0, after
    assert story.violated == violated


# -- whose error -----------------------------------------------------------------------------------------------------

REFUSED = "no_such_table"


def test_two_statements_that_were_refused_have_each_its_own_error(story):
    for session in ("a", "b"):
        story.error(story.ask(session, "fail"), message=REFUSED)
    assert story.verdict == "safe"


def test_the_error_of_a_statement_that_nobody_had_sent_yet_is_nobody_s(story):
    story.reads("b", "n-2")
    story.error(story.ask("a", "read", "n-1"), message=REFUSED)
    story.error(story.ask("b", "fail"), message=REFUSED)
    assert story.violated == {"loudness"}


def test_a_task_s_own_error_that_comes_again_is_not_a_stranger_s(story):
    story.error(story.ask("a", "fail"), message=REFUSED)
    story.error(story.ask("a", "read", "n-1"), message=REFUSED)
    assert story.violated == {"loudness"}


def test_an_error_that_the_next_user_is_shown_is_a_matter_of_recovery(story):
    story.error(story.ask("a", "fail"), message=REFUSED)
    story.error(story.ask("probe 1", "read", "n-1", after=True), message=REFUSED)
    assert story.violated == {"recovery"}


# -- transactions that are being ended -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["commit", "rollback"])
def test_a_row_of_a_transaction_whose_end_was_asked_for_may_be_stored(story, kind):
    block = story.block("a")
    story.writes("a", "w-1", block=block)
    story.ask("a", kind, block=block)
    assert story.verdict == "safe"


def test_the_end_of_another_transaction_ends_nothing(story):
    story.writes("a", "w-1", block=story.block("a"))
    story.ok(story.ask("b", "commit", block=story.block("b", outcome="committed")))
    assert story.violated == {"atomicity"}


# -- containment -----------------------------------------------------------------------------------------------------


def test_transactions_of_their_own_are_contained_each(story):
    for number, session in enumerate(("a", "b"), 1):
        story.writes(session, f"w-{number}", block=story.block(session, outcome="committed"))
        story.history.placed[f"w-{number}"] = (number, 1)
    story.writes("c", "w-3")
    story.history.placed["w-3"] = None
    assert story.verdict == "safe"


@pytest.mark.parametrize("first", ["failed", "unplaced", "plain"])
def test_one_row_of_which_nothing_can_be_said_does_not_end_the_search(story, first):
    if first == "failed":
        story.ask("b", "read", "n-1")
        story.error(story.ask("a", "write", "w-1"))
    else:
        story.writes("a", "w-1")
    if first == "plain":
        story.history.placed["w-1"] = None
    story.writes("a", "w-2", block=story.block("a", outcome="committed"))
    story.history.placed["w-2"] = None
    assert story.violated == {"containment"}


# -- who offends -----------------------------------------------------------------------------------------------------


def test_a_begin_after_a_rolled_back_transaction_may_not_be_refused(story):
    first = story.block("a", outcome="rolled back")
    story.ok(story.ask("a", "begin", block=first))
    story.ok(story.ask("a", "rollback", block=first))
    story.error(story.ask("b", "begin", block=story.block("b", outcome="never begun")))
    assert story.verdict == "breaks"


def test_a_child_inside_its_parent_s_transaction_does_not_meet_it(story):
    block = story.block("a", outcome="failed")
    story.ok(story.ask("a", "begin", block=block))
    story.error(story.ask("child", "write", "w-1", block=block))
    assert story.verdict == "breaks"


@pytest.mark.parametrize(("scope", "verdict"), [("c1", "refuses"), ("c2", "breaks")])
def test_a_transaction_is_met_on_the_connection_on_which_it_ends(story, scope, verdict):
    block = story.block("a", outcome="committed")
    story.ok(story.ask("a", "begin", block=block, scope="alone 1"))
    story.error(story.ask("b", "write", "w-1", scope=scope))
    story.ok(story.ask("a", "commit", block=block, scope="c1"))
    assert story.verdict == verdict


@pytest.mark.parametrize(("scope", "verdict"), [("transaction 1", "refuses"), ("transaction 2", "breaks")])
def test_a_transaction_that_never_ends_is_met_on_its_own_connection(story, scope, verdict):
    block = story.block("a", outcome="failed")
    story.ok(story.ask("a", "begin", block=block, scope="alone 1"))
    story.error(story.ask("b", "write", "w-1", scope=scope))
    assert story.verdict == verdict


def test_a_parent_that_meets_its_child_s_inner_block_offends(story):
    outer = story.block("a", outcome="failed")
    story.ok(story.ask("a", "begin", block=outer))
    inner = story.block("child", outer, "committed")
    story.ok(story.ask("child", "begin", block=inner))
    story.error(story.ask("a", "write", "w-1", block=outer))
    story.ok(story.ask("child", "commit", block=inner))
    assert story.verdict == "refuses"


# -- consequences ----------------------------------------------------------------------------------------------------


def test_a_failure_outside_of_any_transaction_excuses_nothing(story):
    story.error(story.ask("a", "fail"))
    story.error(story.ask("b", "read", "n-1"))
    assert story.verdict == "breaks"


def nested_failure(story: Story, inner_outcome: str):
    outer = story.block("a", outcome="failed")
    inner = story.block("a", outer, inner_outcome)
    story.error(story.ask("a", "fail", block=inner))
    return outer, inner


def test_an_inner_rollback_undoes_the_failure_whatever_becomes_of_the_outer_block(story):
    outer, inner = nested_failure(story, "rolled back")
    story.ok(story.ask("a", "rollback", block=inner))
    story.error(story.ask("a", "write", "w-1", block=outer), ABORTED)
    assert story.verdict == "breaks"


def test_an_inner_rollback_that_failed_undoes_nothing(story):
    outer, inner = nested_failure(story, "failed")
    story.error(story.ask("a", "rollback", block=inner), ABORTED)
    story.error(story.ask("a", "write", "w-1", block=outer), ABORTED)
    assert story.verdict == "safe"


def test_an_inner_rollback_that_is_still_under_way_has_undone_nothing(story):
    outer, inner = nested_failure(story, "rolled back")
    rolling_back = story.ask("a", "rollback", block=inner)
    story.error(story.ask("child", "write", "w-1", block=outer), ABORTED)
    story.ok(rolling_back)
    assert story.verdict == "safe"


def test_the_rollback_of_a_block_that_is_around_both_undoes_nothing_between_them(story):
    outer = story.block("a", outcome="failed")
    middle = story.block("a", outer, "rolled back")
    story.error(story.ask("a", "fail", block=story.block("a", middle, "open")))
    story.ok(story.ask("a", "rollback", block=middle))
    story.error(story.ask("child", "write", "w-1", block=middle), DOCUMENTED)
    assert story.verdict == "safe"


# -- cancellation ----------------------------------------------------------------------------------------------------


def test_whoever_ran_out_of_time_and_goes_on_had_been_asked_to_stop(story):
    story.cancelled(story.ask("a", "read", "n-1"))
    story.session("a", timed_out=True)
    assert story.verdict == "safe"

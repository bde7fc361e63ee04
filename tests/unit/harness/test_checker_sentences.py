"""What a violation says: names, rows and errors stand in the published reasons, so each sentence is held here."""

from __future__ import annotations

import pytest

from matrix.harness.checker import check
from matrix.harness.history import ABORTED, CREATED, DOCUMENTED, FOUND, IGNORED, INTERNAL, SEEN, UNSEEN, ErrorRecord
from matrix.harness.sentences import words
from matrix.harness.verdict import derive

from .story import Story


@pytest.fixture
def story() -> Story:
    return Story()


def said(story: Story) -> list[tuple[str, str]]:
    """Property and sentence of every violation, in order."""
    return [(violation.property, violation.sentence) for violation in story.violations]


# -- wrong data ------------------------------------------------------------------------------------------------------


def test_whose_answer_it_was_among_many(story):
    story.reads("c", "n-3")
    story.reads("b", "n-2")
    story.reads("a", "n-1", result="n-2")
    assert said(story) == [("routing", "a asked for n-1 and was given the answer that b had asked for.")]


def test_an_answer_that_nobody_had_asked_for_is_shown_as_it_is(story):
    story.reads("a", "n-1", result="no row")
    assert said(story) == [("routing", "a asked for n-1 and was given 'no row'.")]


def test_an_empty_answer_is_nobody_s(story):
    story.ok(story.ask("b", "begin", block=story.block("b", outcome="committed")))
    story.reads("a", "n-1", result="")
    assert said(story) == [("routing", "a asked for n-1 and was given ''.")]


def test_whose_setting_it_was_that_the_next_user_found(story):
    for session, value in (("a", "x"), ("b", "y")):
        story.ok(story.ask(session, "set", value))
    story.ok(story.ask("probe 1", "probe", "none", after=True), "y")
    assert said(story) == [
        ("recovery", "the next task found the setting 'y' that b had left behind; a new session has 'none'."),
    ]


def test_a_setting_that_nobody_had_made(story):
    story.ok(story.ask("a", "set", "x"))
    story.reads("b", "z")
    story.ok(story.ask("probe 1", "probe", "none", after=True), "z")
    assert said(story) == [
        ("routing", "the next task found the setting 'z' that nobody had asked for; a new session has 'none'."),
    ]


def test_the_next_user_is_called_so(story):
    story.reads("a", "n-1")
    story.reads("probe 1", "n-2", result="n-1", after=True)
    assert said(story) == [("routing", "the next task asked for n-2 and was given the answer that a had asked for.")]


def test_a_refused_statement_that_succeeded(story):
    story.ok(story.ask("a", "fail"))
    assert said(story) == [
        ("routing", "a's statement, which the server refuses, was reported as done."),
    ]


def test_whose_error_it_was(story):
    failing = story.ask("a", "fail")
    behind = story.ask("b", "read", "n-1")
    story.error(failing, message="no_such_table")
    story.error(behind, message="no_such_table")
    assert said(story)[0] == (
        "routing",
        "b got the error that a's statement had caused: driver.Error: no_such_table",
    )


def test_lost_rows_say_what_their_task_was_told(story):
    story.writes("a", "w-1", stored=False)
    story.writes("b", "w-2", block=story.block("b", outcome="committed"), stored=False)
    assert said(story) == [
        ("durability", "a's write was reported as done; a's row w-1 is not stored."),
        ("durability", "b's commit was reported as done; b's row w-2 is not stored."),
    ]


@pytest.mark.parametrize(
    ("outcome", "told"),
    [("rolled back", "rolled back"), ("failed", "failed"), ("never begun", "not begun")],
)
@pytest.mark.parametrize("inner", [False, True])
def test_a_row_of_a_dropped_transaction_says_how_that_ended(story, outcome, told, inner):
    block = story.block("a", outcome=outcome)
    story.writes("a", "w-1", block=story.block("a", block, "committed") if inner else block)
    assert said(story) == [("atomicity", f"a's transaction was reported as {told}; a's row w-1 is stored.")]
    assert story.verdict == "lies"


def test_how_another_s_transaction_ended_is_not_said_of_one_s_own(story):
    story.block("b", outcome="rolled back")
    story.writes("a", "w-1", block=story.block("a", outcome="failed"))
    assert said(story) == [("atomicity", "a's transaction was reported as failed; a's row w-1 is stored.")]


def test_a_row_whose_write_failed_says_with_what(story):
    story.ask("b", "read", "n-1")
    story.error(story.ask("a", "write", "w-1"))
    story.stores("w-1")
    assert said(story) == [("atomicity", "a's write was reported as failed (driver.Error); a's row w-1 is stored.")]
    assert check(story.history)[0].fact["outcome"] == ""  # no block is part of it


def test_a_cancelled_row_of_a_dropped_transaction(story):
    story.session("a", cancelled=True, ended="cancelled")
    story.cancelled(story.ask("a", "write", "w-1", block=story.block("a", outcome="rolled back")))
    story.stores("w-1")
    assert said(story) == [("atomicity", "a's transaction was rolled back; a's row w-1 is stored.")]


def test_a_transaction_stored_in_part_says_which_row_is_there_and_which_is_not(story):
    block = story.block("a", outcome="unknown")
    story.writes("a", "w-1", block=block)
    story.writes("a", "w-2", block=block, stored=False)
    assert said(story) == [("atomicity", "the transaction of a is stored in part: w-1 is there, w-2 is not.")]


def test_a_transaction_that_nobody_ended(story):
    story.writes("a", "w-1", block=story.block("a"))
    assert said(story) == [("atomicity", "nobody ended the transaction of a; its row w-1 is stored.")]


def test_a_transaction_is_its_own_sessions_whoever_wrote_in_it(story):
    story.writes("child", "w-1", block=story.block("a"))
    block = story.block("b", outcome="unknown")
    story.writes("child", "w-2", block=block)
    story.writes("child", "w-3", block=block, stored=False)
    assert [violation.fact["session"] for violation in check(story.history) if violation.property == "atomicity"] == [
        "a",
        "b",
    ]


@pytest.mark.parametrize("outcome", ["cancelled", "pending"])
def test_a_write_of_several_rows_that_is_stored_in_part(story, outcome):
    story.session("a", cancelled=True, ended="cancelled")
    asked = story.ask("a", "write", "w-1", rows=("w-1", "w-2"))
    if outcome == "cancelled":
        story.cancelled(asked)
    story.stores("w-1")
    assert said(story) == [
        ("atomicity", "a's write w-1 is stored in part: w-1 is there, w-2 is not."),
    ]


# -- get_or_create and counters ----------------------------------------------------------------------------------------


def ensured(story: Story, **results: str) -> None:
    for session, result in results.items():
        story.ok(story.ask(session, "ensure", "w-1", scope=session), result)


def test_a_row_that_was_got_and_is_lost(story):
    ensured(story, a=FOUND)
    assert said(story) == [("durability", "a was given row w-1 by its query; the row is not stored.")]


def test_a_row_that_two_have_created(story):
    story.stores("w-1")
    ensured(story, a=CREATED, b=CREATED)
    assert said(story) == [("durability", "a and b were each given row w-1 as created by their own call.")]


def test_an_update_that_was_not_done(story):
    story.stores("w-1")
    ensured(story, a=CREATED, b=IGNORED)
    assert said(story) == [
        ("durability", "b's update of row w-1 was reported as done; it came back with another task's values."),
    ]


def test_a_row_that_nobody_has_created(story):
    story.stores("w-1")
    ensured(story, a=FOUND)
    assert said(story) == [("atomicity", "row w-1 is stored, although no task created it by what was reported.")]


def puts(story: Story, *sessions: str) -> None:
    for session in sessions:
        story.ok(story.ask(session, "put", "c-1", scope=session))


def test_a_counter_that_lost_an_increment_says_from_where_to_where(story):
    puts(story, "a", "b")
    story.history.counters["c-1"] = 5, 6
    assert said(story) == [("durability", "2 increments of c-1 were reported as committed; it went from 5 to 6.")]


def test_a_counter_that_went_too_far_says_so(story):
    puts(story, "a")
    story.history.counters["c-1"] = 5, 7
    assert said(story) == [
        ("atomicity", "c-1 went from 5 to 7 by 1 increments that were reported as committed."),
    ]


def test_a_counter_that_nobody_counted(story):
    story.history.counters["c-1"] = 5, 6
    assert said(story) == [
        ("atomicity", "c-1 went from 5 to 6 by 0 increments that were reported as committed."),
    ]


# -- what is seen ----------------------------------------------------------------------------------------------------


def test_a_row_of_the_same_transaction_that_is_not_seen(story):
    block = story.block("a", outcome="committed")
    story.writes("a", "w-1", block=block)
    story.ok(story.ask("child", "look", "w-1", block=block), UNSEEN)
    story.ok(story.ask("a", "commit", block=block))
    assert said(story) == [
        ("containment", "child does not see row w-1, written before in the same transaction."),
    ]


def test_a_row_that_is_seen_before_its_commit(story):
    block = story.block("a", outcome="committed")
    story.writes("a", "w-1", block=block)
    story.ok(story.ask("b", "look", "w-1", scope="b"), SEEN)
    story.ok(story.ask("a", "commit", block=block))
    assert said(story) == [("containment", "b saw a's row w-1, which was not committed.")]


def test_a_row_that_is_not_seen_after_its_commit(story):
    block = story.block("a", outcome="committed")
    story.writes("a", "w-1", block=block)
    story.ok(story.ask("a", "commit", block=block))
    story.ok(story.ask("b", "look", "w-1", scope="b"), UNSEEN)
    assert said(story) == [("durability", "a's commit of row w-1 was reported as done; b does not see the row.")]


# -- containment -----------------------------------------------------------------------------------------------------


def test_a_row_that_was_seen_early_says_what_was_seen(story):
    story.writes("a", "w-1", block=story.block("a", outcome="committed"))
    story.history.seen_early.add("w-1")
    assert said(story) == [
        ("containment", "a's row w-1 was visible to others before its transaction committed."),
    ]


def test_a_row_outside_of_its_transaction(story):
    story.writes("a", "w-1", block=story.block("a", outcome="committed"))
    story.history.placed["w-1"] = None
    assert said(story) == [("containment", "a's row w-1 was written outside of its transaction.")]


def test_a_row_in_another_server_transaction_than_the_first_of_its_block(story):
    block = story.block("a", outcome="committed")
    for number, token in enumerate(("w-1", "w-2"), 1):
        story.writes("a", token, block=block)
        story.history.placed[token] = (1, number)
    assert said(story) == [
        ("containment", "a's row w-2 went into another server transaction than w-1 of the same block."),
    ]


def test_a_row_in_a_stranger_s_transaction_says_on_which_connection(story):
    story.writes("a", "w-1", block=story.block("a", outcome="committed"))
    story.writes("b", "w-2")
    story.history.placed.update({"w-1": (3, 7), "w-2": (3, 7)})
    assert said(story) == [
        (
            "containment",
            "b's row w-2 travelled inside the transaction of a (connection 3), to which it does not belong.",
        ),
    ]


# -- errors ----------------------------------------------------------------------------------------------------------


def test_an_internal_error(story):
    story.error(story.ask("a", "read", "n-1"), INTERNAL)
    assert said(story) == [("loudness", "a got an internal error while it tried to read n-1: driver.Error: no")]


@pytest.mark.parametrize("classed", [DOCUMENTED, ABORTED])
def test_a_documented_error_of_an_innocent(story, classed):
    story.error(story.ask("a", "read", "n-1"), classed)
    assert said(story) == [("loudness", "a had done nothing wrong and failed to read n-1: driver.Error: no")]


def test_an_error_from_nowhere_counts_once_for_all_who_saw_it(story):
    error = ErrorRecord("RuntimeError", "no context", INTERNAL, "", 7)
    for name in ("child", "parent"):
        story.session(name, ended="error", error=error)
    story.history.loop_errors.append(error)
    assert said(story) == [
        ("loudness", "child ended with an error that no operation had given: RuntimeError: no context"),
    ]


def test_an_unhandled_error_of_the_loop(story):
    story.history.loop_errors.append(ErrorRecord("AttributeError", "", INTERNAL, "", 3))
    assert said(story) == [("loudness", "the event loop reported an unhandled error: AttributeError")]


def test_the_next_user_s_error(story):
    story.error(story.ask("probe 1", "read", "n-1", after=True))
    assert said(story) == [("recovery", "afterwards the next task failed to read n-1: driver.Error: no")]


# -- cancellation, hangs, claims -------------------------------------------------------------------------------------


def test_a_stray_cancellation(story):
    story.cancelled(story.ask("a", "read", "n-1"))
    story.session("a", ended="cancelled")
    assert said(story) == [("cancellation", "a saw CancelledError, although nobody had cancelled it.")]


def test_a_stray_cancellation_that_was_caught(story):
    story.cancelled(story.ask("a", "read", "n-1"))
    assert said(story) == [
        ("cancellation", "a's read n-1 ended in CancelledError, although nobody had cancelled it."),
    ]


def test_a_cancellation_that_became_an_error_is_that_of_the_operation_under_way(story):
    story.reads("a", "n-1")
    operation = story.error(story.ask("a", "read", "n-2"), INTERNAL)
    story.session("a", cancelled=True, cancelled_in=operation.number, ended="error", error=operation.error)
    assert ("cancellation", "a was cancelled and saw driver.Error: no instead of CancelledError.") in said(story)


def test_a_cancelled_session_that_ended_with_an_error(story):
    story.session("a", cancelled=True, ended="error", error=ErrorRecord("driver.Error", "no", DOCUMENTED, "", 7))
    assert said(story)[0] == (
        "cancellation",
        "a was cancelled and ended with driver.Error: no instead of CancelledError.",
    )


def test_a_swallowed_cancellation(story):
    operation = story.reads("a", "n-1")
    story.session("a", cancelled=True, cancelled_in=operation.number)
    assert said(story) == [("cancellation", "a was cancelled, and its cancellation was swallowed.")]


def test_a_hang_says_who_waits_where(story):
    story.history.hang = {"fact": words("a can never go on: it waits for an answer.")}
    assert said(story) == [("liveness", "a can never go on: it waits for an answer.")]


def test_a_claim_is_repeated_as_it_was_made(story):
    story.claims("recovery", after=True, foreign_state=True)
    (violation,) = story.violations
    assert (violation.sentence, violation.after, violation.foreign_state) == ("so it was seen", True, True)
    assert derive([violation], refused=False) == "breaks"

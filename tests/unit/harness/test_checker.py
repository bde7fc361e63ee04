"""The checker, on histories made by hand: each property violated and not, and the boundaries between the verdicts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from matrix.harness.checker import check
from matrix.harness.history import (
    ABORTED,
    CREATED,
    DOCUMENTED,
    FOUND,
    IGNORED,
    INTERNAL,
    OWN,
    SEEN,
    THE_END,
    UNSEEN,
    ErrorRecord,
    History,
    Iteration,
)
from matrix.harness.sentences import words
from matrix.words import PROPERTIES

from .story import Story


@pytest.fixture
def story() -> Story:
    return Story()


def test_an_empty_history_violates_nothing():
    assert check(History()) == []


def test_nine_properties_are_known():
    assert len(set(PROPERTIES)) == 9


# -- routing ---------------------------------------------------------------------------------------------------------


def test_own_answers_are_routed(story):
    story.reads("a", "n-1")
    assert story.verdict == "safe"


def test_another_task_s_answer_is_a_lie_and_says_whose(story):
    story.reads("b", "n-2")
    story.reads("a", "n-1", result="n-2")
    assert story.verdict == "lies"
    assert story.violations[0].sentence == "a asked for n-1 and was given the answer that b had asked for."


@pytest.mark.parametrize("answer", ["no row", "", "n-99"])
def test_an_answer_that_nobody_asked_for_is_a_lie_too(story, answer):
    story.reads("a", "n-1", result=answer)
    assert story.violated == {"routing"}


def test_a_wrong_answer_to_the_next_user_after_an_error_is_poison(story):
    story.ok(story.ask("a", "read", "n-1"), "n-1")
    story.cancelled(story.ask("a", "read", "n-2"))
    story.session("a", cancelled=True, ended="cancelled")
    story.reads("the next task", "n-3", result="n-2", after=True)
    assert story.verdict == "poisons"


def test_a_wrong_answer_to_the_next_user_without_any_warning_is_a_lie(story):
    story.reads("the next task", "n-3", result="n-2", after=True)
    assert story.verdict == "lies"


def test_a_refused_statement_does_not_count_as_a_warning(story):
    story.error(story.ask("a", "fail"))
    story.reads("the next task", "n-3", result="n-2", after=True)
    assert story.verdict == "lies"


def test_success_of_a_statement_that_the_server_refuses_is_a_lie(story):
    story.ok(story.ask("a", "fail"))
    assert story.verdict == "lies"


def test_the_error_of_a_refused_statement_is_its_own(story):
    story.error(story.ask("a", "fail"))
    assert story.verdict == "safe"


def test_a_stranger_s_error_is_not_a_refusal(story):
    failing = story.ask("a", "fail")
    behind = story.ask("b", "read", "n-1")
    story.error(failing, message="relation no_such_table does not exist")
    story.error(behind, message="relation no_such_table does not exist")
    assert story.verdict not in ("safe", "refuses")


# -- durability and atomicity ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outcome", "stored", "verdict"),
    [
        ("committed", True, "safe"),
        ("committed", False, "lies"),
        ("rolled back", True, "lies"),
        ("rolled back", False, "safe"),
        ("failed", True, "lies"),
        ("failed", False, "safe"),
        ("unknown", True, "safe"),
        ("unknown", False, "safe"),
    ],
)
def test_what_a_transaction_was_told_is_what_is_stored(story, outcome, stored, verdict):
    story.writes("a", "w-1", block=story.block("a", outcome=outcome), stored=stored)
    assert story.verdict == verdict


@pytest.mark.parametrize(
    ("outer", "inner", "stored", "violated"),
    [
        ("committed", "rolled back", True, {"atomicity"}),
        ("committed", "rolled back", False, set()),
        ("rolled back", "committed", True, {"atomicity"}),
        ("rolled back", "committed", False, set()),
        ("committed", "committed", False, {"durability"}),
        ("unknown", "committed", True, set()),
        ("unknown", "rolled back", True, {"atomicity"}),
    ],
)
def test_the_fate_of_an_inner_row_is_that_of_all_blocks_around_it(story, outer, inner, stored, violated):
    around = story.block("a", outcome=outer)
    story.writes("a", "w-1", block=story.block("a", around, inner), stored=stored)
    assert story.violated == violated


def test_a_plain_write_is_durable(story):
    story.writes("a", "w-1", stored=False)
    assert story.violated == {"durability"}


@pytest.mark.parametrize(("stored", "violated"), [(True, {"atomicity"}), (False, set())])
def test_a_write_that_is_told_to_have_failed_is_not_stored(story, stored, violated):
    story.ask("b", "read", "n-1")
    story.error(story.ask("a", "write", "w-1"))
    story.stores(*["w-1"] * stored)
    assert story.violated == violated


def test_a_cancelled_plain_write_may_be_stored_or_not(story):
    story.session("a", cancelled=True, ended="cancelled")
    story.cancelled(story.ask("a", "write", "w-1"))
    assert story.verdict == "safe"
    story.stores("w-1")
    assert story.verdict == "safe"


def test_a_cancelled_write_of_a_rolled_back_transaction_is_not_stored(story):
    story.session("a", cancelled=True, ended="cancelled")
    story.cancelled(story.ask("a", "write", "w-1", block=story.block("a", outcome="rolled back")))
    assert story.verdict == "safe"
    story.stores("w-1")
    assert story.violated == {"atomicity"}


def test_a_transaction_of_unknown_end_is_not_stored_in_part(story):
    block = story.block("a", outcome="unknown")
    story.writes("a", "w-1", block=block)
    story.writes("a", "w-2", block=block, stored=False)
    assert story.violated == {"atomicity"}


def test_a_transaction_of_unknown_end_is_not_stored_without_its_inner_block(story):
    block = story.block("a", outcome="unknown")
    story.writes("a", "w-1", block=block)
    story.writes("a", "w-2", block=story.block("a", block, "committed"), stored=False)
    assert story.violated == {"atomicity"}


def test_an_inner_block_that_was_rolled_back_is_no_part_of_a_transaction_of_unknown_end(story):
    block = story.block("a", outcome="unknown")
    story.writes("a", "w-1", block=block)
    story.writes("a", "w-2", block=story.block("a", block, "rolled back"), stored=False)
    assert story.verdict == "safe"


def test_a_transaction_that_nobody_ended_is_not_stored(story):
    story.history.hang = {"fact": words("a can never go on.")}
    story.writes("a", "w-1", block=story.block("a", outcome="open"))
    assert story.verdict == "lies"


# -- containment -----------------------------------------------------------------------------------------------------


def test_rows_of_one_block_in_one_server_transaction_are_contained(story):
    block = story.block("a", outcome="committed")
    inner = story.block("a", block, "committed")
    for token, within in (("w-1", block), ("w-2", inner)):
        story.writes("a", token, block=within)
        story.history.placed[token] = (1, 1)
    assert story.verdict == "safe"


def test_a_row_outside_of_its_transaction_is_not_contained(story):
    story.writes("a", "w-1", block=story.block("a", outcome="committed"))
    story.history.placed["w-1"] = None
    assert story.violated == {"containment"}


def test_rows_of_one_block_in_two_server_transactions_are_not_contained(story):
    block = story.block("a", outcome="committed")
    story.writes("a", "w-1", block=block)
    story.writes("a", "w-2", block=block)
    story.history.placed.update({"w-1": (1, 1), "w-2": (1, 2)})
    assert story.violated == {"containment"}


@pytest.mark.parametrize("late", [True, False])
def test_a_plain_row_in_a_stranger_s_transaction_is_not_contained(story, late):
    tokens = ["w-1", "w-2"] if late else ["w-2", "w-1"]
    block = story.block("a", outcome="committed")
    for token in tokens:
        story.writes("a" if token == "w-1" else "b", token, block=block if token == "w-1" else None)
    story.history.placed.update({"w-1": (1, 1), "w-2": (1, 1)})
    (violation,) = story.violations
    assert violation.property == "containment"
    assert violation.sentence.startswith("b's row w-2 travelled inside the transaction of a")


def test_two_blocks_in_one_server_transaction_are_not_contained(story):
    for session, token in (("a", "w-1"), ("b", "w-2")):
        story.writes(session, token, block=story.block(session, outcome="committed"))
        story.history.placed[token] = (1, 1)
    assert story.violated == {"containment"}


def test_a_row_that_others_see_too_early_is_not_contained(story):
    story.writes("a", "w-1", block=story.block("a", outcome="committed"))
    story.history.seen_early.add("w-1")
    assert story.violated == {"containment"}


def test_a_refused_row_travels_nowhere(story):
    story.writes("a", "w-1", block=story.block("a", outcome="committed"))
    story.history.placed.update({"w-1": (1, 1), "w-2": (1, 1)})
    story.ask("a", "read", "n-1")
    story.error(story.ask("b", "write", "w-2"))
    assert story.verdict == "refuses"


# -- loudness and refusals -------------------------------------------------------------------------------------------


def test_the_second_of_two_overlapping_operations_is_refused(story):
    first = story.ask("a", "read", "n-1")
    story.error(story.ask("b", "read", "n-2"))
    story.ok(first, "n-1")
    assert story.verdict == "refuses"


def test_the_first_of_two_overlapping_operations_is_innocent(story):
    first = story.ask("a", "read", "n-1")
    second = story.ask("b", "read", "n-2")
    story.error(first)
    story.ok(second, "n-2")
    assert story.verdict == "breaks"


def test_operations_that_follow_each_other_do_not_overlap(story):
    story.reads("a", "n-1")
    story.error(story.ask("b", "read", "n-2"))
    assert story.verdict == "breaks"


def test_operations_on_two_connections_do_not_overlap(story):
    first = story.ask("a", "read", "n-1", scope="c1")
    story.error(story.ask("b", "read", "n-2", scope="c2"))
    story.ok(first, "n-1")
    assert story.verdict == "breaks"


def test_an_operation_whose_answer_never_came_overlaps_all_later_ones(story):
    story.ask("a", "read", "n-1")
    story.error(story.ask("b", "read", "n-2"))
    assert story.verdict == "refuses"


def test_an_internal_error_is_no_refusal_whoever_gets_it(story):
    first = story.ask("a", "read", "n-1")
    story.error(story.ask("b", "read", "n-2"), INTERNAL)
    story.ok(first, "n-1")
    assert story.verdict == "breaks"


def test_misuse_may_be_refused(story):
    story.error(story.ask("a", "write", "w-1", misuse=True))
    assert story.verdict == "refuses"


def test_misuse_may_not_break(story):
    story.error(story.ask("a", "write", "w-1", misuse=True), INTERNAL)
    assert story.verdict == "breaks"


def test_a_program_s_own_error_is_nobody_s_violation(story):
    story.error(story.ask("a", "rollback", block=story.block("a", outcome="rolled back")), OWN)
    assert story.verdict == "safe"


@pytest.mark.parametrize("classed", [DOCUMENTED, ABORTED])
def test_what_follows_a_failure_in_the_same_transaction_is_its_consequence(story, classed):
    block = story.block("a", outcome="failed")
    story.error(story.ask("a", "fail", block=block))
    story.error(story.ask("b", "write", "w-1", block=block), classed)
    assert story.verdict == "safe"


def test_a_failure_in_another_transaction_excuses_nothing(story):
    story.error(story.ask("a", "fail", block=story.block("a", outcome="failed")))
    story.error(story.ask("b", "write", "w-1", block=story.block("b", outcome="failed")))
    assert story.verdict == "breaks"


def test_an_abort_is_a_consequence_of_a_failure_that_came_while_it_waited(story):
    block = story.block("a", outcome="failed")
    waiting = story.ask("b", "read", "n-1", block=block)
    story.error(story.ask("a", "fail", block=block))
    story.error(waiting, ABORTED)
    assert story.verdict == "safe"


def test_any_other_error_is_no_consequence_of_a_failure_that_came_while_it_waited(story):
    block = story.block("a", outcome="failed")
    waiting = story.ask("b", "read", "n-1", block=block)
    story.error(story.ask("a", "fail", block=block))
    story.error(waiting, DOCUMENTED)
    assert story.verdict == "breaks"


def test_an_inner_failure_that_was_rolled_back_excuses_nothing_outside(story):
    outer = story.block("a", outcome="rolled back")
    inner = story.block("a", outer, "rolled back")
    story.error(story.ask("a", "fail", block=inner))
    story.ok(story.ask("a", "rollback", block=inner))
    story.error(story.ask("a", "write", "w-1", block=outer), ABORTED)
    assert story.verdict == "breaks"


def test_a_begin_that_meets_another_task_s_open_transaction_may_be_refused(story):
    first = story.block("a", outcome="committed")
    story.ok(story.ask("a", "begin", block=first))
    story.error(story.ask("b", "begin", block=story.block("b", outcome="never begun")))
    story.ok(story.ask("a", "commit", block=first))
    assert story.verdict == "refuses"


def test_the_first_of_two_interleaved_transactions_is_innocent(story):
    blocks = [story.block(session, outcome="failed") for session in ("a", "b")]
    for block in blocks:
        story.ok(story.ask(block.session, "begin", block=block))
    story.error(story.ask("a", "commit", block=blocks[0]))
    assert story.verdict == "breaks"


def test_a_begin_after_another_task_s_transaction_may_not_be_refused(story):
    first = story.block("a", outcome="committed")
    story.ok(story.ask("a", "begin", block=first))
    story.ok(story.ask("a", "commit", block=first))
    story.error(story.ask("b", "begin", block=story.block("b", outcome="never begun")))
    assert story.verdict == "breaks"


@pytest.mark.parametrize("classed", [INTERNAL, DOCUMENTED])
def test_an_error_that_no_operation_raised_is_not_overlooked(story, classed):
    story.session("a", ended="error", error=ErrorRecord("RuntimeError", "no context", classed, "", 7))
    assert story.verdict == "breaks"


def test_an_error_that_went_through_two_sessions_counts_once(story):
    failed = story.error(story.ask("child", "fail"))
    for name in ("child", "parent"):
        story.session(name, ended="error", error=failed.error)
    assert story.verdict == "safe"


def test_an_unhandled_error_of_the_loop_is_loud(story):
    story.history.loop_errors.append(ErrorRecord("AttributeError", "no", INTERNAL, "", 3))
    assert story.violated == {"loudness"}


@pytest.mark.parametrize("classed", [OWN, DOCUMENTED])
def test_an_error_of_the_loop_that_a_task_was_shown_too_counts_once(story, classed):
    operation = story.error(story.ask("a", "fail"), classed)
    story.history.loop_errors.append(operation.error)
    assert story.verdict == "safe"


def test_an_exhausted_pool_may_say_so(story):
    story.ok(story.ask("a", "acquire", scope="alone 1"))
    story.error(story.ask("b", "acquire", scope="alone 2"))
    assert story.verdict == "refuses"


# -- cancellation ----------------------------------------------------------------------------------------------------


def cancel_in(story: Story, kind: str = "read", nonce: str = "n-1"):
    """``a`` is cancelled while it asks something."""
    operation = story.ask("a", kind, nonce)
    story.session("a", cancelled=True, cancelled_in=operation.number)
    return operation


def test_a_cancelled_task_that_sees_it_is_as_it_should_be(story):
    story.cancelled(cancel_in(story))
    story.session("a", ended="cancelled")
    assert story.verdict == "safe"


@pytest.mark.parametrize("classed", [DOCUMENTED, INTERNAL])
def test_a_cancelled_task_that_sees_an_error_instead(story, classed):
    story.error(cancel_in(story), classed)
    story.session("a", ended="error")
    assert "cancellation" in story.violated
    assert story.verdict == "breaks"


def test_a_swallowed_cancellation(story):
    story.ok(cancel_in(story), "n-1")
    assert story.violated == {"cancellation"}


def test_a_cancellation_that_arrives_one_operation_later_is_not_swallowed(story):
    story.ok(cancel_in(story), "n-1")
    story.session("a", ended="cancelled")
    assert story.verdict == "safe"


def test_a_cancellation_that_a_block_swallows_behind_the_operation(story):
    story.cancelled(cancel_in(story))
    story.session("a", ended="done")
    assert story.violated == {"cancellation"}


def test_a_stray_cancellation(story):
    story.cancelled(story.ask("b", "read", "n-1"))
    story.session("b", ended="cancelled")
    assert story.violated == {"cancellation"}
    assert len(story.violations) == 1


def test_a_stray_cancellation_that_was_caught(story):
    story.cancelled(story.ask("b", "read", "n-1"))
    story.session("b", ended="done")
    assert story.violated == {"cancellation"}


@pytest.mark.parametrize("why", ["cancelled", "timed_out", "grouped"])
def test_whoever_was_asked_to_stop_may_be_cancelled(story, why):
    if why == "grouped":
        story.session("sibling", ended="error", grouped=True)
    story.cancelled(story.ask("b", "read", "n-1"))
    story.session("b", ended="cancelled", **{why: True})
    assert story.verdict == "safe"


def test_a_time_limit_around_a_group_cancels_its_tasks(story):
    story.session("whose time is over", ended="done", timed_out=True)
    story.cancelled(story.ask("b", "read", "n-1"))
    story.session("b", ended="cancelled", grouped=True)
    assert story.verdict == "safe"


def test_a_stray_cancellation_in_a_group_in_which_nobody_failed(story):
    story.session("sibling", ended="done", grouped=True)
    story.cancelled(story.ask("b", "read", "n-1"))
    story.session("b", ended="cancelled", grouped=True)
    assert story.violated == {"cancellation"}


# -- recovery, liveness, claims --------------------------------------------------------------------------------------


def test_a_next_user_who_gets_an_error_finds_no_recovery(story):
    story.error(story.ask("the next task", "read", "n-1", after=True))
    assert story.violated == {"recovery"}
    assert story.verdict == "breaks"


def test_a_hang_is_no_liveness(story):
    story.history.hang = {"fact": words("a can never go on.")}
    assert story.verdict == "hangs"


def test_a_hang_does_not_hide_a_lie(story):
    story.history.hang = {"fact": words("a can never go on.")}
    story.reads("a", "n-1", result="n-2")
    assert story.verdict == "lies"


def test_claims_that_hold_are_no_violations(story):
    story.claims("recovery")
    assert story.verdict == "breaks"
    story.history.claims = [type(each)(each.property, True, each.fact) for each in story.history.claims]
    assert story.verdict == "safe"


@pytest.mark.parametrize(("warned", "verdict"), [(True, "poisons"), (False, "breaks")])
def test_foreign_state_is_poison_if_there_was_a_warning(story, warned, verdict):
    if warned:
        story.session("a", cancelled=True, ended="cancelled")
        story.cancelled(story.ask("a", "read", "n-1"))
    story.claims("recovery", after=True, foreign_state=True)
    assert story.verdict == verdict


def test_an_error_that_comes_later_does_not_soften_what_was_claimed_before(story):
    story.claims("containment", after=True)
    story.error(story.ask("the next task", "read", "n-1", after=True))
    assert story.verdict == "lies"


# -- results, settings, and connections that the program has ended ---------------------------------------------------


def test_a_result_that_ends_too_early_is_a_lie(story):
    story.reads("a", "n-1", result=THE_END)
    story.reads("a", THE_END)
    assert story.verdict == "lies"
    assert story.violations[0].sentence == "a asked for n-1 and was given 'the end'."


def test_a_row_behind_the_end_is_a_lie(story):
    story.reads("a", THE_END, result="n-1")
    assert story.violated == {"routing"}


def test_whoever_asks_while_another_iterates_is_the_offender(story):
    story.reads("a", "n-1")
    story.history.iterations.append(Iteration("a", "c1", story.now - 1))
    story.error(story.ask("b", "read", "n-2"))
    assert story.verdict == "refuses"


@pytest.mark.parametrize(
    "iteration", [Iteration("b", "c1", 1), Iteration("a", "c2", 1), Iteration("a", "c1", 1, ended=2)]
)
def test_one_s_own_another_connection_s_or_a_past_iteration_excuses_nobody(story, iteration):
    story.reads("a", "n-1")
    story.history.iterations.append(iteration)
    story.error(story.ask("b", "read", "n-2"))
    assert story.violated == {"loudness"}


@pytest.mark.parametrize(("boundary", "violated"), [("begins", {"loudness"}), ("ends", set())])
def test_an_iteration_is_marked_by_the_number_of_the_event_before(story, boundary, violated):
    """The same number twice: the operation was issued just before the iteration began, or just before it ended."""
    story.reads("a", "n-1")
    asked = story.ask("b", "read", "n-2")
    began, ended = (story.now, 0) if boundary == "begins" else (story.now - 1, story.now)
    story.history.iterations.append(Iteration("a", "c1", began, ended))
    story.error(asked)
    assert story.violated == violated


def test_a_setting_that_another_left_behind_is_foreign_state_and_says_whose(story):
    story.ok(story.ask("a", "set", "77"))
    story.ok(story.ask("b", "probe", "unset"), "77")
    assert (story.verdict, story.violated) == ("poisons", {"recovery"})
    assert "'77' that a had left behind" in story.violations[0].sentence


def test_an_unchanged_setting_is_fine(story):
    story.ok(story.ask("b", "probe", "unset"), "unset")
    assert story.verdict == "safe"


@pytest.mark.parametrize("scope", ["c1", None])
def test_a_documented_error_on_a_connection_that_the_program_has_ended_is_a_refusal(story, scope):
    waiting = story.ask("a", "read", "n-1")
    story.history.ended[scope] = story.now
    story.error(waiting)
    assert story.verdict == "refuses"


def test_the_end_of_a_connection_excuses_no_other_and_nothing_before(story):
    story.error(story.ask("a", "read", "n-1"))
    story.history.ended["c1"] = story.now + 1
    story.error(story.ask("b", "read", "n-2", scope="c2"))
    assert [violation.property for violation in story.violations] == ["loudness", "loudness"]


def test_the_end_of_a_connection_excuses_no_internal_error_and_no_next_user(story):
    story.history.ended[None] = story.now
    story.error(story.ask("a", "read", "n-1"), INTERNAL)
    story.error(story.ask("the next task", "read", "n-2", after=True))
    assert story.violated == {"loudness", "recovery"}


# -- several rows by one operation -----------------------------------------------------------------------------------


def bulk(story, *tokens, **fields):
    return story.ask("a", "write", tokens[0], rows=tokens, **fields)


def test_every_row_of_a_bulk_insert_counts(story):
    story.ok(bulk(story, "w-1", "w-2"))
    story.stores("w-1")
    assert story.violated == {"durability"}
    assert "w-2" in story.violations[0].sentence


def test_no_row_of_a_failed_bulk_insert_is_stored(story):
    story.error(bulk(story, "w-1", "w-2"))
    story.stores("w-2")
    assert "atomicity" in story.violated


@pytest.mark.parametrize(("stored", "violated"), [((), set()), (("w-1",), {"atomicity"}), (("w-1", "w-2"), set())])
def test_a_cancelled_bulk_insert_is_stored_whole_or_not_at_all(story, stored, violated):
    story.session("a", cancelled=True, ended="cancelled")
    story.cancelled(bulk(story, "w-1", "w-2"))
    story.stores(*stored)
    assert story.violated == violated


def test_tokens_are_those_of_all_rows(story):
    story.ok(bulk(story, "w-1", "w-2"))
    story.ok(story.ask("a", "ensure", "w-3"), CREATED)
    story.reads("a", "n-1")
    assert story.history.tokens() == ["w-1", "w-2", "w-3"]


# -- get_or_create ---------------------------------------------------------------------------------------------------


def ensures(story, session, result, **fields):
    return story.ok(story.ask(session, "ensure", "w-1", scope=session, **fields), result)


def test_one_creates_the_others_find(story):
    story.stores("w-1")
    for session, result in (("a", CREATED), ("b", FOUND), ("c", FOUND)):
        ensures(story, session, result)
    assert story.verdict == "safe"


def test_two_who_were_told_that_they_created_one_row(story):
    story.stores("w-1")
    ensures(story, "a", CREATED)
    ensures(story, "b", CREATED)
    assert story.violations[0].sentence == "a and b were each given row w-1 as created by their own call."


def test_a_row_that_was_got_is_there(story):
    ensures(story, "a", FOUND)
    assert story.violated == {"durability"}


def test_a_row_that_nobody_created_is_not_there(story):
    story.stores("w-1")
    ensures(story, "a", FOUND)
    assert story.violated == {"atomicity"}


@pytest.mark.parametrize("outcome", ["cancelled", "unknown block"])
def test_who_never_heard_may_have_created_it(story, outcome):
    story.stores("w-1")
    if outcome == "cancelled":
        story.session("b", cancelled=True, ended="cancelled")
        story.cancelled(story.ask("b", "ensure", "w-1", scope="b"))
    else:
        ensures(story, "b", CREATED, block=story.block("b", outcome="unknown"))
    ensures(story, "a", FOUND)
    assert story.verdict == "safe"


def test_who_is_still_at_it_may_have_created_it(story):
    story.stores("w-1")
    story.ask("b", "ensure", "w-1", scope="b")
    ensures(story, "a", FOUND)
    assert story.violated == set()


def test_a_creation_that_was_rolled_back_and_is_there_all_the_same(story):
    story.stores("w-1")
    ensures(story, "a", CREATED, block=story.block("a", outcome="rolled back"))
    assert story.violated == {"atomicity"}


def test_an_update_that_was_told_and_not_done(story):
    story.stores("w-1")
    ensures(story, "a", CREATED)
    ensures(story, "b", IGNORED)
    assert story.violated == {"durability"}


# -- counters --------------------------------------------------------------------------------------------------------


def increments(story, session, taken, outcome="committed"):
    block = story.block(session, outcome=outcome)
    story.ok(story.ask(session, "take", "c-1", block=block, scope=session), taken)
    return story.ok(story.ask(session, "put", "c-1", block=block, scope=session))


@pytest.mark.parametrize(("after", "violated"), [(1, {"durability"}), (2, set()), (3, {"atomicity"})])
def test_a_counter_goes_up_by_what_was_told(story, after, violated):
    increments(story, "a", 0)
    increments(story, "b", 1)
    story.history.counters["c-1"] = 0, after
    assert story.violated == violated


def test_a_lost_update_names_who_read_the_same(story):
    increments(story, "a", 0)
    increments(story, "b", 0)
    story.history.counters["c-1"] = 0, 1
    assert story.violations[0].sentence.endswith("it went from 0 to 1. a and b both read 0.")


def test_a_lost_update_of_two_who_read_different_values_names_nobody(story):
    increments(story, "a", 0)
    increments(story, "b", 1)
    story.history.counters["c-1"] = 0, 1
    assert story.violations[0].sentence.endswith("it went from 0 to 1.")


@pytest.mark.parametrize(("outcome", "after", "violated"), [
    ("unknown", 0, set()),
    ("unknown", 1, set()),
    ("unknown", 2, {"atomicity"}),
    ("rolled back", 0, set()),
    ("rolled back", 1, {"atomicity"}),
])  # fmt: skip
def test_an_increment_of_unknown_end_may_count(story, outcome, after, violated):
    increments(story, "a", 0, outcome)
    story.history.counters["c-1"] = 0, after
    assert story.violated == violated


def test_a_counter_that_nobody_counted_stays(story):
    story.history.counters["c-1"] = 0, 1
    assert story.violated == {"atomicity"}


# -- what is seen of others' rows ------------------------------------------------------------------------------------


def asks_visibility(story, session, result, **fields):
    return story.ok(story.ask(session, "look", "w-1", **{"scope": session, **fields}), result)


@pytest.mark.parametrize(("result", "violated"), [(SEEN, {"containment"}), (UNSEEN, set())])
def test_nobody_sees_a_row_before_its_commit(story, result, violated):
    block = story.block("a", outcome="committed")
    story.writes("a", "w-1", block=block)
    asks_visibility(story, "b", result)
    story.ok(story.ask("a", "commit", block=block))
    assert story.violated == violated


@pytest.mark.parametrize("result", [SEEN, UNSEEN])
def test_while_the_commit_is_under_way_both_may_be(story, result):
    block = story.block("a", outcome="committed")
    story.writes("a", "w-1", block=block)
    commit = story.ask("a", "commit", block=block)
    asks_visibility(story, "b", result)
    story.ok(commit)
    assert story.verdict == "safe"


@pytest.mark.parametrize(("result", "violated"), [(SEEN, set()), (UNSEEN, {"durability"})])
def test_everybody_sees_a_row_after_its_commit(story, result, violated):
    block = story.block("a", outcome="committed")
    story.writes("a", "w-1", block=block)
    story.ok(story.ask("a", "commit", block=block))
    asks_visibility(story, "b", result)
    assert story.violated == violated


def test_who_began_before_the_commit_may_go_on_seeing_the_old_state(story):
    """Repeatable read."""
    block = story.block("a", outcome="committed")
    story.writes("a", "w-1", block=block)
    story.ok(story.ask("a", "commit", block=block))
    asks_visibility(story, "b", UNSEEN, block=story.block("b", outcome="committed"))
    assert story.verdict == "safe"


def test_a_row_that_was_rolled_back_is_never_seen(story):
    block = story.block("a", outcome="rolled back")
    story.writes("a", "w-1", block=block, stored=False)
    story.ok(story.ask("a", "rollback", block=block))
    asks_visibility(story, "b", SEEN)
    assert story.violated == {"containment"}


@pytest.mark.parametrize(("result", "violated"), [(SEEN, set()), (UNSEEN, {"containment"})])
def test_a_transaction_sees_its_own_rows(story, result, violated):
    block = story.block("a", outcome="committed")
    story.writes("a", "w-1", block=block)
    asks_visibility(story, "a", result, block=block)
    story.ok(story.ask("a", "commit", block=block))
    assert story.violated == violated


def test_a_transaction_need_not_see_what_it_is_still_writing(story):
    block = story.block("a", outcome="committed")
    write = story.ask("a", "write", "w-1", block=block)
    asks_visibility(story, "a", UNSEEN, block=block)
    story.ok(write)
    story.stores("w-1")
    assert story.violated == set()


def test_a_row_outside_of_any_transaction_is_seen_when_it_was_told(story):
    story.writes("a", "w-1")
    asks_visibility(story, "b", UNSEEN)
    assert story.violated == {"durability"}


def test_and_it_may_be_seen_before(story):
    write = story.ask("a", "write", "w-1", scope="a")
    asks_visibility(story, "b", SEEN)
    story.ok(write)
    story.stores("w-1")
    assert story.verdict == "safe"


def test_a_row_whose_write_was_cancelled_outside_of_any_transaction_need_not_be_seen(story):
    story.session("a", cancelled=True, ended="cancelled")
    story.cancelled(story.ask("a", "write", "w-1", scope="a"))
    asks_visibility(story, "b", UNSEEN)
    assert story.verdict == "safe"


def test_a_row_whose_commit_was_cancelled_need_not_be_seen(story):
    block = story.block("a", outcome="unknown")
    story.session("a", cancelled=True, ended="cancelled")
    story.writes("a", "w-1", block=block, stored=False)
    story.cancelled(story.ask("a", "commit", block=block))
    asks_visibility(story, "b", UNSEEN)
    assert story.verdict == "safe"


def test_a_transaction_does_not_see_what_it_has_rolled_back_in_an_inner_block(story):
    outer = story.block("a", outcome="committed")
    inner = story.block("a", outer, "rolled back")
    story.writes("a", "w-1", block=inner, stored=False)
    story.ok(story.ask("a", "rollback", block=inner))
    asks_visibility(story, "a", UNSEEN, block=outer)
    assert story.verdict == "safe"


# -- closing, and a database that is not there -----------------------------------------------------------------------


def test_a_query_under_which_everything_was_closed_may_be_refused(story):
    query = story.ask("a", "read", "n-1", scope="a")
    story.ok(story.ask("b", "close", scope="b"))
    story.error(query)
    assert story.verdict == "refuses"


def test_so_may_a_later_statement_of_a_transaction_that_was_open(story):
    block = story.block("a", outcome="failed")
    story.ok(story.ask("a", "begin", block=block, scope="a"))
    story.ok(story.ask("b", "close", scope="b"))
    story.error(story.ask("a", "write", "w-1", block=block, scope="a"))
    assert story.verdict == "refuses"


def test_a_query_after_the_closing_is_served(story):
    story.ok(story.ask("b", "close", scope="b"))
    story.error(story.ask("a", "read", "n-1", scope="a"))
    assert story.violated == {"loudness"}


def test_an_internal_error_is_no_refusal_when_everything_was_closed(story):
    query = story.ask("a", "read", "n-1", scope="a")
    story.ok(story.ask("b", "close", scope="b"))
    story.error(query, INTERNAL)
    assert story.verdict == "breaks"


def test_a_database_that_is_not_there_is_nobody_s_offence(story):
    query = story.ask("a", "read", "n-1", scope="a")
    story.history.out_of_reach.append([0, story._tick()])
    story.error(query)
    assert story.verdict == "safe"


def test_as_soon_as_it_is_there_again_it_is(story):
    story.history.out_of_reach.append([0, story._tick()])
    story.error(story.ask("a", "read", "n-1", scope="a"))
    assert story.violated == {"loudness"}


def test_while_it_stays_away_everybody_may_be_told_so(story):
    story.history.out_of_reach.append([story.now, 0])
    story._tick()
    story.error(story.ask("a", "read", "n-1", scope="a"))
    assert story.verdict == "safe"


def test_an_operation_that_was_issued_just_before_it_came_back_may_be_told_so(story):
    """The moments of an absence are the numbers of the events before them."""
    story.history.out_of_reach.append([0, 0])
    query = story.ask("a", "read", "n-1", scope="a")
    story.history.out_of_reach[0][1] = story.now
    story.error(query)
    assert story.verdict == "safe"


def test_an_error_just_before_it_went_away_is_none_of_that(story):
    story.error(story.ask("a", "read", "n-1", scope="a"))
    story.history.out_of_reach.append([story.now, 0])
    assert story.violated == {"loudness"}


def test_a_transaction_under_which_it_went_away_and_came_back_may_be_told_later(story):
    block = story.block("a", outcome="failed")
    story.ok(story.ask("a", "begin", block=block, scope="a"))
    story.history.out_of_reach.append([story.now, story.now])
    story.error(story.ask("a", "write", "w-1", block=block, scope="a"))
    assert story.verdict == "safe"


@pytest.mark.parametrize("scope", ["c1", None])
def test_an_error_just_before_the_program_ended_the_connection_is_none_of_that(story, scope):
    story.error(story.ask("a", "read", "n-1"))
    story.history.ended[scope] = story.now
    assert story.violated == {"loudness"}


@pytest.mark.parametrize(
    ("empty", "type", "word"),
    [(True, "RuntimeError", "refuses"), (False, "RuntimeError", "breaks"), (True, "driver.Error", "breaks")],
)
def test_who_asks_where_nothing_is_initialised_may_be_told_so(story, empty, type, word):
    """CTX-31: a task in an empty context, which require_context() refuses as it documents."""
    story.session("request", empty=empty)
    asked = story.error(story.ask("request", "write", "w-1"))
    asked.error = replace(asked.error, type=type)
    assert story.verdict == word


# -- who waits for a task that failed ---------------------------------------------------------------------------------


def failed_before_it_told(story, classed=DOCUMENTED):
    """A task that fails, and another one that waits for what it would have said."""
    operation = story.error(story.ask("a", "write", "w-1"), classed)
    story.session("a", ended="error", error=operation.error)
    story.session("b", ended="running")
    story.history.hang = {"fact": words("b can never go on.")}
    return operation


def test_a_wait_for_a_task_that_failed_is_the_program_s_own(story):
    failed_before_it_told(story, INTERNAL)
    assert story.violated == {"loudness"}
    assert story.verdict == "breaks"


def test_who_waits_for_the_database_hangs_whoever_failed(story):
    failed_before_it_told(story, INTERNAL)
    story.ask("b", "read", "n-1")
    assert story.violated == {"loudness", "liveness"}


def test_who_waits_for_a_task_that_fails_on_purpose_hangs(story):
    failed_before_it_told(story, OWN)
    assert "liveness" in story.violated


def test_a_next_user_who_can_never_go_on_is_no_task_of_the_program(story):
    failed_before_it_told(story, INTERNAL)
    story.session("b", ended="done")
    assert "liveness" in story.violated


def test_a_user_s_tasks_that_wait_for_one_another_are_a_finding_however_they_came_to_it(story):
    story.history.of_a_user = True
    failed_before_it_told(story)
    assert "liveness" in story.violated

"""What a lost connection leaves behind: transactions in doubt, and tasks that never get over it."""

from __future__ import annotations

import dataclasses

import pytest

from matrix.harness.checker import check, refusals
from matrix.harness.doubt import answer_lost, in_doubt, permanent
from matrix.harness.excuses import entitled, expected
from matrix.harness.history import (
    ABORTED,
    DOCUMENTED,
    IN_DOUBT,
    INTERNAL,
    Block,
    ErrorRecord,
    History,
    Operation,
    SessionRecord,
)
from matrix.harness.verdict import derive

ERROR = ErrorRecord("driver.Error", "the connection was lost", DOCUMENTED, "", 1)
ROWS = ("w-1", "w-2")


def lost_in_commit(*stored: str, loss: int = 8, outcome: str = IN_DOUBT) -> History:
    """A transaction of two rows whose commit (asked at 7, told at 9) ends in an error; the connection is lost at
    ``loss``."""
    history = History(sessions={"victim": SessionRecord("victim", "A", "done")}, losses=[(loss, 1)])
    history.blocks = [Block(1, "victim", None, "victim's transaction 1", outcome, ERROR)]
    for number, (kind, started) in enumerate((("begin", 1), ("write", 3), ("write", 5), ("commit", 7)), 1):
        row = ROWS[number - 2] if kind == "write" else ""
        asks = {"kind": kind, "row": row}
        operation = Operation(number, "victim", kind, asks, 1, "transaction 1", row, started=started, ended=started + 2)
        operation.outcome, operation.error = ("error", ERROR) if kind == "commit" else ("ok", None)
        history.operations.append(operation)
    history.out_of_reach = [[loss, loss]]
    history.stored = frozenset(stored)
    return history


@pytest.mark.parametrize("stored", [(), ROWS], ids=["nothing", "all"])
def test_in_doubt_all_or_nothing_may_be_stored(stored):
    history = lost_in_commit(*stored)
    assert check(history) == []
    assert derive([], refused=bool(refusals(history))) == "safe"


def test_in_doubt_is_no_excuse_for_a_part():
    (found,) = check(lost_in_commit("w-1"))
    assert (found.property, found.fact["kind"]) == ("atomicity", "in_part")


def test_a_commit_that_failed_without_a_loss_is_not_stored():
    found = check(lost_in_commit(*ROWS, outcome="failed"))
    assert {each.fact["kind"] for each in found} == {"row_stored"}


@pytest.mark.parametrize(("loss", "kinds"), [(2, set()), (8, set()), (20, {"row_stored"})])
def test_a_write_of_its_own_is_in_doubt_only_where_the_loss_came_before_its_error(loss, kinds):
    history = History(sessions={"victim": SessionRecord("victim", "A", "done")}, losses=[(loss, 1)])
    write = Operation(1, "victim", "write", {"kind": "write", "row": "w-1"}, None, "alone 1", "w-1", started=1, ended=9)
    write.outcome, write.error = "error", ERROR
    history.operations, history.stored, history.out_of_reach = [write], frozenset({"w-1"}), [[loss, loss]]
    assert {each.fact["kind"] for each in check(history)} - {"innocent_error"} == kinds


def failing(outcomes: str, *, lost: int) -> History:
    """A task that asks one thing after the other behind a loss of so many connections; ``x``: it fails."""
    history = History(sessions={"task": SessionRecord("task", "A", "done")}, losses=[(1, lost)])
    history.out_of_reach = [[1, 1]]
    for number, outcome in enumerate(outcomes, 1):
        at = 2 * number
        read = Operation(number, "task", "read", {"kind": "read", "row": "n-1"}, None, f"alone {number}", "n-1")
        read.started, read.ended, read.outcome, read.result = at, at + 1, "ok", "n-1"
        if outcome == "x":
            read.outcome, read.error, read.result = "error", ERROR, None
        history.operations.append(read)
    return history


@pytest.mark.parametrize(("outcomes", "lost", "innocent"), [("xo", 1, 0), ("xxo", 1, 1), ("xxo", 2, 0), ("oxx", 1, 1)])
def test_a_dead_connection_excuses_one_refused_operation(outcomes, lost, innocent):
    assert len(check(failing(outcomes, lost=lost))) == innocent


def test_who_fails_for_ever_is_told_apart():
    found = check(failing("xxxx", lost=1))
    assert [each.fact.get("more") for each in found] == [2, None, None]
    assert found[0].sentence.endswith("so did all that it asked from then on (2 more)")
    assert "from then on" not in check(failing("xxxo", lost=1))[0].sentence


def orphaned(outcome: str, stored: bool) -> History:
    """A transaction with a row that may not be committed."""
    history = lost_in_commit(
        *(ROWS if stored else ()), loss=99, outcome="failed" if outcome == "error" else "committed"
    )
    history.operations[2].kind = "orphan"
    commit = history.operations[3]
    commit.outcome, commit.error = outcome, ERROR if outcome == "error" else None
    return history


def test_a_commit_that_had_to_be_refused_is_no_refusal():
    history = orphaned("error", stored=False)
    assert check(history) == []
    assert refusals(history) == []
    assert derive([], refused=False) == "safe"


def test_a_commit_that_had_to_be_refused_and_was_told_to_have_worked_is_a_lie():
    assert {each.fact["kind"] for each in check(orphaned("ok", stored=False))} == {"row_lost"}


def test_another_transactions_commit_is_not_excused_by_the_orphan():
    history = orphaned("error", stored=False)
    history.operations[2].block = None
    assert {each.fact["kind"] for each in check(history)} == {"innocent_error"}


@pytest.mark.parametrize(("loss", "lost"), [(6, False), (7, True), (8, True), (9, False)])
def test_an_answer_is_lost_between_the_question_and_the_error(loss, lost):
    history = lost_in_commit(loss=loss)
    assert in_doubt(history, history.operations[3]) is lost
    assert answer_lost(history, history.blocks[0]) is lost


def test_nothing_is_in_doubt_that_was_answered_or_never_asked():
    history = lost_in_commit()
    history.operations[3].outcome = "ok"
    assert not answer_lost(history, history.blocks[0])
    history.operations.pop()
    assert not answer_lost(history, history.blocks[0])


def test_who_fails_for_ever_is_judged_by_what_it_asks_itself():
    history = failing("xxx", lost=1)
    other = dataclasses.replace(history.operations[2], session="other", outcome="ok", error=None, result="n-1")
    history.operations.append(other)
    assert permanent(history, history.operations[0]) == 2
    history.operations[2].error = dataclasses.replace(ERROR, classed=ABORTED)
    assert permanent(history, history.operations[0]) == 2
    history.operations[2].error = dataclasses.replace(ERROR, classed=INTERNAL)
    assert permanent(history, history.operations[0]) == 0


def test_one_thing_that_works_later_is_enough():
    history = failing("xxxx", lost=1)
    assert permanent(history, history.operations[0]) == 3
    history.operations[2].outcome, history.operations[2].error, history.operations[2].result = "ok", None, "n-1"
    assert permanent(history, history.operations[0]) == 0


@pytest.mark.parametrize(("classed", "refused"), [(DOCUMENTED, True), (ABORTED, True), (INTERNAL, False)])
def test_a_refusal_is_documented_and_of_the_program(classed, refused):
    history = failing("x", lost=0)
    history.losses.clear()
    history.operations[0].error = dataclasses.replace(ERROR, classed=classed)
    assert bool(refusals(history)) is refused
    history.operations[0].after = True
    assert refusals(history) == []


def test_a_rollback_that_works_is_no_way_out():
    history = failing("xxxo", lost=1)
    history.operations[3].kind = "rollback"
    assert permanent(history, history.operations[0]) == 2


def test_an_orphan_that_was_refused_at_once_excuses_no_commit():
    history = orphaned("error", stored=False)
    assert expected(history, history.operations[3])
    history.operations[2].outcome, history.operations[2].error = "error", ERROR
    assert not expected(history, history.operations[3])


def test_a_write_inside_a_transaction_that_is_told_committed_is_not_in_doubt_by_itself():
    history = lost_in_commit(*ROWS, loss=4, outcome="committed")
    history.operations[3].outcome, history.operations[3].error = "ok", None
    history.operations[1].outcome, history.operations[1].error = "error", ERROR
    assert {each.fact["kind"] for each in check(history)} == {"row_stored"}


def test_an_increment_of_its_own_whose_answer_was_lost_may_count():
    history = History(sessions={"victim": SessionRecord("victim", "A", "done")}, losses=[(2, 1)], out_of_reach=[[2, 2]])
    put = Operation(1, "victim", "put", {"kind": "count_up", "row": "c-1"}, None, "alone 1", "c-1", started=1, ended=3)
    put.outcome, put.error = "error", ERROR
    history.operations, history.counters = [put], {"c-1": (0, 1)}
    assert check(history) == []


@pytest.mark.parametrize(("caught", "found"), [(True, []), (False, ["swallowed"])])
def test_who_catches_its_cancellation_has_not_swallowed_it(caught, found):
    history = failing("oo", lost=0)
    history.operations[0].outcome = "cancelled"
    history.sessions["task"] = SessionRecord("task", "A", "done", cancelled=True, cancelled_in=1, caught=caught)
    assert [each.fact["kind"] for each in check(history)] == found


def test_what_only_follows_from_a_failure_uses_no_excuse_up():
    history = failing("xxx", lost=2)
    history.blocks = [Block(1, "task", None, "task's transaction 1", "failed", ERROR)]
    for operation in history.operations[:2]:
        operation.block = 1
    assert entitled(history, history.operations[2])
    history.operations[1].block = None
    assert not entitled(history, history.operations[2])


def test_only_what_the_program_was_told_behind_the_loss_uses_an_excuse_up():
    history = failing("xx", lost=1)
    assert not entitled(history, history.operations[1])
    history.operations[0].after = True
    assert entitled(history, history.operations[1])
    history.operations[0].after = False
    history.losses = [(3, 1)]
    assert entitled(history, history.operations[1])


def test_who_was_under_way_when_the_connection_was_lost_may_find_it_dead():
    history = failing("x", lost=1)  # asked at 2
    history.losses, history.out_of_reach = [(2, 1)], []
    assert entitled(history, history.operations[0])
    history.losses = [(3, 1)]
    assert not entitled(history, history.operations[0])


def test_what_follows_from_a_failure_uses_no_excuse_up_where_it_was_asked_as_the_connection_was_lost():
    history = failing("xxx", lost=1)
    history.losses, history.out_of_reach = [(4, 1)], []
    history.blocks = [Block(1, "task", None, "task's transaction 1", "failed", ERROR)]
    history.operations[0].block = history.operations[1].block = 1
    assert entitled(history, history.operations[2])
    history.operations[1].block = None  # it stands for itself, and has used it up
    assert not entitled(history, history.operations[2])


def test_a_row_may_have_been_created_by_who_never_heard_of_it():
    history = failing("x", lost=1)
    history.operations[0].kind, history.operations[0].nonce = "ensure", "w-1"
    history.stored = frozenset({"w-1"})
    assert {each.fact["kind"] for each in check(history)} == {"not_created"}
    history.losses = [(2, 1)]
    assert check(history) == []


@pytest.mark.parametrize("kind", ["acquire", "close"])
def test_a_pool_may_say_that_it_is_exhausted_or_in_use(kind):
    history = failing("x", lost=0)
    history.losses.clear()
    history.out_of_reach.clear()
    history.operations[0].kind = kind
    assert entitled(history, history.operations[0])


@pytest.mark.parametrize(
    ("fails", "changes", "excused"),
    [
        (True, {}, True),
        (False, {}, False),
        (True, {"kind": "write"}, False),
        (True, {"scope": "another"}, False),
        (True, {"started": 1}, False),  # before the transaction
        (True, {"started": 8}, False),  # the commit is not the later one
    ],
)
def test_a_commit_may_be_refused_behind_a_result_that_was_left_before_its_error(fails, changes, excused):
    history = lost_in_commit(loss=99, outcome="failed")
    history.losses.clear()
    history.out_of_reach.clear()
    begin, left, _, commit = history.operations
    begin.started = 2
    left.kind, left.asks = "read", {"kind": "fetch", "row": "n-1", "fails": fails}
    for name, value in changes.items():
        setattr(left, name, value)
    assert entitled(history, commit) is excused
    commit.kind = "rollback"
    assert not entitled(history, commit)
    commit.kind, begin.block = "commit", None
    assert not entitled(history, commit)

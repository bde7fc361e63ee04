"""Which scenario a history looks like: each rule by a history of its own, and the same without what it looks for."""

from __future__ import annotations

import json

import pytest

from matrix.check.pattern import MEASURED, TITLES, like, scenario_of
from matrix.harness.scenario import catalogue


class Story:
    """A history as the evidence has it, written by hand."""

    def __init__(self):
        self.history, self.blocks, self.steps, self.count = [], [], [], 0

    def _line(self, session, event, what="", block=None, operation=None, error=None, **fact):
        line = {"n": len(self.history) + 1, "session": session, "event": event, "operation": operation}
        self.history.append({**line, "what": what, "block": block, "error": error, "fact": fact})

    def asks(self, session, what, block=None, **fact):
        """An operation begins; returns its number."""
        self.count += 1
        self._line(session, "invoke", what, block, self.count, **fact)
        return self.count

    def ok(self, session, what, block=None, **fact):
        self._line(session, "ok", what, block, self.asks(session, what, block, **fact))

    def fails(self, session, what, block, error, message="", **fact):
        number = self.asks(session, what, block, **fact)
        self._line(session, "error", what, block, number, {"type": error, "message": message})

    def cancelled(self, session):
        self._line(session, "cancelled", kind="cancelled")

    def begins(self, session, name, parent=None):
        self.blocks.append({"number": len(self.blocks) + 1, "name": name, "parent": parent})
        self.ok(session, "begin", name)

    def raises(self, session):
        """An error of the program's own: a step, in the numbering of the history."""
        self._line(session, "note")
        self.steps.append({"at": len(self.history), "fact": {"kind": "raised", "session": session}})

    @property
    def evidence(self):
        return {"history": self.history, "blocks": self.blocks, "steps": self.steps}

    def like(self, *found):
        return scenario_of(self.evidence, frozenset(found))


@pytest.fixture
def story():
    made = Story()
    made.begins("a", "outer")
    return made


def test_a_block_and_what_stays_in_it_is_like_nothing(story):
    story.ok("a", "query", "outer", text="INSERT INTO x")
    story.ok("a", "commit", "outer")
    assert story.like() is None
    assert Story().like() is None


@pytest.mark.parametrize(
    ("what", "found", "scenario"),
    [("query", (), "CTX-1"), ("query", ("travelled",), "CTX-3"), ("begin", ("travelled",), "CTX-2")],
)
def test_late(story, what, found, scenario):
    story.ok("b", what, None, late=True)
    assert story.like(*found) == scenario


def test_under_way_when_the_block_ends(story):
    number = story.asks("b", "query", "outer")
    story.asks("a", "commit", "outer")
    assert story.like() is None
    story._line("b", "ok", "query", "outer", number)
    assert story.like() == "CTX-1"


@pytest.mark.parametrize(
    ("fact", "block", "scenario"),
    [
        ({"text": "CREATE TABLE x"}, "outer", "TXN-26"),
        ({"text": "SELECT 1", "script": True}, "outer", "TXN-26"),
        ({"text": "alter table x"}, "inner", "NST-19"),
        ({"text": "SELECT 1"}, "outer", None),
        ({"text": "CREATE TABLE x"}, None, None),
        ({"text": "SELECT 1", "plain": True}, "outer", "TXN-14"),
    ],
)
def test_statements_by_what_they_are(story, fact, block, scenario):
    story.begins("a", "inner", 1)
    story.ok("a", "query", block, **fact)
    assert story.like() == scenario


def test_blocks_of_other_tasks(story):
    story.begins("b", "first", 1)
    assert story.like() == "NST-4"
    story.begins("c", "second", 1)
    assert story.like() == "NST-3"


def test_one_of_two_siblings_fails_by_an_error_of_its_own_and_not_by_an_answer(story):
    """What a driver answers, at RELEASE say, is what comes of the siblings: none of them has failed."""
    story.begins("b", "first", 1)
    story.begins("c", "second", 1)
    story.fails("c", "commit", "second", "OperationalError", "no such savepoint")
    story.fails("b", "query", "first", "OperationalError")
    story.ok("b", "rollback", "first")
    assert story.like() == "NST-3"
    story.raises("a")
    assert story.like() == "NST-3", "the parent has"
    story.raises("c")
    story.ok("c", "rollback", "second")
    assert story.like() == "NST-5"


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("own", [False, True])
def test_gather_ends_at_the_first_error_and_the_block_beside_the_others(story, own, late):
    number = story.asks("b", "query", "outer")
    if late:
        story._line("b", "ok", "query", "outer", number)
    if own:
        story.raises("c")
    else:
        story.fails("c", "query", "outer", "IntegrityError")
    story.ok("a", "rollback", "outer")
    if late:
        story.ok("b", "query", None, late=True)
    assert story.like() == "CTX-14"


@pytest.mark.parametrize(
    ("why", "scenario"),
    [
        ("nobody failed", None),
        ("the parent failed", None),
        ("cancelled", "CTX-4"),
        ("waited for", None),
        ("by hand", None),
    ],
)
def test_a_block_that_rolls_back_for_another_reason(story, why, scenario):
    number = story.asks("b", "query", "outer")
    if why == "waited for":
        story._line("b", "ok", "query", "outer", number)
    if why == "cancelled":
        story.cancelled("b")
    if why != "nobody failed":
        story.raises("a" if why == "the parent failed" else "c")
    story.ok("a", "rollback", "outer", by_hand=why == "by hand")
    assert story.like() == scenario


@pytest.mark.parametrize(
    ("session", "what", "block", "scenario"),
    [
        ("a", "begin", "inner", "TXN-20"),
        ("a", "query", "outer", "TXN-5"),
        ("b", "query", "outer", "CTX-4"),
        ("a", "commit", "outer", "TXN-6"),
        ("a", "rollback", "inner", "NST-14"),
        ("a", "query", None, None),
    ],
)
def test_cancelled(story, session, what, block, scenario):
    story.begins("a", "inner", 1)
    number = story.asks(session, what, block)
    story.cancelled(session)
    story._line(session, "cancelled", what, block, number)
    assert story.like() == scenario


def test_cancelled_where_nothing_is_under_way(story):
    story.ok("a", "query", "outer")
    story.cancelled("a")
    assert story.like() is None


def test_left_in_another_task(story):
    story.ok("b", "commit", "outer")
    assert story.like() == "CTX-6"


@pytest.mark.parametrize(("block", "scenario"), [("inner", "NST-9"), ("outer", None)])
def test_ended_by_hand(story, block, scenario):
    story.begins("a", "inner", 1)
    story.ok("a", "rollback", block, by_hand=True)
    assert story.like() == scenario


@pytest.mark.parametrize(
    ("block", "error", "message", "scenario"),
    [
        ("outer", "OperationalError", "(1213, 'Deadlock found when trying to get lock')", "TXN-23"),
        ("inner", "DeadlockDetected", "", "NST-17"),
        ("outer", "OperationalError", "no such table", None),
    ],
)
def test_locks(story, block, error, message, scenario):
    story.begins("a", "inner", 1)
    story.fails("a", "query", block, error, message)
    assert story.like() == scenario


def test_a_caught_error_and_then_the_commit(story):
    story.fails("a", "query", "outer", "OperationalError")
    assert story.like() is None
    story.ok("a", "rollback", "outer")
    assert story.like() is None
    story.ok("a", "commit", "outer")
    assert story.like() == "TXN-13"


@pytest.mark.parametrize(("first", "scenario"), [("SELECT x", "TXN-12"), ("UPDATE x", None)])
def test_get_or_create(first, scenario):
    story = Story()
    story.ok("b", "query", text="INSERT x", at="shop.py:1")
    story.ok("c", "query", text=first, at="shop.py:1")
    story.fails("c", "query", None, "IntegrityError", text="INSERT x", at="shop.py:1")
    assert story.like() == scenario


def test_the_titles_are_the_suites():
    known = catalogue()
    assert {name: known[name].title for name in TITLES} == TITLES


def test_only_remedies_that_hold_with_the_driver_are_named(story):
    story.ok("b", "query", None, late=True)
    evidence = story.evidence
    rule = json.loads(MEASURED.read_text("utf-8"))["rules"]["late-query"]
    drivers = {driver for holds in rule["holds"].values() for driver in holds}
    for driver in (*drivers, "another"):
        found = like(evidence, frozenset(), driver)
        assert found["title"] == rule["scenarios"]["CTX-1"]
        assert set(found["remedies"]) == {name for name, holds in rule["holds"].items() if driver in holds}
    assert found["remedies"] == {}

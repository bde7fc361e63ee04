"""Serializable transactions: the server may refuse one of two that ran beside each other, and nothing else."""

from __future__ import annotations

import pytest

from matrix.harness.situations import COMMIT_IN_DOUBT
from tests.unit.harness.story import Story


def two(story: Story, *, isolated: str = "ab", refused: str = "b", after: bool = False, kind: str = "commit") -> None:
    """Two transactions, ``a`` and ``b``; the second begins beside the first one, or ``after`` it."""
    blocks = {name: story.block(name) for name in "ab"}

    def asks(name: str, kind: str) -> None:
        operation = story.ask(name, kind, block=blocks[name], scope=f"transaction {blocks[name].number}")
        failed = kind in ("commit", "look") and name in refused
        story.error(operation) if failed else story.ok(operation)
        if kind in ("commit", "look"):
            blocks[name].outcome = "failed" if failed else "committed"

    def begins(name: str) -> None:
        asks(name, "begin")
        if name in isolated:
            asks(name, "isolate")

    begins("a")
    if not after:
        begins("b")
    asks("a", kind)
    if after:
        begins("b")
    asks("b", kind)


@pytest.mark.parametrize("kind", ["commit", "look"])
def test_one_of_two_serializable_transactions_may_be_refused(kind):
    story = Story()
    two(story, kind=kind)
    assert story.verdict == "refuses"


@pytest.mark.parametrize(
    "how",
    [{"isolated": "a"}, {"isolated": "b"}, {"isolated": ""}, {"after": True}, {"after": True, "refused": "a"}],
    ids=["only the other", "only itself", "none", "one after the other", "one before the other"],
)
def test_nobody_else_may_be(how):
    story = Story()
    two(story, **how)
    assert story.verdict == "breaks"


def test_one_is_enough():
    story = Story()
    two(story, refused="ab")
    assert [violation.fact["session"] for violation in story.violations] == ["b"]


def test_of_the_other_one_it_is_the_begin_that_counts():
    story = Story()
    two(story)
    begin, *later = [o for o in story.history.operations if o.session == "a"]
    for operation in later:
        operation.started = operation.ended = story.now + operation.number  # behind the refusal
    assert begin.started < story.history.operations[-1].ended
    assert story.verdict == "refuses"


def test_an_isolation_that_was_refused_itself_excuses_nothing():
    story = Story()
    two(story)
    next(o for o in story.history.operations if o.kind == "isolate" and o.session == "a").outcome = "cancelled"
    assert story.verdict == "breaks"


@pytest.mark.parametrize(("loss", "met"), [(0, False), (2, True), (9, False)])
def test_a_commit_is_in_doubt_where_the_connection_is_lost_under_it(loss, met):
    story = Story()
    block = story.block("a")
    story.ok(story.ask("a", "begin", block=block))  # 1, 2
    story.history.losses = [(loss + 1, 1)]
    story.error(story.ask("a", "commit", block=block))  # 3, 4
    assert COMMIT_IN_DOUBT.met(story.history) is met


def test_a_write_that_is_lost_is_no_commit_in_doubt():
    story = Story()
    story.history.losses = [(1, 1)]
    story.error(story.ask("a", "write", "w-1"))
    assert not COMMIT_IN_DOUBT.met(story.history)

"""The checker on locks: who is the offender in a deadlock, and of those that do not want to wait for a row."""

from __future__ import annotations

import pytest

from matrix.harness.history import INTERNAL, Block, Operation
from matrix.harness.sentences import words

from .story import Story


@pytest.fixture
def story() -> Story:
    return Story()


def begins(story: Story, session: str, parent: Block | None = None) -> Block:
    block = story.block(session, parent)
    story.ok(story.ask(session, "begin", block=block, scope=f"transaction {story.history.root(block.number)}"))
    return block


def asks(story: Story, block: Block, row: str, kind: str = "put") -> Operation:
    scope = f"transaction {story.history.root(block.number)}"
    return story.ask(block.session, kind, row, block=block, scope=scope)


def locks(story: Story, block: Block, row: str, kind: str = "put") -> Operation:
    return story.ok(asks(story, block, row, kind), "0")


def ends(story: Story, block: Block, kind: str) -> Operation:
    block.outcome = {"commit": "committed", "rollback": "rolled back"}[kind]
    return story.ok(asks(story, block, "", kind))


def two(story: Story, kind: str = "put") -> tuple[Block, Block]:
    """A has locked c-1, B has locked c-2."""
    a, b = begins(story, "a"), begins(story, "b")
    locks(story, a, "c-1", kind)
    locks(story, b, "c-2", kind)
    return a, b


@pytest.mark.parametrize("kind", ["put", "take", "write"])
@pytest.mark.parametrize("victim", ["a", "b"])
def test_the_victim_of_a_deadlock_is_refused_and_nobody_is_harmed(story, kind, victim):
    a, b = two(story, kind)
    wants = {"a": asks(story, a, "c-2", kind), "b": asks(story, b, "c-1", kind)}
    story.error(wants.pop(victim))
    story.ok(*wants.values())
    ends(story, a if victim == "a" else b, "rollback")
    ends(story, b if victim == "a" else a, "commit")
    assert "loudness" not in story.violated
    if kind == "put":
        assert story.verdict == "refuses"


def test_the_victim_may_hear_of_it_when_the_other_has_gone_on(story):
    a, b = two(story)
    first, second = asks(story, a, "c-2"), asks(story, b, "c-1")
    story.ok(first)
    ends(story, a, "commit")
    story.error(second)
    assert story.violated == set()


def test_a_deadlock_ends_one_of_them_only(story):
    a, b = two(story)
    first, second = asks(story, a, "c-2"), asks(story, b, "c-1")
    story.error(first)
    story.error(second)
    assert story.verdict == "breaks"
    assert [violation.sentence for violation in story.violations] == [
        "b had done nothing wrong and failed to put c-1: driver.Error: no"
    ]


@pytest.mark.parametrize(("ended_by", "verdict"), [("a deadlock", "refuses"), ("something else", "breaks")])
def test_who_lost_its_whole_transaction_to_a_deadlock_may_be_refused_what_follows(story, ended_by, verdict):
    """The server may undo more than the inner block; an error that stayed inside it excuses nothing behind it."""
    a, b = begins(story, "a"), begins(story, "b")
    inner = begins(story, "a", a)
    locks(story, inner, "c-1")
    locks(story, b, "c-2")
    wants = asks(story, inner, "c-2" if ended_by == "a deadlock" else "c-3")
    other = asks(story, b, "c-1")
    story.error(wants)
    story.ok(other)
    ends(story, inner, "rollback")
    ends(story, b, "commit")
    story.error(asks(story, a, "c-4"))
    ends(story, a, "rollback")
    assert story.verdict == verdict


def test_a_deadlock_excuses_no_internal_error(story):
    a, b = two(story)
    first, second = asks(story, a, "c-2"), asks(story, b, "c-1")
    story.error(first, INTERNAL)
    story.ok(second)
    assert story.violated == {"loudness"}


def test_three_can_be_in_each_other_s_way(story):
    blocks = [begins(story, name) for name in "abc"]
    for number, block in enumerate(blocks):
        locks(story, block, f"c-{number}")
    wants = [asks(story, block, f"c-{(number + 1) % 3}") for number, block in enumerate(blocks)]
    story.error(wants[1])
    for want in (wants[0], wants[2]):
        story.ok(want)
    assert story.violated == set()


def test_whoever_waits_for_a_deadlock_is_no_part_of_it(story):
    a, b = two(story)
    c = begins(story, "c")
    first, second, third = asks(story, a, "c-2"), asks(story, b, "c-1"), asks(story, c, "c-1")
    story.error(third)
    story.ok(first)
    story.ok(second)
    assert [violation.property for violation in story.violations] == ["loudness"]


def test_a_row_that_nobody_has_locked_is_in_nobody_s_way(story):
    a, b = begins(story, "a"), begins(story, "b")
    locks(story, a, "c-1")
    first, second = asks(story, a, "c-2"), asks(story, b, "c-1")
    story.error(first)
    story.ok(second)
    assert story.violated == {"loudness"}


def test_a_lock_that_was_refused_is_none(story):
    a, b = begins(story, "a"), begins(story, "b")
    locks(story, a, "c-1")
    refused = asks(story, b, "c-2")
    refused.misuse = True
    story.error(refused)
    first, second = asks(story, a, "c-2"), asks(story, b, "c-1")
    story.error(first)
    story.ok(second)
    assert story.violated == {"loudness"}


def test_other_rows_are_in_nobody_s_way(story):
    a, b = two(story)
    first, second = asks(story, a, "c-3"), asks(story, b, "c-1")
    story.error(first)
    story.ok(second)
    assert story.violated == {"loudness"}


def test_those_who_only_read_wait_for_nobody(story):
    a, b = two(story)
    first, second = asks(story, a, "c-2", "look"), asks(story, b, "c-1")
    story.error(first)
    story.ok(second)
    assert story.violated == {"loudness"}


def test_one_after_the_other_is_no_deadlock(story):
    a, b = two(story)
    second = asks(story, b, "c-1")
    story.ok(second)
    story.error(asks(story, a, "c-2"))
    assert story.violated == {"loudness"}


def test_what_a_transaction_locks_while_the_other_waits_is_too_late_for_a_circle(story):
    a, b = begins(story, "a"), begins(story, "b")
    locks(story, b, "c-2")
    first, second = asks(story, a, "c-2"), asks(story, b, "c-1")
    story.ok(second)
    story.error(first)
    assert story.violated == {"loudness"}


def test_locks_outside_of_a_transaction_do_not_last(story):
    story.ok(story.ask("a", "put", "c-1", scope="alone 1"))
    b = begins(story, "b")
    locks(story, b, "c-2")
    first, second = story.ask("a", "put", "c-2", scope="alone 2"), asks(story, b, "c-1")
    story.error(first)
    story.ok(second)
    assert story.violated == {"loudness"}


@pytest.mark.parametrize(("undone", "violated"), [(False, set()), (True, {"loudness"})])
def test_the_locks_of_a_nested_block_are_its_transaction_s_until_it_is_rolled_back(story, undone, violated):
    a, b = begins(story, "a"), begins(story, "b")
    inner = begins(story, "a", a)
    locks(story, inner, "c-1")
    ends(story, inner, "rollback" if undone else "commit")
    locks(story, b, "c-2")
    first, second = asks(story, a, "c-2"), asks(story, b, "c-1")
    story.error(second)
    story.ok(first)
    ends(story, a, "commit")
    assert story.violated == violated


def test_what_follows_in_the_victim_s_transaction_follows(story):
    a, b = two(story)
    first, second = asks(story, a, "c-2"), asks(story, b, "c-1")
    story.error(first)
    story.ok(second)
    story.error(asks(story, a, "c-3"))
    assert story.violated == set()


def test_a_deadlock_that_nobody_was_told_of_leaves_a_hang_for_what_it_is(story):
    a, b = two(story)
    asks(story, a, "c-2")
    story.error(asks(story, b, "c-1"))
    story.history.hang = {"fact": words("a can never go on")}
    assert story.violated == {"liveness"}


# -- not willing to wait ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["put", "take", "seize"])
def test_who_does_not_wait_for_a_locked_row_is_refused(story, kind):
    a, b = begins(story, "a"), begins(story, "b")
    locks(story, a, "c-1", kind)
    story.error(asks(story, b, "c-1", "seize"))
    ends(story, b, "rollback")
    ends(story, a, "commit")
    assert story.violated == set()
    assert story.verdict == "refuses"


def test_the_other_may_not_have_heard_yet_that_it_has_the_row(story):
    a, b = begins(story, "a"), begins(story, "b")
    first = asks(story, a, "c-1", "seize")
    story.error(asks(story, b, "c-1", "seize"))
    story.ok(first)
    assert story.violated == set()


def test_the_other_may_be_about_to_commit(story):
    a, b = begins(story, "a"), begins(story, "b")
    locks(story, a, "c-1", "seize")
    commit = asks(story, a, "", "commit")
    story.error(asks(story, b, "c-1", "seize"))
    a.outcome = "committed"
    story.ok(commit)
    assert story.violated == set()


def test_a_row_is_free_when_its_transaction_has_ended(story):
    a, b = begins(story, "a"), begins(story, "b")
    locks(story, a, "c-1", "seize")
    ends(story, a, "commit")
    story.error(asks(story, b, "c-1", "seize"))
    assert story.violated == {"loudness"}


@pytest.mark.parametrize("kind", ["look", "read"])
def test_who_only_reads_locks_nothing(story, kind):
    a, b = begins(story, "a"), begins(story, "b")
    locks(story, a, "c-1", kind)
    story.error(asks(story, b, "c-1", "seize"))
    assert "loudness" in story.violated


def test_a_free_row_another_row_and_one_s_own_are_no_excuse(story):
    a, b = begins(story, "a"), begins(story, "b")
    locks(story, a, "c-1", "seize")
    story.error(asks(story, b, "c-2", "seize"))
    story.error(asks(story, a, "c-1", "seize"))
    assert [violation.property for violation in story.violations] == ["loudness", "loudness"]


def test_who_was_refused_has_locked_nothing(story):
    a, b, c = begins(story, "a"), begins(story, "b"), begins(story, "c")
    locks(story, a, "c-1", "seize")
    refused = asks(story, b, "c-1", "seize")
    story.error(refused)
    ends(story, a, "commit")
    story.error(asks(story, c, "c-1", "seize"))
    assert len(story.violations) == 1


def test_a_row_that_is_asked_for_afterwards_was_not_in_the_way_before(story):
    a, b = begins(story, "a"), begins(story, "b")
    story.error(asks(story, b, "c-1", "seize"))
    locks(story, a, "c-1", "seize")
    assert story.violated == {"loudness"}


def test_who_does_wait_is_not_excused_by_a_locked_row(story):
    a, b = begins(story, "a"), begins(story, "b")
    locks(story, a, "c-1", "seize")
    story.error(asks(story, b, "c-1", "take"))
    assert story.violated == {"loudness"}


def test_a_row_is_free_when_its_transaction_was_rolled_back(story):
    a, b = begins(story, "a"), begins(story, "b")
    locks(story, a, "c-1", "seize")
    ends(story, a, "rollback")
    story.error(asks(story, b, "c-1", "seize"))
    assert story.violated == {"loudness"}


# -- where one transaction writes at a time ----------------------------------------------------------------------------


@pytest.fixture
def single(story) -> Story:
    story.history.one_writer = True
    return story


@pytest.mark.parametrize("kind", ["read", "look", "take"])
@pytest.mark.parametrize("refused", ["write", "put"])
def test_who_has_read_may_be_refused_to_write_after_another(single, kind, refused):
    a, b = begins(single, "a"), begins(single, "b")
    locks(single, b, "0", kind)
    locks(single, a, "w-1", "put")
    single.error(asks(single, b, "w-2", refused))
    ends(single, b, "rollback")
    ends(single, a, "commit")
    assert single.violated == set()
    assert single.verdict == "refuses"


def test_that_is_so_only_where_one_transaction_writes_at_a_time(story):
    a, b = begins(story, "a"), begins(story, "b")
    locks(story, b, "0", "read")
    locks(story, a, "w-1", "put")
    story.error(asks(story, b, "w-2", "put"))
    assert story.violated == {"loudness"}


@pytest.mark.parametrize("end", ["commit", None])
def test_the_other_may_have_written_before_and_hold_the_lock_when_this_one_reads(single, end):
    a, b = begins(single, "a"), begins(single, "b")
    locks(single, a, "w-1", "put")
    locks(single, b, "0", "take")
    if end:
        ends(single, a, end)
    single.error(asks(single, b, "w-2", "put"))
    assert single.violated == set()


def test_the_other_may_write_outside_of_a_transaction(single):
    b = begins(single, "b")
    locks(single, b, "0", "take")
    single.ok(single.ask("a", "put", "w-1", scope="alone 1"))
    single.error(asks(single, b, "w-2", "put"))
    assert single.violated == set()


@pytest.mark.parametrize("end", ["commit", "rollback"])
def test_what_was_written_before_this_one_read_is_nobody_s_business(single, end):
    a, b = begins(single, "a"), begins(single, "b")
    locks(single, a, "w-1", "put")
    ends(single, a, end)
    locks(single, b, "0", "take")
    single.error(asks(single, b, "w-2", "put"))
    assert single.violated == {"loudness"}


def test_nor_is_what_was_written_outside_of_a_transaction_before(single):
    single.ok(single.ask("a", "put", "w-1", scope="alone 1"))
    b = begins(single, "b")
    locks(single, b, "0", "take")
    single.error(asks(single, b, "w-2", "put"))
    assert single.violated == {"loudness"}


def test_who_has_not_read_waits(single):
    a, b = begins(single, "a"), begins(single, "b")
    locks(single, a, "w-1", "put")
    single.error(asks(single, b, "w-2", "put"))
    assert single.violated == {"loudness"}


def test_what_another_transaction_of_the_session_has_read_does_not_count(single):
    a, first = begins(single, "a"), begins(single, "b")
    locks(single, first, "0", "take")
    ends(single, first, "commit")
    second = begins(single, "b")
    locks(single, a, "w-1", "put")
    single.error(asks(single, second, "w-2", "put"))
    assert single.violated == {"loudness"}


def test_to_read_is_never_refused(single):
    a, b = begins(single, "a"), begins(single, "b")
    locks(single, b, "0", "take")
    locks(single, a, "w-1", "put")
    single.error(asks(single, b, "0", "take"))
    assert single.violated == {"loudness"}


def test_one_s_own_writes_failed_ones_and_later_ones_are_no_excuse(single):
    a, b = begins(single, "a"), begins(single, "b")
    locks(single, b, "0", "take")
    locks(single, b, "w-3", "put")
    failed = asks(single, a, "w-1", "put")
    failed.misuse = True
    single.error(failed)
    single.error(asks(single, b, "w-2", "put"))
    locks(single, begins(single, "c"), "w-4", "put")
    assert single.violated == {"loudness"}


def test_to_write_outside_of_a_transaction_is_never_refused_for_that(single):
    a = begins(single, "a")
    locks(single, a, "w-1", "put")
    single.ok(single.ask("b", "take", "c-1", scope="alone 1"))
    single.error(single.ask("b", "put", "w-2", scope="alone 2"))
    assert single.violated == {"loudness"}

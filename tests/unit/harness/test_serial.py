"""Two transactions that each look at what the other changes: what is a finding, and whose error is excused."""

from __future__ import annotations

import pytest

from .story import Story


def skew(
    *, seen: tuple[int, int] = (0, 0), ends: tuple[str, str] = ("committed", "committed"), cross: bool = True
) -> Story:
    """Each looks at a counter, sees a value and changes one: the other's (``cross``) or its own."""
    story = Story()
    story.history.counters |= {"x": (0, 1), "y": (0, 1)}
    for name, own, other, value, outcome in (("a", "x", "y", seen[0], ends[0]), ("b", "y", "x", seen[1], ends[1])):
        block = story.block(name, outcome=outcome)
        story.ok(story.ask(name, "begin", block=block, scope=name))
        story.ok(story.ask(name, "view", own, block=block, scope=name), value)
        story.ok(story.ask(name, "put", other if cross else own, block=block, scope=name))
    return story


def test_two_that_each_missed_the_other_s_change_are_in_no_order():
    found = skew().violations
    assert [(each.property, each.fact["kind"], each.fact["sessions"], each.fact["rows"]) for each in found] == [
        ("containment", "not_serial", ["a", "b"], ["x", "y"])
    ]


@pytest.mark.parametrize(
    "story",
    [
        skew(seen=(0, 1)),  # b came second, and saw what a had done
        skew(seen=(1, 0)),
        skew(cross=False),  # each changed what it had looked at itself
    ],
)
def test_an_order_that_explains_what_was_seen_is_enough(story):
    assert [each.fact["kind"] for each in story.violations] == []


def test_one_that_was_rolled_back_is_no_part_of_it():
    story = skew(ends=("committed", "rolled back"))
    story.history.counters |= {"x": (0, 0), "y": (0, 1)}
    assert story.violations == []


@pytest.mark.parametrize(("cross", "excused"), [(True, True), (False, False)])
def test_who_would_be_in_no_order_with_another_may_be_refused(cross, excused):
    story = skew(cross=cross, ends=("committed", "failed"))
    story.history.counters |= {"x": (0, 0 if cross else 1), "y": (0, 1 if cross else 0)}
    story.error(story.ask("b", "commit", block=story.history.blocks[1], scope="b"))
    assert (story.violations == []) is excused


def test_not_both_of_them_are_refused_for_it():
    story = skew(ends=("failed", "failed"))
    story.history.counters |= {"x": (0, 0), "y": (0, 0)}
    for name, block in zip("ab", story.history.blocks, strict=True):
        story.error(story.ask(name, "commit", block=block, scope=name))
    assert [each.fact["session"] for each in story.violations] == ["b"]


@pytest.mark.parametrize(
    ("others", "excused"),
    [
        ({"a": ("y", "x")}, True),
        ({"a": ("y", "z")}, False),  # it saw what b changed, and changed nothing that b had seen
        ({"a": ("z", "x")}, False),
        ({"a": ("y", "z"), "c": ("z", "x")}, False),  # no one of them is in both ways
    ],
)
def test_only_who_is_in_both_ways_is_in_the_way(others, excused):
    story = Story()
    story.history.counters |= {"x": (0, 1), "y": (0, 0), "z": (0, 0)}
    for name, (seen, changed) in {**others, "b": ("x", "y")}.items():
        block = story.block(name, outcome="failed" if name == "b" else "committed")
        story.ok(story.ask(name, "begin", block=block, scope=name))
        story.ok(story.ask(name, "view", seen, block=block, scope=name), 0)
        story.ok(story.ask(name, "put", changed, block=block, scope=name))
    story.error(story.ask("b", "commit", block=story.history.blocks[-1], scope="b"))
    errors = [each for each in story.violations if each.property == "loudness"]
    assert (errors == []) is excused

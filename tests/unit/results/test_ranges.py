"""Verdicts along an axis of versions, as ranges."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from matrix.results import ranges
from matrix.words import NOT_VERDICTS, REMEDIES, VERDICTS, rank

WORDS = st.sampled_from((*VERDICTS, *NOT_VERDICTS, *REMEDIES))
VERSIONS = st.one_of(st.from_regex(r"[0-9]{1,2}\.[0-9]{1,2}(\.[0-9]|b[0-9])?", fullmatch=True), st.text(max_size=4))


@pytest.mark.parametrize(
    ("points", "said"),
    [
        ([("1.0", "lies")], "lies"),
        ([("1.0", "lies"), ("1.1", "lies")], "lies"),
        ([("0.3.0", "refuses"), ("0.2.0", "lies"), ("0.10.0", "refuses")], "lies <= 0.2.0, refuses >= 0.3.0"),
        ([("1", "lies"), ("2", "safe"), ("3", "lies")], "lies <= 1, safe 2, lies >= 3"),
        ([("1", "lies"), ("2", "safe"), ("3", "safe"), ("4", "lies")], "lies <= 1, safe 2 - 3, lies >= 4"),
        ([("1.0", "safe"), ("1.0rc1", "lies")], "lies <= 1.0rc1, safe >= 1.0"),
        ([("1", "lies"), ("2", "n/a"), ("3", "lies")], "lies"),
        ([("1", "n/a"), ("2", "n/a")], "n/a"),
        ([("1", "safe"), ("1", "breaks"), ("1", "error")], "breaks"),
        ([("1", "worse"), ("2", "holds")], "worse <= 1, holds >= 2"),
        ([], ""),
    ],
)
def test_ranges_in_words(points, said):
    assert ", ".join(map(str, ranges.ranges(points))) == said


@given(st.lists(st.tuples(VERSIONS, WORDS), max_size=12), st.randoms())
def test_ranges_cover_every_judged_version_and_do_not_depend_on_the_order(points, random):
    found = ranges.ranges(points)
    mixed = list(points)
    random.shuffle(mixed)
    assert ranges.ranges(mixed) == found
    assert all(one.word != other.word for one, other in itertools.pairwise(found))
    for version, word in ranges.at_versions(points):
        if rank(word) >= 0:
            own = [
                each
                for each in found
                if ranges.version_key(each.low) <= ranges.version_key(version) <= ranges.version_key(each.high)
            ]
            assert [each.word for each in own] == [word]


def test_along_an_axis_all_else_is_newest():
    cells = [
        {"driver_version": "0.3", "tortoise": "1.1", "python": "3.12", "loop": "asyncio"},
        {"driver_version": "0.3", "tortoise": "0.25", "python": "3.11", "loop": "asyncio"},
        {"driver_version": "0.2", "tortoise": "0.25", "python": "3.12", "loop": "asyncio"},
        {"driver_version": "0.2", "tortoise": "1.1", "python": "3.11", "loop": "asyncio"},
        {"driver_version": "0.3", "tortoise": "1.1", "python": "3.12", "loop": "uvloop"},
    ]
    assert ranges.newest(cells) == 0
    assert ranges.along(cells, "driver_version") == [3, 0]
    assert ranges.along(cells, "tortoise") == [1, 0]
    assert ranges.along(cells, "loop") == [0, 4]

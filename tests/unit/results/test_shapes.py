"""Every command that reads results takes files of whatever shape: a few of the attacks of ``tox -e attacks``."""

from __future__ import annotations

import itertools
import json

import pytest

from matrix.lines import Header
from matrix.results import shape
from tests.attacks import shapes
from tests.unit.results import samples

# Each gave a traceback: lines are the header, NST-3, NST-4, a remedy, the footer.
BROKE = [
    ("results merge out good results", (4, "finished"), "x"),
    ("results merge out good results", (0, "type"), []),
    ("diff results good", (1, "level"), "\ud800"),
    ("reproduce --results results --out out", (3, "cures", "NST-3", "verdict"), shapes.GONE),
    ("reproduce --results results --out out", (1, "schedule"), {}),
    ("replay mysql-aiomysql NST-4 --remedy FIX-1a --results results", (3, "cures"), 5),
    ("plan --measure results", (4, "seconds"), {}),
]


@pytest.mark.parametrize(("words", "where", "other"), BROKE)
def test_what_broke_a_command_is_told(tmp_path, words, where, other):
    name = f"{shapes.CELL}.jsonl"
    with shapes.harmless(tmp_path):
        document, _ = shapes.targets(tmp_path)[name]
        assert shapes.tried(tmp_path, name, document, words.split()) == ""
        assert shapes.tried(tmp_path, name, shapes.changed(document, where, other), words.split()) == ""


def test_no_command_breaks_over_results_of_the_wrong_shape(tmp_path):
    """A few of thousands, each by another command."""
    tries = list(itertools.islice(shapes.attack(tmp_path, step=97, slow=1000), 80))
    assert len(tries) == 80
    assert [each for each in tries if each.wrong] == []


def test_a_line_as_the_harness_makes_it_has_the_shape_of_its_type(tmp_path):
    for line in shapes.good(tmp_path).read_text().splitlines():
        assert shape.wrong(json.loads(line)) is None


@pytest.mark.parametrize(
    ("where", "other", "said"),
    [
        (("planned", 0), [], "planned/0: a list"),
        (("axes", "driver"), None, "axes/driver: null"),
        (("axes",), shapes.GONE, "lacks 'axes'"),
        (("axes", "driver"), shapes.GONE, "axes: lacks 'driver'"),
        (("packages", "pytest"), 9, "packages/pytest: a number"),
        (("schema",), True, "schema: a truth value"),
        (("commit",), None, ""),
        (("commit",), {}, "commit: an object"),
    ],
)
def test_what_is_wrong_where_is_said(where, other, said):
    line = {"type": "header", "schema": 1, **samples.header()}
    assert Header.__required_keys__ <= line.keys()
    found = shape.wrong(shapes.changed(line, where, other))
    assert found.startswith(said) if said else found is None

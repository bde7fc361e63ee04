"""The verdict rules: every property, every remedy's word."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import pytest

from matrix.harness.adapters.base import CAPABILITIES
from matrix.harness.checker import Violation
from matrix.harness.result_lines import remedy_line
from matrix.harness.scenario import catalogue
from matrix.harness.verdict import Compared, derive, judge_remedy, word_for
from matrix.words import PROPERTIES, REMEDIES

WRONG_DATA = {"routing", "durability", "atomicity", "containment"}
FLAGS = list(itertools.product((False, True), repeat=3))


@pytest.mark.parametrize("property", PROPERTIES)
@pytest.mark.parametrize(("after", "warned", "foreign"), FLAGS)
def test_the_word_for_one_violation(property, after, warned, foreign):
    word = word_for(Violation(property, "", after, warned, foreign))
    if property in WRONG_DATA:
        assert word == ("poisons" if after and warned else "lies")
    elif property == "liveness":
        assert word == "hangs"
    else:
        assert word == ("poisons" if foreign and (warned or not after) else "breaks")


def test_a_refusal_counts_only_where_nothing_was_violated():
    assert derive([], refused=False) == "safe"
    assert derive([], refused=True) == "refuses"
    assert derive([Violation("loudness", "")], refused=True) == "breaks"
    assert derive([Violation("loudness", ""), Violation("liveness", "")], refused=True) == "hangs"


@pytest.mark.parametrize(
    ("verdicts", "claims", "word"),
    [
        ([("safe", "lies"), ("safe", "hangs")], ("safe",), "holds"),
        ([("safe", "lies"), ("refuses", "lies")], ("safe",), "partly"),
        ([("safe", "lies"), ("refuses", "lies")], ("safe", "refuses"), "holds"),
        ([("lies", "lies"), ("hangs", "hangs")], ("safe",), "fails"),
        ([("safe", "lies"), ("breaks", "refuses")], ("safe",), "worse"),
        ([("lies", None)], ("safe",), "fails"),
        ([("safe", "safe"), ("lies", "lies")], ("safe",), "fails"),  # nothing is cured
        ([("safe", "refuses"), ("lies", "lies")], ("safe",), "partly"),
        ([("safe", None)], ("safe",), "holds"),
    ],
)
def test_a_remedy_s_word(verdicts, claims, word):
    assert judge_remedy([Compared(*each, "must") for each in verdicts], claims) == word
    assert word in REMEDIES


@pytest.mark.parametrize(
    ("compared", "claims", "word"),
    [
        ([("safe", "safe", "must"), ("safe", "safe", "loud")], ("safe",), "not needed"),
        ([("safe", "safe", "must"), ("safe", None, "must")], ("safe",), "holds"),  # not known to be well
        # An ORM that is mended refuses: what changes nothing there is not needed, what makes it work is of use.
        ([("refuses", "refuses", "loud")], ("safe",), "not needed"),
        ([("safe", "refuses", "loud")], ("safe",), "holds"),
        ([("refuses", "safe", "loud")], ("safe",), "not needed"),
        ([("refuses", "safe", "loud"), ("safe", "lies", "loud")], ("safe",), "partly"),
        # Harm is named, also to who needs no cure.
        ([("hangs", "safe", "loud")], ("safe",), "worse"),
        ([("refuses", "safe", "must")], ("safe",), "worse"),
        ([("refuses", "safe", "info")], ("safe",), "worse"),
    ],
)
def test_a_remedy_is_not_needed_where_its_scenarios_comply_without_it(compared, claims, word):
    assert judge_remedy([Compared(*each) for each in compared], claims) == word


def test_a_remedy_that_keeps_what_it_claims_is_not_worse():
    assert judge_remedy([Compared("refuses", "safe", "must")], ("safe", "refuses")) == "not needed"


@pytest.mark.asyncio
async def test_a_remedy_of_which_nothing_applies_does_not_hold():
    scenarios = catalogue()
    remedy, cured = scenarios["FIX-4"], scenarios["FIX-4"].cures
    adapter = SimpleNamespace(capabilities=frozenset())
    assert all(scenarios[name].unmet(adapter.capabilities, CAPABILITIES) for name in cured)
    line = await remedy_line(SimpleNamespace(backing=SimpleNamespace(adapter=adapter)), remedy, scenarios, {})
    assert (line["verdict"], line.get("remedy"), line["complies"]) == ("n/a", None, None)

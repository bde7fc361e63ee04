"""The verdict rules: every property, every level, every remedy's word."""

from __future__ import annotations

import itertools

import pytest

from matrix.harness.checker import Violation
from matrix.harness.verdict import derive, judge_remedy, word_for
from matrix.words import LEVELS, NOT_VERDICTS, PROPERTIES, REMEDIES, VERDICTS, badness, complies, rank, worst

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
        assert word == ("poisons" if foreign and warned else "breaks")


def test_the_words_from_good_to_bad():
    assert VERDICTS == ("safe", "refuses", "breaks", "hangs", "poisons", "lies")
    assert [badness(word) for word in VERDICTS] == list(range(6))
    assert worst(["breaks", "lies", "safe"]) == "lies"


def test_the_worst_of_nothing_is_not_safe():
    assert worst([]) == "not run"


def test_any_word_has_a_rank_and_what_is_no_verdict_is_below_all_that_are():
    assert [rank(word) for word in VERDICTS] == list(range(6))
    assert [rank(word) for word in REMEDIES] == list(range(4))
    assert max(map(rank, NOT_VERDICTS)) < rank("safe") == rank("holds")
    assert sorted(["a word to come", *NOT_VERDICTS], key=rank) == ["a word to come", "not run", "error", "n/a"]
    assert worst(["error", "safe", "n/a"]) == "safe"


@pytest.mark.parametrize("word", ["n/a", "error", "not run", "holds"])
def test_what_is_no_verdict_has_no_badness(word):
    with pytest.raises(ValueError):
        badness(word)


def test_a_refusal_counts_only_where_nothing_was_violated():
    assert derive([], refused=False) == "safe"
    assert derive([], refused=True) == "refuses"
    assert derive([Violation("loudness", "")], refused=True) == "breaks"
    assert derive([Violation("loudness", ""), Violation("liveness", "")], refused=True) == "hangs"


@pytest.mark.parametrize("verdict", VERDICTS)
def test_compliance(verdict):
    assert complies("must", verdict) is (verdict == "safe")
    assert complies("loud", verdict) is (verdict in ("safe", "refuses"))
    assert complies("info", verdict) is None


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("word", ["n/a", "error", "not run"])
def test_what_is_no_verdict_neither_complies_nor_fails(level, word):
    assert complies(level, word) is None


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
    assert judge_remedy(verdicts, claims) == word
    assert word in REMEDIES


def test_a_remedy_that_keeps_what_it_claims_is_not_worse():
    assert judge_remedy([("refuses", "safe")], ("safe", "refuses")) == "holds"

"""The order of the words, compliance, and the family of an id."""

from __future__ import annotations

import pytest

from matrix.words import (
    FAMILIES,
    LEVELS,
    NOT_VERDICTS,
    REMEDIES,
    VERDICTS,
    badness,
    complies,
    family_of,
    made_of,
    rank,
    worst,
)


def test_the_words_from_good_to_bad():
    assert VERDICTS == ("safe", "refuses", "breaks", "hangs", "poisons", "lies")
    assert [badness(word) for word in VERDICTS] == list(range(6))
    assert worst(["breaks", "lies", "safe"]) == "lies"


@pytest.mark.parametrize("word", ["n/a", "error", "not run", "holds"])
def test_what_is_no_verdict_has_no_badness(word):
    with pytest.raises(ValueError):
        badness(word)


def test_the_worst_of_nothing_is_not_safe():
    assert worst([]) == "not run"


def test_any_word_has_a_rank_and_what_is_no_verdict_is_below_all_that_are():
    assert [rank(word) for word in VERDICTS] == list(range(6))
    assert [rank(word) for word in REMEDIES] == list(range(5))
    assert [rank(word) for word in (*NOT_VERDICTS, "a word to come")] == [-1, -2, -3, -9]
    assert worst(["error", "safe", "n/a"]) == "safe"


def test_of_words_of_one_rank_the_worst_does_not_depend_on_their_order():
    assert worst(["not needed", "safe"]) == worst(["safe", "not needed"]) == "safe"


@pytest.mark.parametrize("verdict", VERDICTS)
def test_compliance(verdict):
    assert complies("must", verdict) is (verdict == "safe")
    assert complies("loud", verdict) is (verdict in ("safe", "refuses"))
    assert complies("info", verdict) is None


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("word", NOT_VERDICTS)
def test_what_is_no_verdict_neither_complies_nor_fails(level, word):
    assert complies(level, word) is None


@pytest.mark.parametrize("prefix", FAMILIES)
def test_the_family_of_an_id(prefix):
    assert family_of(f"{prefix}-1a") is FAMILIES[prefix]


@pytest.mark.parametrize("scenario", ["NEW-1", "NEW-1-2", "NEW"])
def test_an_id_of_no_known_family_is_of_one_of_its_own(scenario):
    assert family_of(scenario) == ("NEW", "new", "NEW")


@pytest.mark.parametrize(
    ("known", "parts"),
    [
        ({("lies", ("routing",)): ["CON-1"], ("breaks", ("loudness",)): ["CAN-1"]}, ["CON-1", "CAN-1"]),
        ({("lies", ("routing",)): ["CON-1"]}, []),  # nobody has shown the rest
        ({("breaks", ("loudness",)): ["CAN-1"], ("breaks", ("routing",)): ["CAN-2"]}, []),  # nobody has shown a lie
        ({("lies", ("routing",)): ["CON-1"], ("poisons", ("loudness",)): ["CAN-3"]}, ["CON-1", "CAN-3"]),
        ({("lies", ("loudness", "routing")): ["CON-4"]}, ["CON-4"]),  # by the same alone
        ({("lies", ("loudness", "recovery", "routing")): ["CON-5"]}, []),  # with more than was seen
        ({("lies", ("routing",)): ["CON-1", "CON-2"], ("lies", ("loudness",)): ["CON-2"]}, ["CON-1", "CON-2"]),
        ({}, []),
    ],
)
def test_several_known_anomalies_together_are_nothing_new(known, parts):
    assert made_of(known, "lies", ("loudness", "routing")) == parts


def test_what_is_made_of_worse_than_was_seen_is_not_made_of_it():
    known = {("breaks", ("loudness",)): ["CAN-1"], ("lies", ("routing",)): ["CON-1"]}
    assert made_of(known, "breaks", ("loudness", "routing")) == []
    assert made_of(known, "breaks", ("loudness",)) == ["CAN-1"]

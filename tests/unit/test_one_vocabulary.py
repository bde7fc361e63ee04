"""The cell judges with matrix/harness/verdict.py, the report reads with matrix/results/words.py; neither may import the
other (design.md, section 3). What they both know has to be the same."""

from __future__ import annotations

import itertools

from matrix.harness import verdict
from matrix.results import words


def test_the_words_are_the_same_in_the_same_order():
    assert words.VERDICTS == verdict.VERDICTS
    assert words.REMEDIES == verdict.REMEDIES
    assert words.NOT_VERDICTS == (verdict.NOT_APPLICABLE, verdict.ERROR, verdict.NOT_RUN)
    assert words.LEVELS == verdict.LEVELS


def test_both_say_alike_what_complies():
    for level, word in itertools.product(verdict.LEVELS, (*words.VERDICTS, *words.NOT_VERDICTS)):
        assert words.complies(level, word) == verdict.complies(level, word), (level, word)


def test_both_say_alike_what_is_worse():
    for pair in itertools.product(words.VERDICTS, repeat=2):
        assert words.worst(pair) == verdict.worst(pair)

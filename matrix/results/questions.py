"""What readers ask, which scenario answers which question, and whose a finding is: data and the rule of attribution."""

from __future__ import annotations

import functools
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

from matrix.files import read_toml
from matrix.words import CATEGORIES

ROOT = Path(__file__).resolve().parents[2]
QUESTIONS = ROOT / "matrix" / "axes" / "questions.toml"
PROMISES = ROOT / "tests" / "compliance" / "promises.toml"

ORDINARY, SHARED, MISUSE = USES = ("ordinary", "shared", "misuse")
DRIVER, ORM, SERVER, BY_DESIGN = CATEGORIES
DIFFERENT = 2  # drivers that must fail before what fails with every one is nobody's but Tortoise's


class Question(NamedTuple):
    """A row of the headline. ``of``: whose conduct answers it, ``driver`` or ``orm``; ``misuse``: what its scenarios of
    misuse are called; ``short``: the title for narrow tables, of at most 19 letters."""

    key: str
    title: str
    short: str
    of: str
    misuse: str = ""


class Asked(NamedTuple):
    """What a scenario asks, and the kind of use that it is: one of USES."""

    question: str
    use: str


@functools.cache
def questions() -> dict[str, Question]:
    """All questions by key, in the order of the headline."""
    return {key: Question(key, **each) for key, each in read_toml(QUESTIONS).items()}


@functools.cache
def questions_asked() -> dict[str, Asked]:
    """What each scenario asks; remedies ask nothing."""
    said = read_toml(PROMISES).items()
    return {name: Asked(each["question"], each["use"]) for name, each in said if "question" in each}


def fault(scenario: str, category: str | None, ran: Collection[str], failing: Collection[str]) -> str:
    """Whose a finding is, one of CATEGORIES; empty where nobody has attributed it.

    ``category``: what is on record of it. ``ran`` and ``failing``: the drivers with a verdict for the scenario, and
    those of them that do not comply. What Tortoise does wrong with every driver is Tortoise's.
    """
    known = questions_asked().get(scenario)
    of = questions()[known.question].of if known else ""
    if of == ORM and len(ran) >= DIFFERENT and set(ran) <= set(failing):
        return ORM
    return category or (DRIVER if of == DRIVER else "")

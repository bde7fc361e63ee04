"""Why a command does nothing is said in its own lines; a defect of it is not."""

from __future__ import annotations

import pytest

from matrix.results.text import refusing


def asked(problem: Exception) -> int:
    @refusing(2, LookupError, ValueError)
    def handler(options: object) -> int:
        raise problem

    return handler(None)


@pytest.mark.parametrize("problem", [LookupError("there is no NST-99\nsee: list"), ValueError("no number")])
def test_what_a_command_says_of_itself_is_its_refusal(problem, capsys):
    assert asked(problem) == 2
    assert capsys.readouterr().err == f"{problem}\n"


@pytest.mark.parametrize("defect", [KeyError("x"), IndexError("x"), TypeError("x")])
def test_a_defect_stays_one(defect):
    with pytest.raises(type(defect)):
        asked(defect)

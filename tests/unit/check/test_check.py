"""A user's functions under owned orders: the fault is found where the matrix says so, the mended function complies.

Each check is a process of its own, as a user starts it; SQLite needs no server.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from matrix.check.pattern import scenario_of

HERE = Path(__file__).parent
ROOT = Path(__file__).parents[3]


def check(function, *more, cell="sqlite-aiosqlite"):
    """Exit code, what was printed, and what was said beside it."""
    command = [sys.executable, "-m", "matrix.check", cell, function, "--folder", str(HERE), *more]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    return done.returncode, done.stdout, done.stderr


def result(function, *more):
    """Exit code and the result's data."""
    code, out, problem = check(f"shop:{function}", "--json", *more)
    assert out, problem
    return code, json.loads(out)


@pytest.mark.parametrize(
    ("function", "word", "said", "like"),
    [
        ("background", "lies", "log's row", "CTX-1"),
        ("side_by_side", "lies", "'s transaction was reported as", "NST-3"),
        ("own_error", "breaks", "own error ended with KeyError: 'taken already', raised at shop.py:", None),
        ("both_make_it", "breaks", "both make it ended with IntegrityError: UNIQUE constraint failed", None),
    ],
)
def test_a_fault_is_found_and_its_order_shows_it_again(function, word, said, like):
    code, told = result(function)
    assert (code, told["verdict"], told["complies"]) == (1, word, False), told["reason"]
    assert said in told["reason"]
    assert (told["like"] or {}).get("scenario") == like
    assert any("(shop.py:" in step["text"] for step in told["steps"])
    assert f"--schedule {told['schedule']}" in told["replay"]
    again, replayed = result(function, "--schedule", told["schedule"])
    assert (again, replayed["verdict"], replayed["schedule"]) == (1, word, told["schedule"])


@pytest.mark.parametrize(
    "function",
    [
        "background_mended",
        "side_by_side_mended",
        "own_error_mended",
        "both_make_it_mended",
        "changes_its_mind",
    ],
)
def test_the_mended_function_complies(function):
    code, told = result(function)
    assert (code, told["verdict"]) == (0, "safe"), told["reason"]


def test_the_setup_is_there_in_each_run_and_an_invariant_is_asked_afterwards():
    count = "SELECT count(*) = {} FROM shop_order"
    assert result("asks_twice")[0] == 1
    assert result("asks_twice", "--setup", "shop:fill", "--invariant", count.format(2))[0] == 0
    code, told = result("asks_twice", "--setup", "shop:fill", "--invariant", count.format(3))
    assert (code, told["verdict"]) == (1, "lies")
    assert told["reason"] == f"afterwards {count.format(3)} gives 0."


@pytest.mark.parametrize(
    ("function", "said"), [("in_a_thread", "starts a thread"), ("opens_a_socket", "opens a connection of its own")]
)
def test_what_cannot_be_owned_is_said(function, said):
    code, told = result(function)
    assert (code, told["verdict"], told["complies"]) == (2, "error", None)
    assert said in told["reason"]
    assert "at shop.py:" in told["reason"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("shop:no_coroutine",), "shop:no_coroutine is no coroutine function"),
        (("shop:nothing",), "shop:nothing cannot be imported"),
        (("nowhere:nothing",), "nowhere:nothing cannot be imported: ModuleNotFoundError"),
        (("shop:background", "--models", "json"), "there are no models in it"),
        (("shop:background", "--orders", "0"), "--orders 0: give a number from 1 to 10000"),
        (("shop:background", "--schedule", "B.B"), "step 1 of the schedule is 'B'; possible: A"),
        (("shop:asks_twice", "--setup", "shop:own_error"), "shop:own_error failed: KeyError"),
        (
            ("shop:asks_twice", "--setup", "shop:fill", "--invariant", "SELEC"),
            "--invariant cannot be asked: SQLite says",
        ),
    ],
)
def test_wrong_use_is_told_in_two_lines(arguments, said):
    code, out, problem = check(*arguments)
    assert code == 2
    assert said in out + problem
    assert len((out + problem).splitlines()) <= 2


def test_the_order_is_told_in_words():
    code, out, _ = check("shop:background")
    assert code == 1
    for part in ("≠ lies: shop:background on sqlite-aiosqlite", "the order:", "like CTX-1", "schedule: ", "again: "):
        assert part in out
    assert "the suite's row behind the statement of log, shop.py:" in out


def test_a_run_like_no_scenario_is_like_none():
    assert scenario_of({"history": [], "blocks": []}) is None

"""A user's functions under owned orders: the fault is found where the matrix says so, the mended function complies.

Each check is a process of its own, as for a user, who starts it anew (as one of them is here); SQLite needs no server.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest

from matrix.check import answers, places
from tests.unit import forked

HERE = Path(__file__).parent
ROOT = Path(__file__).parents[3]
CELL = "sqlite-aiosqlite"
SOON = ("--orders", "12")  # a fault is found in a few of the orders that are usual; who complies does so in all of them


def check(function, *more):
    """Exit code, what was printed, and what was said beside it."""
    done = forked.check(CELL, function, "--folder", str(HERE), *more)
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
        ("side_by_side", "lies", "'s transaction was reported as", "NST-5"),
        ("both_end_well", "breaks", "savepoint", "NST-3"),
        ("gathers", "lies", "row", "CTX-14"),
        ("script_in_a_block", "lies", "row", "TXN-26"),
        ("past_the_block", "hangs", "can never go on", "TXN-14"),
        ("own_error", "breaks", "own error ended with KeyError: 'taken already', raised at shop.py:", None),
        ("left_alone", "breaks", "charges ended with KeyError: 'nobody asks for it', raised at shop.py:", None),
        ("both_make_it", "breaks", "both make it ended with IntegrityError: UNIQUE constraint failed", None),
    ],
)
def test_a_fault_is_found_and_its_order_shows_it_again(function, word, said, like):
    code, told = result(function, *SOON)
    assert (code, told["verdict"], told["complies"]) == (1, word, False), told["reason"]
    assert said in told["reason"]
    assert (told["like"] or {}).get("scenario") == like
    assert any("(shop.py:" in step["text"] for step in told["steps"])
    assert f"--schedule {told['schedule']}" in told["replay"]
    again, replayed = result(function, "--schedule", told["schedule"])
    assert (again, replayed["verdict"], replayed["schedule"]) == (1, word, told["schedule"])


@pytest.mark.parametrize(
    ("function", "who", "said", "part"),
    [
        ("gathers", "price 2", "ValueError: no price", 'ValueError("no price")'),
        ("side_by_side", "fails", "ValueError: no such item", 'ValueError("no such item")'),
    ],
)
def test_an_error_of_a_tasks_own_is_a_step_before_what_comes_of_it(function, who, said, part):
    """Caught in the task or passed on to its parent, it is there once."""
    _, told = result(function, *SOON)
    texts = [step["text"] for step in told["steps"]]
    raised = f"{who}: raises {said} ({line(function, part)})"
    assert texts.count(raised) == 1
    assert any("roll back" in text for text in texts[texts.index(raised) :])


@pytest.mark.parametrize(
    "function",
    [
        "background_mended",
        "left_alone_and_asked",
        "side_by_side_mended",
        "gathers_all",
        "own_error_mended",
        "both_make_it_mended",
        "changes_its_mind",
    ],
)
def test_the_mended_function_complies(function):
    code, told = result(function)
    assert (code, told["verdict"]) == (0, "safe"), told["reason"]


def test_a_module_that_is_not_there_says_nothing_of_the_function():
    """Imported in the function, which the check meets only when it runs: in a task that is waited for or not."""
    for function in ("imports_what_is_not_there", "imports_it_in_a_task"):
        code, told = result(function)
        assert (code, told["verdict"]) == (2, "error")
        at = line("imports_what_is_not_there", "import ")
        assert told["reason"].startswith(
            f"shop:{function} imports matrix_no_such_package, which is not there, at {at}. "
        )
        assert "Install what has matrix_no_such_package" in told["reason"]


def test_a_sleep_ends_before_or_after_what_others_ask():
    code, told = result("sleeps", *SOON)
    assert (code, told["verdict"]) == (1, "breaks")
    assert "AssertionError" in told["reason"]
    assert told["orders"]["verdicts"]["safe"], "in some orders the log is written in time"
    ends = [step for step in told["steps"] if step["action"] == "A~"]
    assert [step["text"] for step in ends] == [f"sleeps: its sleep of 0.1 s ends ({line('sleeps', 'sleep(0.1)')})"]
    again, replayed = result("sleeps", "--schedule", told["schedule"])
    assert (again, replayed["verdict"], replayed["schedule"]) == (1, "breaks", told["schedule"])


@pytest.mark.parametrize("function", ["sleeps_mended", "in_turn"])
def test_no_time_is_spent_and_the_shorter_sleep_ends_first(function):
    code, told = result(function)
    assert (code, told["verdict"]) == (0, "safe"), told["reason"]
    assert told["orders"]["verdicts"]["safe"] > 1


def test_a_time_limit_may_be_over_at_any_moment_and_that_is_no_finding():
    """The pool is open: to cancel SQLite's first connection is another matter."""
    code, told = result("has_a_limit", "--setup", "shop:fill")
    assert (code, told["verdict"]) == (0, "safe"), told["reason"]
    assert told["orders"]["verdicts"]["safe"] > 1
    code, told = result("stores_in_spite_of_a_limit", "--setup", "shop:fill")
    assert (code, told["verdict"]) == (1, "breaks")
    assert any("its time limit of 5 s is over" in step["text"] for step in told["steps"])


def test_who_sleeps_again_and_again_hangs():
    code, told = result("sleeps_for_ever")
    assert (code, told["verdict"]) == (1, "hangs")
    assert "shop.py:" in told["reason"]


def test_each_task_is_cancelled_at_each_moment():
    found = ("--setup", "shop:fill", "--invariant", "SELECT count(*) IN (1, 3) FROM shop_order")
    assert result("takes_two", *found)[0] == 0
    code, told = result("takes_two", "--cancel", *found)
    assert (code, told["verdict"], told["cancelled_tasks"]) == (1, "lies", ["takes two"])
    (cancelled,) = told["cancelled"]
    assert (cancelled["task"], cancelled["at"]) == ("takes two", line("takes_two", 'name="one"'))
    again, replayed = result("takes_two", *found, "--schedule", told["schedule"])
    assert (again, replayed["verdict"], replayed["cancelled"]) == (1, "lies", told["cancelled"])
    code, told = result("takes_two_mended", "--cancel=both", *found)
    assert told["cancelled_tasks"] == ["both"]
    assert (code, told["verdict"]) == (1, "poisons"), "the block of the task that works is cancelled as it begins"
    assert told["like"]["scenario"] == "TXN-20"


@pytest.mark.parametrize(
    ("function", "left_out"),
    [
        ("takes_two_mended", {"both": "shielded"}),
        ("shields_two_gathered", {"log_in_a_block": "shielded", "log_in_a_block 2": "shielded"}),
        ("shields_a_group", {"group": "shielded", "one_and_other": "behind"}),
        ("keeps_it_until_the_end", {"one_and_other": "kept"}),
        ("gives_it_to_a_worker", {"works": "kept", "join": "shielded"}),
    ],
)
def test_a_task_that_no_cancellation_of_the_function_reaches_is_left_out_and_that_is_said(function, left_out):
    """Who keeps the work away from the cancellation has done right: it is not cancelled all the same."""
    if function == "shields_a_group" and sys.version_info < (3, 11):
        pytest.skip("task groups are new in Python 3.11")
    code, told = result(function, "--cancel", "--setup", "shop:fill", "--orders", "4")
    assert (code, told["verdict"]) == (0, "safe"), told["reason"]
    assert {each["task"]: each["why"] for each in told["left_out"]} == left_out
    assert told["cancelled_tasks"] == [function.replace("_", " ")]
    assert told["orders"]["swept"] > 0


def test_a_task_that_is_cancelled_with_who_waits_for_it_is_not_left_out():
    found = ("--setup", "shop:fill", "--invariant", "SELECT count(*) IN (1, 3) FROM shop_order")
    code, told = result("takes_two_at_once", "--cancel", *found)
    assert (code, told["verdict"], told["left_out"]) == (1, "lies", [])
    assert told["cancelled_tasks"] == ["takes two at once", "takes_two"]


def test_a_shielded_task_is_spared_in_each_order_although_its_letter_is_anothers_in_some():
    both = "SELECT count(*) <> 1 FROM shop_order WHERE name IN ('one', 'other')"
    options = ("--cancel", "--setup", "shop:fill", "--invariant", both, "--orders", "4")
    code, told = result("waits_for_one_and_shields_another", *options)
    assert (code, told["verdict"]) == (0, "safe"), told["reason"]
    assert set(told["cancelled_tasks"]) >= {"plainly", "shielded", "log"}
    assert told["left_out"] == [{"task": "one_and_other", "why": "shielded"}]


def test_who_swallows_a_cancellation_the_driver_or_the_function():
    code, told = result("is_not_to_be_stopped", "--cancel", "--setup", "shop:fill")
    assert (code, told["verdict"]) == (1, "breaks"), told["reason"]
    assert {each["property"] for each in told["violations"]} == {"cancellation"}
    code, told = result("catches_it", "--cancel", "--setup", "shop:fill")
    assert (code, told["verdict"], told["orders"]["swept"] > 0) == (0, "safe", True), told["reason"]
    assert told["like"] is None, "a cancelled query in a run that complies"


def line(function, part):
    """``shop.py:12``: where in a function of shop.py this stands first."""
    lines = (HERE / "shop.py").read_text().splitlines()
    start = next(n for n, text in enumerate(lines) if text.startswith(f"async def {function}("))
    return f"shop.py:{next(n for n, text in enumerate(lines) if n > start and part in text) + 1}"


def test_a_function_in_a_thread_runs_to_its_end_where_that_is_allowed():
    code, told = result("resizes", "--allow", "shop.resize", "--allow", "other")
    assert (code, told["verdict"]) == (0, "safe"), told["reason"]
    resized, other = told["allowed"]
    assert (resized["name"], resized["times"] > 0) == ("shop.resize", True)
    assert other == {"name": "other", "times": 0}
    assert result("resizes", "--allow", "other")[1]["verdict"] == "error"


def test_a_stub_takes_the_place_of_what_asks_elsewhere():
    assert "opens a connection of its own" in result("charges")[1]["reason"]
    code, told = result("charges", "--allow", "shop:charge=shop:no_charge")
    assert (code, told["verdict"]) == (0, "safe"), told["reason"]
    assert told["allowed"] == [{"name": "shop:charge", "stub": "shop:no_charge"}]
    code, out, _ = check("shop:charges", "--allow", "shop:charge=shop:no_charge")
    assert "allowed: shop:charge is replaced by shop:no_charge" in out


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
        (("shop:nothing",), "shop:nothing cannot be imported: shop (shop.py) has no nothing"),
        (("shop:backgruond",), "has no backgruond\nDid you mean shop:background?"),
        (("shop.background",), "Give MODULE:FUNCTION, such as shop:background."),
        (("shop",), "Give MODULE:FUNCTION, such as shop:checkout."),
        (("nowhere:nothing",), "nowhere:nothing cannot be imported: ModuleNotFoundError"),
        (("shoop:nothing",), "Did you mean shop? Say with --folder where it is, if not in "),
        (("shop:log",), "shop:log takes name\n"),
        (("shop:Order.save",), "shop:Order.save takes self\n"),
        (("shop:asks_twice", "--setup", "shop:log"), "shop:log takes name\n"),
        (("shop:background", "--models", "shoop"), "--models shoop cannot be imported: ModuleNotFoundError"),
        (("shop:background", "--invariant", "DELETE FROM shop_order"), "it does not ask for anything"),
        (("shop:background", "--invariant", "SELECT 1; DELETE FROM shop_order"), "it does more than ask"),
        (("shop:background", "--invariant", "WITH x AS (delete FROM y) SELECT 1"), "it does more than ask"),
        (("shop:background", "--models", "json"), "there are no models in it"),
        (("shop:charges", "--allow", "shop:charge=nothing"), "give MODULE:NAME=MODULE:STUB"),
        (("shop:charges", "--allow", "shop:charge=shop:nothing"), "shop:nothing cannot be imported"),
        (("shop:asks_twice", "--cancel=nobody", "--setup", "shop:fill"), "--cancel=nobody: no task of the function"),
        (("shop:background", "--orders", "0"), "--orders 0: give a number from 1 to 10000"),
        (("shop:background", "--schedule", "B.B"), "step 1 of the schedule is 'B'; possible: A"),
        (("shop:asks_twice", "--setup", "shop:own_error"), "shop:own_error failed: KeyError"),
        (
            ("shop:asks_twice", "--setup", "shop:fill", "--invariant", "SELECT nothing"),
            "--invariant cannot be asked: SQLite says",
        ),
    ],
)
def test_wrong_use_is_told_in_two_lines(arguments, said):
    code, out, problem = check(*arguments)
    assert code == 2
    assert said in out + problem
    assert len((out + problem).splitlines()) <= 2


def test_what_else_is_to_know_is_said_beside_the_verdict():
    code, told = result("gets_what_is_not_there")
    assert (code, told["verdict"], told["notes"]) == (1, "breaks", [{"kind": "empty_tables"}])
    assert result("gets_what_is_not_there", "--setup", "shop:fill")[1]["notes"] == []
    code, told = result("asks_nothing")
    assert (code, told["notes"]) == (0, [{"kind": "nothing_asked"}])
    whole = result("background")[1]["schedule"]
    assert result("background", "--schedule", whole)[1]["notes"] == []
    start = whole.partition(".")[0]
    code, told = result("background", "--schedule", start)
    assert told["notes"][0] == {"kind": "rest_chosen", "given": 1, "taken": told["schedule"].count(".") + 1}
    code, out, _ = check("shop:background", "--schedule", start)
    assert "note: the schedule that was given ends after 1 of " in out


def test_what_is_logged_is_in_the_result_and_what_is_printed_beside_it():
    code, out, problem = check("shop:logs_and_prints", "--json")
    logged = json.loads(out)["logged"]
    assert [(each["logger"], each["level"], each["text"]) for each in logged] == [
        ("shop", "error", "not paid (ValueError: no money)")
    ]
    assert code == 0
    assert set(problem.splitlines()) == {"as people do"}
    out = check("shop:logs_and_prints")[1]
    assert "logged: shop: not paid (ValueError: no money)" in out


def test_what_could_not_be_run_is_data_too_where_that_is_asked_for():
    code, told = result("no_coroutine")
    assert (code, told["verdict"], told["complies"]) == (2, "error", None)
    assert told["reason"].startswith("shop:no_coroutine is no coroutine function")
    command = [sys.executable, "-m", "matrix", "check", "sqlite-asyncpg", "shop:background", "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "")
    assert "The cells are sqlite-aiosqlite, postgres-asyncpg, " in json.loads(done.stdout)["reason"]


def test_a_cell_without_a_client_of_tortoise_s_is_refused_with_those_that_have_one():
    command = [sys.executable, "-m", "matrix", "check", "odbc-asyncodbc", "shop:background"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "Tortoise has no client for it" in done.stderr
    assert done.stderr.count("\n") == 2
    assert "sqlite-aiosqlite" in done.stderr


def test_the_order_is_told_in_words():
    command = [sys.executable, "-m", "matrix.check", CELL, "shop:background", "--folder", str(HERE)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    out = done.stdout
    assert done.returncode == 1
    for part in ("≠ lies: shop:background on sqlite-aiosqlite", "the order:", "like CTX-1", "schedule: ", "again: "):
        assert part in out
    assert "the suite's row behind the statement of log, shop.py:" in out


def test_an_answer_of_another_query_is_found_on_the_users_own():
    code, told = result("given_anothers_rows", "--setup", "shop:fill")
    assert (code, told["verdict"]) == (1, "lies")
    for part in ("given anothers rows asked for the columns ", " and was given id, order_id, at shop.py:"):
        assert part in told["reason"]


@pytest.mark.parametrize(
    ("query", "values", "rows", "said"),
    [
        ('SELECT "id","name" FROM "o"', [], [{"name": "x", "id": 1}], ""),
        ('SELECT "id","name" FROM "o"', [], [{"id": 1}], "asked for the columns id, name and was given id"),
        ("SELECT `id` FROM `o` WHERE `id`=%s LIMIT %s", [7, 2], [{"id": 7}], ""),
        ("SELECT `id` FROM `o` WHERE `id`=%s LIMIT %s", [7, 2], [{"id": 8}], "asked for id = 7 and was given 8"),
        ('SELECT "o"."id" "id","p"."x" "o.x" FROM "o" WHERE "o"."id"=3', None, [{"id": 4, "o.x": 1}], "id = 3"),
        ('SELECT "id" FROM "o" WHERE "id"=$1 AND "name"=$2', [7, "x"], [{"id": 8}], ""),
        ('SELECT "id" FROM "o" WHERE "name"=$1', ["x"], [{"id": 8}], ""),
        ('SELECT "id" FROM "o" WHERE "id"=$1', ["7"], [{"id": 7}], ""),
        ('SELECT "id" FROM "o"', [], [], ""),
        ('SELECT COUNT(*) FROM "o"', [], [{"COUNT(*)": 1}], ""),
        ("SELECT id FROM o", [], [{"name": 1}], ""),
    ],
)
def test_what_a_query_says_of_its_answer(query, values, rows, said):
    assert (
        (said in answers.foreign(query, values, (len(rows), rows)))
        if said
        else not answers.foreign(query, values, rows)
    )


@pytest.mark.parametrize("file", ["asyncmy/connection.pyx", "<string>", "", None, places.__file__, asyncio.__file__])
def test_only_the_users_lines_are_named(file):
    assert not places.is_the_users(file)
    assert places.is_the_users(__file__)

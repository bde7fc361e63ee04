"""Texts of errors: what is of one run is left out, and one that somebody pastes is found among those on record."""

import pytest

from matrix.harness.scenario import catalogue
from matrix.results import messages
from matrix.results.messages import Known

BUSY = "readexactly() called while another coroutine is already waiting for incoming data"


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (BUSY, BUSY),
        ("SAVEPOINT tortoise_savepoint_204 does not exist", "SAVEPOINT tortoise_savepoint_… does not exist"),
        ("Packet sequence number wrong - got 102 expected 1", "Packet sequence number wrong - got … expected …"),
        (
            "<Token var=<ContextVar name='s' default={'a': <Y at 0x7f>} at 0x1> at 0x2> was created elsewhere",
            "… was created elsewhere",
        ),
        ("deadlock detected\nDETAIL:  Process 8023 waits for ShareLock on transaction 3836", "deadlock detected"),
        (
            "canceling statement due to lock timeout\nCONTEXT:  while locking tuple (1,2)",
            "canceling statement due to lock timeout",
        ),
        ("Can't update object that doesn't exist. PK: 5427", "Can't update object that doesn't exist. PK: …"),
        ("Record has changed since last read in table 'counter'", "Record has changed since last read in table '…'"),
        ("the pool 'pool-126' is already closed", "the pool 'pool-…' is already closed"),
        ("Can't: {'host': '127.0.0.1', 'port': 31, 'user': 'me', 'charset': 'x'}", "Can't: {'charset': 'x'}"),
    ],
)  # fmt: skip
def test_what_is_of_one_run_is_left_out(message, text):
    assert messages.plain(message) == text


KNOWN = [
    Known(text, (), {})
    for text in (
        BUSY,
        "(1305, 'SAVEPOINT tortoise_savepoint_… does not exist')",
        "(1020, \"Record has changed since last read in table '…'; try restarting transaction\")",
        "Packet sequence number wrong - got … expected …",
        "… was created in a different Context",
        "deadlock detected",
        "Connection closed",
        "Connection closed by somebody",
    )
]


@pytest.mark.parametrize(
    ("pasted", "found"),
    [
        (f"Traceback:\n  File ...\nRuntimeError: {BUSY}", [BUSY]),
        ("readexactly() called while another", [BUSY]),
        ("x.OperationalError: (1305, 'SAVEPOINT tortoise_savepoint_7 does not exist')", [KNOWN[1].text]),
        ("SAVEPOINT tortoise_savepoint_12 does not exist", [KNOWN[1].text]),
        ("(1020, \"Record has changed since last read in table 'orders'\")", [KNOWN[2].text]),
        ("Packet sequence number wrong - got 9 expected 2", [KNOWN[3].text]),
        ("ValueError: <Token at 0x1> was created in a different Context", [KNOWN[4].text]),
        ("DEADLOCK DETECTED DETAIL: Process 4 waits", ["deadlock detected"]),
        ("Connection closed by somebody else", ["Connection closed by somebody"]),
        ("no such words", []),
        ("a", []),
    ],
)
def test_a_pasted_error_is_found_whatever_is_around_it_and_of_its_run(pasted, found):
    assert [each.text for each in messages.pasted(pasted, KNOWN)] == found


def test_the_record_is_read_as_it_was_written(tmp_path):
    written = (Known("the “pool” is closed", ("asyncpg",), {"NST-4": "lies", "CON-1": "breaks"}),)
    (tmp_path / "errors.json").write_text(messages.record(written), "utf-8")
    assert messages.on_record(tmp_path / "errors.json") == written
    assert messages.on_record()


def test_what_is_on_record_is_of_scenarios_that_there_are():
    assert {name for each in messages.on_record() for name in each.seen} <= set(catalogue())

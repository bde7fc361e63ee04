"""What the witness reads off a server: who waits for whom, whether that is a cycle, who keeps it locked."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import pytest

from matrix import servers
from matrix.harness.cell import Backing
from matrix.harness.witness import (
    Address,
    MySQLWitness,
    PostgresWitness,
    SQLiteWitness,
    Witness,
    cycle,
    innodb_lock_waits,
)
from matrix.servers import builds

WAIT = """------- TRX HAS BEEN WAITING 0 SEC FOR THIS LOCK TO BE GRANTED:
RECORD LOCKS space id 4 page no 5 n bits 72 index name of table `t`.`counter` trx id 1 {mode} waiting
Record lock, heap no {record} PHYSICAL RECORD: n_fields 2; compact format; info bits 0
 0: len 3; hex 632d31; asc c-1;;

------------------
"""
HELD = """TABLE LOCK table `t`.`counter` trx id 1 lock mode IX
RECORD LOCKS space id 4 page no 5 n bits 72 index name of table `t`.`counter` trx id 1 {mode}
Record lock, heap no {record} PHYSICAL RECORD: n_fields 2; compact format; info bits 0
 0: len 3; hex 632d31; asc c-1;;

RECORD LOCKS space id 4 page no 4 n bits 72 index PRIMARY of table `t`.`counter` trx id 1 {mode}
Record lock, heap no {record} PHYSICAL RECORD: n_fields 5; compact format; info bits 0

"""
ROW, NEXT_KEY, GAP, SHARED = (
    "lock_mode X locks rec but not gap",
    "lock_mode X",
    "lock_mode X locks gap before rec",
    "lock mode S",
)
INSERT = "lock_mode X locks gap before rec insert intention"


def status(
    *sessions: tuple[int, int | None, int | None], wanted: str = ROW, held: str = ROW, name: str = "MySQL"
) -> str:
    """The text for sessions that each want one record and hold another."""
    text = "TRANSACTIONS\n------------\n---TRANSACTION 375, not started\n0 lock struct(s), 0 row lock(s)\n"
    for session, wants, holds in sessions:
        text += f"---TRANSACTION 15{session}, ACTIVE 0 sec starting index read\n"
        text += "LOCK WAIT 2 lock struct(s), heap size 1128\n" if wants else "2 lock struct(s), heap size 1128\n"
        text += f"{name} thread id {session}, OS thread handle 139, query id 71 127.0.0.1 tester updating\nUPDATE x\n"
        text += WAIT.format(mode=wanted, record=wants) if wants else ""
        text += HELD.format(mode=held, record=holds) if holds else ""
    return text + "--------\nFILE I/O\n--------\nPending flushes (fsync) log: 0\n"


@pytest.mark.parametrize("name", ["MySQL", "MariaDB"])
def test_innodb_says_who_waits_for_whom(name):
    text = status((7, 2, None), (8, 2, 3), (9, None, 2), name=name)
    assert innodb_lock_waits(text) == {7: frozenset({9}), 8: frozenset({9})}


def test_innodb_does_not_say_who_holds_what_unless_it_is_asked_to():
    assert innodb_lock_waits(status((7, 2, None), (8, 2, None))) == {7: frozenset(), 8: frozenset()}
    assert innodb_lock_waits("nothing") == {}


@pytest.mark.parametrize(
    ("wanted", "held", "in_the_way"),
    [
        (ROW, ROW, True),
        (ROW, NEXT_KEY, True),
        (ROW, GAP, False),
        (ROW, SHARED, True),
        (SHARED, ROW, True),
        (SHARED, SHARED, False),
        (INSERT, ROW, False),
        (INSERT, GAP, True),
        (INSERT, NEXT_KEY, True),
    ],
)
def test_a_lock_is_in_the_way_of_those_that_it_excludes_only(wanted, held, in_the_way):
    found = innodb_lock_waits(status((7, 2, None), (9, None, 2), wanted=wanted, held=held))
    assert found == {7: frozenset({9} if in_the_way else ())}


@pytest.mark.parametrize(
    ("waits", "is_cycle"),
    [
        ({}, False),
        ({1: {2}}, False),
        ({1: {2}, 2: {3}}, False),
        ({1: {9}, 2: {9}, 3: {1, 2}}, False),
        ({1: {2}, 2: {1}}, True),
        ({1: {2}, 2: {3}, 3: {1}}, True),
        ({1: {9}, 2: {3}, 3: {2, 9}}, True),
        ({1: {2}, 2: {3}, 3: {2}}, True),
        ({1: set()}, False),
    ],
)
def test_a_cycle_is_told_from_a_chain(waits, is_cycle):
    assert bool(cycle({session: frozenset(holders) for session, holders in waits.items()})) is is_cycle


def test_a_deadlock_as_innodb_would_show_it_is_a_circle():
    assert cycle(innodb_lock_waits(status((7, 2, 3), (8, 3, 2))))
    assert not cycle(innodb_lock_waits(status((7, 2, 3), (8, 2, 4))))


def test_a_file_that_a_lost_connection_keeps_locked_is_replaced(tmp_path):
    """What aiosqlite up to 0.21 can leave behind: a cursor that outlives its connection, in a transaction."""
    address = Address("sqlite", file=str(tmp_path / "matrix.db"))
    backing = Backing(cast(Any, None), "sqlite", address, SQLiteWitness(address), None)
    try:
        assert not backing.witness.locked()
        lost = sqlite3.connect(address.file, isolation_level=None)
        lost.execute("BEGIN IMMEDIATE")
        assert backing.witness.locked()
        backing.renew()
        assert not backing.witness.locked()
        backing.witness.store(["w-1-1"])
        assert backing.witness.stored(["w-1-1"]) == {"w-1-1"}
        lost.execute("ROLLBACK")
    finally:
        backing.witness.close()


@pytest.mark.parametrize(("kind", "make"), [("postgres", PostgresWitness), ("mysql", MySQLWitness)])
def test_a_database_is_in_use_while_somebody_is_logged_in_to_it(kind: str, make: Callable[[Address], Witness]) -> None:
    found = builds.host_builds(kind)
    try:
        made = servers.acquire(str(found[0].spec) if found else kind, progress=lambda _: None)
    except servers.ServerError as error:
        pytest.skip(f"no {kind} at hand: {error}")
    with made as server:
        all_of_it = Address(kind, server.host, server.port, server.user, server.password)
        keeper = make(all_of_it)
        for name in ("one", "other"):
            keeper.execute(f"CREATE DATABASE {name}")
        assert not keeper.in_use("one")
        user = make(replace(all_of_it, database="one"))
        assert (keeper.in_use("one"), keeper.in_use("other")) == (True, False)
        user.close()
        for _ in range(1000):  # until the server has heard of it
            if not keeper.in_use("one"):
                break
            time.sleep(0.01)
        assert not keeper.in_use("one")
        keeper.close()

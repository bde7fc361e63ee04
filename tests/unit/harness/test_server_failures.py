"""What the server or the machine failed in is an ``error`` of the run, by codes, and never a driver's verdict."""

from __future__ import annotations

import errno
import struct
from typing import Any

import pytest

from matrix.harness import server_failures
from matrix.harness.adapters.aiosqlite import AiosqliteAdapter
from matrix.harness.adapters.base import Adapter
from matrix.harness.adapters.mysql_common import MySQLAdapter
from matrix.harness.outcome import Exploration
from matrix.harness.runner import Runner
from matrix.harness.scenario import OrmSetup, Scenario
from tests.unit.harness.test_gate import frame, setting
from tests.unit.miniatures.driver import Backing, DriverError, Queueing

__all__ = ["setting"]


class Coded(DriverError):
    """A documented error that says the server's code, as PostgreSQL's drivers do."""

    def __init__(self, sqlstate: str) -> None:
        super().__init__("what it says is of no concern: syntax error")
        self.sqlstate = sqlstate


def wrapped(error: BaseException, how: str) -> BaseException:
    """The error as it reaches a task when something on the way has put another one around it."""
    try:
        try:
            raise error
        except BaseException as inner:
            if how == "cause":
                raise DriverError("could not connect") from inner
            if how == "context":
                raise AttributeError("'NoneType' object has no attribute 'x'")  # noqa: B904 - that is the point
            raise DriverError(inner) from None  # in the arguments, as Tortoise has it
    except BaseException as outer:
        return outer


async def run(program: Any, driver: Any = Queueing) -> Exploration:
    orm = OrmSetup() if driver is Queueing else None
    scenario = Scenario("CON-0", "made up", "Made up.", "must", (), orm, False, (3, 10), program, "", "", ())
    return await Runner(Backing(driver()), 1).explore(scenario)


def telling(error: BaseException, kind: str = "read") -> Any:
    """A program one of whose tasks is told this by the driver."""

    async def program(world):
        async def asks(session):
            async def call():
                raise error

            await session.operate(kind, "ask for something", call, scope=world.alone(), nonce="n")

        await world.together(asks=asks)

    return program


MACHINE_FULL = OSError(errno.EMFILE, "Too many open files")


@pytest.mark.asyncio
@pytest.mark.parametrize("how", ["bare", "cause", "context", "argument"])
@pytest.mark.parametrize("error", [Coded("53100"), Coded("53300"), Coded("42501"), MACHINE_FULL])
async def test_the_server_s_own_failure_is_an_error_that_names_its_word(error, how):
    told = error if how == "bare" else wrapped(error, how)
    said = getattr(error, "sqlstate", "EMFILE")
    assert said in (await run(telling(told))).error


@pytest.mark.asyncio
@pytest.mark.parametrize("error", [Coded("40P01"), Coded("42601"), Coded("57P01"), DriverError("53100 disk full")])
async def test_any_other_error_is_judged_as_ever(error):
    found = await run(telling(error))
    assert found.error == ""
    assert found.deciding.verdict == "breaks"  # nobody had done anything wrong


@pytest.mark.asyncio
async def test_while_the_program_keeps_the_database_away_its_words_are_the_program_s_doing():
    async def program(world):
        world.refuse_connections(True)
        await telling(Coded("53300"))(world)
        world.refuse_connections(False)

    found = await run(program)
    assert (found.error, found.deciding.verdict) == ("", "safe")


@pytest.mark.asyncio
async def test_an_error_that_only_the_event_loop_hears_of_counts_too():
    async def program(world):
        async def loses(session):
            future = world.loop.create_future()
            future.set_exception(Coded("53200"))

        await world.together(loses=loses)

    assert "53200" in (await run(program)).error


# -- where drivers keep the code ---------------------------------------------------------------------------------------


class MySQLError(Exception):
    """As pymysql's and asyncmy's: the number is the first argument."""


class Numbered(MySQLAdapter):
    documented = (MySQLError,)


class SQLiteError(Exception):
    sqlite_errorcode = 778  # SQLITE_IOERR_WRITE, of the primary code 10


@pytest.mark.parametrize(
    ("kind", "adapter", "error", "said"),
    [
        ("mysql", Numbered(), MySQLError(1040, "Too many connections"), "1040"),
        ("mariadb", Numbered(), MySQLError(1021, "Disk full"), "1021"),
        ("mysql", Numbered(), MySQLError(3159, "insecure"), "3159"),
        ("mysql", Numbered(), MySQLError(1213, "Deadlock found"), ""),
        ("mysql", Numbered(), MySQLError(2013, "Lost connection"), ""),
        ("mysql", Numbered(), KeyError(1040), ""),
        ("mysql", Numbered(), MySQLError("Packet sequence number wrong"), ""),
        ("sqlite", AiosqliteAdapter(), SQLiteError("disk I/O error"), "778"),
        ("postgres", Adapter(), Coded("57P03"), "57P03"),
        ("postgres", Adapter(), KeyError(53100), ""),
    ],
)
def test_each_driver_s_exceptions_are_asked_where_they_keep_the_code(kind, adapter, error, said):
    found = server_failures.in_error(kind, error, adapter.server_code)
    assert (said in found) if said else not found


def test_errors_that_refer_to_each_other_end():
    first, second = DriverError("one"), DriverError("other")
    first.__cause__, second.__cause__ = second, first
    assert server_failures.in_error("postgres", first, Adapter().server_code) == ""
    assert list(server_failures._wrapped(first)) == [first, second]


def test_what_an_error_wraps_is_looked_through_in_its_whole_breadth():
    outer, cause = DriverError("outer"), DriverError("cause")
    outer.__cause__, cause.__cause__, outer.__context__ = cause, outer, Coded("53100")
    assert server_failures.in_error("postgres", outer, Adapter().server_code) == "postgres says 53100, disk full"
    outer.__context__, cause.__context__ = None, Coded("53300")  # behind one that was seen
    assert (
        server_failures.in_error("postgres", outer, Adapter().server_code)
        == "postgres says 53300, too many connections"
    )
    group = DriverError("some")
    group.exceptions = (DriverError("one"), Coded("53200"))  # as those of Python 3.11
    assert server_failures.in_error("postgres", group, Adapter().server_code) == "postgres says 53200, out of memory"


@pytest.mark.parametrize("depth", [server_failures.DEPTH - 1, server_failures.DEPTH])
def test_no_more_than_so_many_wrapped_errors_are_looked_through(depth):
    error: BaseException = Coded("53100")
    for _ in range(depth):
        error = DriverError(error)
    assert bool(server_failures.in_error("postgres", error, Adapter().server_code)) == (depth < server_failures.DEPTH)


# -- on the wire -------------------------------------------------------------------------------------------------------


def error_response(code: str) -> bytes:
    return frame(b"E", f"SFATAL\0VFATAL\0C{code}\0Mwhatever C53100 says\0\0".encode())


def err(number: int) -> bytes:
    payload = b"\xff" + struct.pack("<H", number) + b"#HY000no more"
    return struct.pack("<I", len(payload)) + payload


@pytest.mark.parametrize(
    ("kind", "message", "ended", "said"),
    [
        ("postgres", error_response("53300"), False, "53300"),
        ("postgres", error_response("53300"), True, "53300"),
        ("postgres", error_response("42P01"), False, ""),
        ("postgres", error_response("57P01"), False, "57P01"),
        ("postgres", error_response("57P01"), True, ""),
        ("mysql", err(1040), False, "1040"),
        ("mariadb", err(1927), False, "1927"),
        ("mariadb", err(1927), True, ""),
        ("mysql", err(1158), False, ""),  # what it says to a connection that was cut
    ],
)
def test_an_error_on_the_wire_is_read_by_its_code_alone(kind, message, ended, said):
    found = server_failures.on_the_wire(kind, message, ended=ended)
    assert (said in found) if said else not found


@pytest.mark.parametrize(
    ("kind", "message", "said"),
    [
        ("postgres", frame(b"E", b"C53100\0Mfull\0\0"), "postgres says 53100, disk full"),
        ("postgres", frame(b"E", b"SFATAL\0Mno code\0\0"), ""),
        ("postgres", frame(b"E", b"C\xff\xfe\0\0"), ""),
        ("mariadb", err(1021), "mariadb says 1021, disk full"),
    ],
)
def test_an_error_on_the_wire_is_told_with_its_server_and_its_meaning(kind, message, said):
    assert server_failures.on_the_wire(kind, message, ended=False) == said


@pytest.mark.asyncio
@pytest.mark.parametrize(("code", "ended", "fails"), [("53200", False, True), ("57P01", True, False)])
async def test_the_gate_hears_what_a_driver_keeps_to_itself(setting, code, ended, fails):
    _, wire = await setting.logged_in()
    if ended:
        wire.expect_end()
    wire.from_server(error_response(code))
    assert bool(setting.timeline.failures) == fails

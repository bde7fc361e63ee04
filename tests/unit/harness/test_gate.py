"""The wire gate before a small server that speaks a few real frames of PostgreSQL: hold, deliver, cut, farewell."""

from __future__ import annotations

import asyncio
import errno
import itertools
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio

from matrix.harness import sockets
from matrix.harness.cell import Cell, CellError
from matrix.harness.channel import Segments, Timeline
from matrix.harness.gate import Gate
from matrix.harness.gates import Gates
from matrix.harness.relayed import Wire

pytestmark = pytest.mark.asyncio


def frame(kind: bytes, body: bytes = b"") -> bytes:
    return kind + struct.pack("!i", len(body) + 4) + body


def query(statement: str) -> bytes:
    return frame(b"Q", statement.encode() + b"\0")


PARAMETERS = b"user\0me\0\0"
STARTUP = struct.pack("!ii", 8 + len(PARAMETERS), 196608) + PARAMETERS
TERMINATE = frame(b"X")
READY = frame(b"Z", b"I")
WELCOME = frame(b"R", struct.pack("!i", 0)) + frame(b"K", struct.pack("!ii", 4711, 1)) + READY


def done(statement: str) -> bytes:
    return frame(b"C", statement.encode() + b"\0") + READY


class SmallServer(asyncio.Protocol):
    """Greets, and answers each query with its own text as the command's tag."""

    servers: list[SmallServer]

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.data = b""
        self.greeted = False
        self.queries: list[str] = []
        self.silent = False
        self.servers.append(self)

    def data_received(self, data: bytes) -> None:
        self.data += data
        if not self.greeted and len(self.data) >= len(STARTUP):
            self.greeted, self.data = True, self.data[len(STARTUP) :]
            self.transport.write(WELCOME)
        while self.greeted and len(self.data) >= 5:
            length = struct.unpack("!i", self.data[1:5])[0] + 1
            message, self.data = self.data[:length], self.data[length:]
            if message[:1] == b"Q":
                self.queries.append(message[5:-1].decode())
                if not self.silent:
                    self.transport.write(done(self.queries[-1]))


class Client(asyncio.Protocol):
    """The driver's end."""

    lost = False
    error: Exception | None = None

    def __init__(self) -> None:
        self.received = b""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.received += data

    def connection_lost(self, error: Exception | None) -> None:
        self.lost = True
        self.error = error

    def take(self) -> bytes:
        taken, self.received = self.received, b""
        return taken


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop go round until something is so."""
    for _ in range(100_000):
        if condition():
            return
        await asyncio.sleep(0)
    raise TimeoutError("it did not come to pass")


async def rounds() -> None:
    """Whatever lies in sockets comes where it may: for what shall not come, there is nothing to wait for."""
    for _ in range(300):
        await asyncio.sleep(0)


class Setting:
    """A server, a gate in front of it, and clients."""

    def __init__(self) -> None:
        self.servers: list[SmallServer] = []
        self.timeline = Timeline()

    async def open(self) -> None:
        loop = asyncio.get_running_loop()
        made = type("Server", (SmallServer,), {"servers": self.servers})
        listening = sockets.ListeningSocket()  # deaf to no connection either
        listening.bind(("127.0.0.1", 0))
        port = listening.getsockname()[1]
        self.listener = await loop.create_server(made, sock=listening)
        numbers = itertools.count(1)
        self.gate = Gate("postgres", "127.0.0.1", port, self.timeline, lambda: next(numbers))
        await self.gate.start()

    async def connect(self) -> Client:
        _, client = await asyncio.get_running_loop().create_connection(Client, "127.0.0.1", self.gate.port)
        client.transport.write(STARTUP)
        await until(lambda: bool(self.gate.wires) and self.gate.wires[-1].server is not None)
        return client

    async def logged_in(self) -> tuple[Client, Wire]:
        client = await self.connect()
        await until(lambda: client.received == WELCOME)
        client.take()
        return client, self.gate.wires[-1]

    async def close(self) -> None:
        await self.gate.close()
        self.listener.close()


@pytest_asyncio.fixture
async def setting() -> AsyncIterator[Setting]:
    made = Setting()
    await made.open()
    yield made
    await made.close()


def hold(setting: Setting) -> None:
    setting.gate.hold = True
    for wire in setting.gate.wires:
        wire.holding = True


async def test_what_is_not_held_goes_through_unchanged(setting):
    client, wire = await setting.logged_in()
    client.transport.write(query("SELECT 1"))
    await until(lambda: client.received == done("SELECT 1"))
    await until(lambda: not wire.busy())
    assert wire.backend_id() == 4711
    assert not wire.deliverable()


async def test_an_answer_is_held_and_delivered_once(setting):
    client, wire = await setting.logged_in()
    hold(setting)
    client.transport.write(query("SELECT 1"))
    await until(wire.deliverable)
    assert client.received == b""
    assert not wire.busy()
    assert wire.deliver()["pieces"][0]["kind"] == "CommandComplete"
    await until(lambda: client.received == done("SELECT 1"))
    assert not wire.deliverable()


async def test_answers_are_delivered_one_by_one_in_their_order(setting):
    client, wire = await setting.logged_in()
    hold(setting)
    client.transport.write(query("one") + query("two"))
    await until(lambda: len(wire.held) == 4)
    wire.deliver()
    await until(lambda: client.received == done("one"))
    assert wire.deliverable()
    client.take()
    wire.deliver()
    await until(lambda: client.received == done("two"))


async def test_an_answer_that_is_due_makes_the_wire_busy(setting):
    client, wire = await setting.logged_in()
    hold(setting)
    setting.servers[0].silent = True
    client.transport.write(query("slow"))
    await until(lambda: setting.servers[0].queries == ["slow"])
    assert wire.busy()
    assert not wire.deliverable()
    setting.servers[0].transport.write(done("slow"))
    await until(wire.deliverable)
    assert not wire.busy()


async def asks(client: Client, wire: Wire, statement: str) -> None:
    client.transport.write(query(statement))
    await until(wire.deliverable)
    wire.deliver()
    await until(lambda: not wire.busy())


async def test_a_notification_is_in_flight_from_when_it_is_sent(setting):
    client, listens = await setting.logged_in()
    sender, sends = await setting.logged_in()
    hold(setting)
    await asks(client, listens, "LISTEN news")
    await asks(sender, sends, "NOTIFY news, 'it rains'")
    assert listens.busy()
    news = frame(b"A", struct.pack("!i", 4712) + b"news\0it rains\0")
    setting.servers[0].transport.write(news)
    await until(lambda: not listens.busy())
    await until(lambda: client.received.endswith(news))


async def test_a_notification_is_not_due_to_who_is_in_a_transaction(setting):
    client, listens = await setting.logged_in()
    sender, sends = await setting.logged_in()
    hold(setting)
    await asks(client, listens, "LISTEN news")
    setting.servers[0].silent = True
    client.transport.write(query("BEGIN"))
    await until(lambda: setting.servers[0].queries[-1] == "BEGIN")
    setting.servers[0].transport.write(frame(b"C", b"BEGIN\0") + frame(b"Z", b"T"))
    await until(listens.deliverable)
    listens.deliver()
    await asks(sender, sends, "NOTIFY news, 'it rains'")
    assert not listens.busy()


async def test_release_lets_everything_through_and_holds_no_more(setting):
    client, wire = await setting.logged_in()
    hold(setting)
    client.transport.write(query("one") + query("two"))
    await until(lambda: len(wire.held) == 4)
    wire.release()
    await until(lambda: client.received == done("one") + done("two"))
    client.transport.write(query("three"))
    await until(lambda: client.received.endswith(done("three")))


async def test_the_login_is_held_only_if_asked_for(setting):
    setting.gate.hold = True
    await setting.logged_in()
    setting.gate.hold_login = True
    client = await setting.connect()
    await until(setting.gate.wires[1].deliverable)
    assert client.received == b""
    setting.gate.wires[1].deliver()
    await until(lambda: client.received == WELCOME)


async def test_a_cut_wire_is_lost_on_both_sides(setting):
    client, wire = await setting.logged_in()
    wire.cut()
    await until(lambda: client.lost)
    assert wire.closed
    assert not wire.busy()
    assert not wire.deliverable()
    assert not wire.in_transaction()


async def test_on_a_silent_wire_nothing_passes_and_nothing_closes(setting):
    client, wire = await setting.logged_in()
    hold(setting)
    client.transport.write(query("held"))
    await until(wire.deliverable)
    wire.fall_silent()
    assert not wire.deliverable()
    assert wire.in_flight() == ""
    client.transport.write(query("lost"))
    setting.servers[0].transport.write(done("nobody asked"))
    await rounds()
    assert setting.servers[0].queries == ["held"]
    assert client.received == b""
    assert (wire.tracker.owed, wire.deliverable(), wire.busy()) == (0, False, False)
    setting.servers[0].transport.close()
    await until(lambda: wire.server is None)
    await rounds()
    assert not client.lost
    assert not wire.deliverable()
    assert not wire.busy()


async def test_bytes_on_their_way_into_the_silence_are_in_flight(setting, monkeypatch):
    _, wire = await setting.logged_in()
    wire.fall_silent()
    monkeypatch.setattr(wire, "_all_arrived", lambda: False)
    assert wire.busy()
    wire.closed = True
    assert not wire.busy()


async def test_what_was_due_on_a_silent_wire_is_due_no_more(setting):
    client, wire = await setting.logged_in()
    hold(setting)
    setting.servers[0].silent = True
    client.transport.write(query("never answered"))
    await until(lambda: setting.servers[0].queries == ["never answered"])
    assert wire.busy()
    assert wire.in_flight()
    wire.fall_silent()
    assert not wire.busy()
    assert wire.in_flight() == ""


@pytest.mark.parametrize("old", [True, False])
@pytest.mark.parametrize("new", [True, False])
async def test_old_and_new_connections_fall_silent_each_for_itself(setting, old, new):
    gates = Gates.__new__(Gates)
    gates._relays = [setting.gate]
    _, wire = await setting.logged_in()
    gates.fall_silent(open_ones=old, new_ones=new)
    assert (wire.silent, setting.gate.silent) == (old, new)


async def test_the_server_is_out_of_reach_and_back(setting):
    gates = Gates.__new__(Gates)
    gates._relays = [setting.gate]
    gates.refuse_connections(True)
    _, client = await asyncio.get_running_loop().create_connection(Client, "127.0.0.1", setting.gate.port)
    await until(lambda: client.lost)
    gates.refuse_connections(False)
    await setting.logged_in()


async def test_who_hangs_up_on_a_silent_wire_is_not_heard_by_the_server(setting):
    client, wire = await setting.logged_in()
    wire.fall_silent()
    client.transport.close()
    await until(lambda: wire.closed)
    assert not wire.busy()
    assert wire.server is not None
    assert not wire.server.is_closing()


async def test_the_server_s_open_transaction_on_a_silent_wire_is_nobody_s_doing(setting):
    _, wire = await setting.logged_in()
    wire.tracker.in_transaction = True
    assert wire.in_transaction()
    wire.fall_silent()
    assert not wire.in_transaction()


async def test_a_new_connection_into_the_silence_is_open_and_gets_no_word(setting):
    setting.gate.silent = True
    _, client = await asyncio.get_running_loop().create_connection(Client, "127.0.0.1", setting.gate.port)
    client.transport.write(STARTUP)
    await until(lambda: bool(setting.gate.wires))
    await rounds()
    assert not setting.gate.wires[0].busy()
    assert setting.servers == []
    assert (client.received, client.lost) == (b"", False)


async def test_the_end_of_the_silence_ends_what_was_silent_and_nothing_else(setting):
    first, silent = await setting.logged_in()
    other, _ = await setting.logged_in()
    silent.fall_silent()
    setting.gate.silent = True
    setting.gate.end_silence()
    await until(lambda: first.lost)
    assert not other.lost
    await setting.logged_in()


async def test_a_reset_is_a_reset_and_a_cut_is_an_end(setting):
    client, wire = await setting.logged_in()
    other, cut = await setting.logged_in()
    wire.reset()
    cut.cut()
    await until(lambda: client.lost and other.lost)
    assert isinstance(client.error, ConnectionResetError)
    assert other.error is None
    wire.reset()  # there is nothing left to reset


async def test_a_gate_that_never_started_can_be_closed():
    await Gate("postgres", "127.0.0.1", 1, Timeline(), lambda: 1).close()


async def test_a_refused_connection_ends_at_once(setting):
    setting.gate.refuse_connections = True
    _, client = await asyncio.get_running_loop().create_connection(Client, "127.0.0.1", setting.gate.port)
    await until(lambda: client.lost)
    assert setting.servers == []


async def test_after_a_farewell_the_wire_is_busy_until_the_server_has_hung_up(setting):
    client, wire = await setting.logged_in()
    client.transport.write(TERMINATE)
    await until(lambda: wire._farewell)
    assert wire.busy()
    setting.servers[0].transport.close()
    await until(lambda: client.lost)
    assert not wire.busy()


async def test_the_end_of_the_connection_waits_behind_held_answers(setting):
    client, wire = await setting.logged_in()
    hold(setting)
    client.transport.write(query("last words"))
    await until(wire.deliverable)
    setting.servers[0].transport.close()
    await until(lambda: wire.server is None)
    assert not client.lost
    wire.deliver()
    await until(lambda: client.received == done("last words"))
    assert wire.deliverable()
    assert wire.deliver() == {"pieces": [], "ends": True}
    await until(lambda: client.lost)


async def test_who_hangs_up_without_a_word_leaves_the_wire_busy_until_the_server_has_done_what_it_was_asked(setting):
    """A driver that gives up a connection right behind its COMMIT: what is committed is known when the server is."""
    client, wire = await setting.logged_in()
    setting.servers[0].silent = True
    client.transport.write(query("COMMIT"))
    client.transport.close()
    await until(lambda: wire.closed)
    assert wire.busy()
    assert not wire.deliverable()
    await until(lambda: setting.servers[0].queries == ["COMMIT"])  # and then the server finds that nobody is there
    await until(lambda: not wire.busy())
    assert wire.server is None


async def test_who_hangs_up_before_the_server_is_reached_leaves_nothing_behind(setting):
    _, client = await asyncio.get_running_loop().create_connection(Client, "127.0.0.1", setting.gate.port)
    client.transport.abort()
    await until(lambda: bool(setting.gate.wires) and setting.gate.wires[0].closed and not setting.gate.connecting())
    await until(lambda: not setting.gate.wires[0].busy())


async def test_an_expected_end_is_held_apart_from_the_server_s_last_words(setting):
    client, wire = await setting.logged_in()
    hold(setting)
    client.transport.write(query("in flight"))
    await until(wire.deliverable)
    wire.expect_end()
    assert not wire.deliverable()  # what was in flight is lost
    assert wire.busy()  # until the server has hung up
    words = frame(b"E", b"SFATAL\0C57P01\0Mgood bye\0\0")
    setting.servers[0].transport.write(words)
    setting.servers[0].transport.close()
    await until(lambda: not wire.busy())
    frames = len(setting.timeline.frames)
    client.transport.write(query("into the void"))
    await until(lambda: len(setting.timeline.frames) > frames)
    assert not wire.in_transaction()
    wire.deliver()
    await until(lambda: client.received == words)
    assert not client.lost
    assert wire.deliver() == {"pieces": [], "ends": True}
    await until(lambda: client.lost)
    assert setting.servers[0].queries == ["in flight"]


async def test_a_number_that_a_driver_left_in_the_loop_does_not_make_the_gate_deaf(setting):
    """As asyncpg does when another thread's loop uses its pool: a connect that fails between two loops closes its
    socket and leaves the number in the selector, which then takes the next socket of that number for the old one."""
    loop: Any = asyncio.get_running_loop()
    client = socket.create_connection(("127.0.0.1", setting.gate.port))
    left = [socket.socket() for _ in range(8)]
    for each in left:
        loop._add_reader(each.fileno(), lambda: None)
    for each in left:
        each.close()
    client.sendall(STARTUP)
    await until(lambda: bool(setting.servers) and setting.servers[0].greeted)
    assert await loop.run_in_executor(None, client.recv, 1000) == WELCOME
    client.close()


async def test_bytes_that_the_kernel_still_carries_make_the_wire_busy(setting, monkeypatch):
    _, wire = await setting.logged_in()
    await until(lambda: not wire.busy())
    assert wire.driver_socket.found
    counts = iter([sockets._Counted(100, 50, 0), sockets._Counted(50, 99, 0)])  # first the driver's end, then ours
    monkeypatch.setattr(sockets, "_counters", lambda connection: next(counts))
    assert wire.busy()


async def until_accepted(setting: Setting) -> Wire:
    await until(lambda: bool(setting.gate.wires))
    return setting.gate.wires[-1]


async def test_a_connection_of_another_process_is_told_for_nothing_is_known_of_it(setting):
    script = "import socket, sys\nwith socket.create_connection(('127.0.0.1', int(sys.argv[1]))): sys.stdin.read()"
    words = [sys.executable, "-c", script, str(setting.gate.port)]
    with subprocess.Popen(words, stdin=subprocess.PIPE):  # noqa: ASYNC220  # it ends when the pipe is closed
        await until_accepted(setting)
    assert "no file of this process" in setting.timeline.failures[0]


async def test_a_connection_that_is_given_up_before_the_gate_sees_it_is_no_failure(setting):
    socket.create_connection(("127.0.0.1", setting.gate.port)).close()
    wire = await until_accepted(setting)
    assert not wire.driver_socket.found
    assert wire._all_arrived()
    assert wire.unread() == 0
    assert setting.timeline.failures == []


async def test_a_driver_s_socket_is_found_again_under_another_number(setting):
    client = socket.create_connection(("127.0.0.1", setting.gate.port))
    wire = await until_accepted(setting)
    again = client.dup()
    client.close()
    taken = socket.socket()  # it has the number now
    wire.client.write(b"unread")
    assert wire.unread() == len(b"unread")
    again.close()
    await until(lambda: wire.closed)
    assert wire.unread() == 0
    assert setting.timeline.failures == []
    taken.close()


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("_descriptor_between", "which socket is the driver's"),
        ("_counters", "what is under way in a connection"),
        ("thread_rests", "whether a thread sleeps"),
    ],
)
async def test_where_the_machine_does_not_say_what_the_fence_needs_nothing_is_judged(monkeypatch, fault, said):
    sockets.check_fence()
    monkeypatch.setattr(sockets, fault, lambda *_: (False, 0) if fault == "thread_rests" else None)
    with pytest.raises(sockets.NoFence, match=said) as refused:
        sockets.check_fence()
    assert len(str(refused.value).splitlines()) == 2
    cell = Cell.__new__(Cell)
    cell.specs = {"mysql": "mysql"}
    with pytest.raises(CellError, match=said):
        cell.open()


async def test_every_socket_that_is_set_aside_sends_at_once():
    """Also those that no loop ever sees: asyncio does so by itself, ``relay_until`` has none."""
    made = sockets.aside(socket.socket())
    assert made.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    made.close()


async def test_an_answer_in_two_parts_does_not_wait_for_an_acknowledgement(setting):
    """With Nagle's algorithm the second part is sent 40 ms later, and no counter has it until then."""
    _, wire = await setting.logged_in()
    for transport in (wire.client, wire.server):
        end = transport.get_extra_info("socket")
        assert end.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert end.fileno() >= sockets.first_aside()


@pytest.mark.parametrize("whose", ["the gate's", "the driver's"])
async def test_bytes_that_the_kernel_keeps_back_are_in_flight(setting, whose):
    client, wire = await setting.logged_in()
    await until(lambda: not wire.busy())
    sending = wire.client if whose == "the gate's" else client.transport
    kept = sending.get_extra_info("socket")
    kept.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)  # as Nagle's algorithm, but not by the clock
    sending.write(frame(b"N", b"SNOTICE\0\0"))
    assert not wire._all_arrived()
    kept.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 0)
    await until(wire._all_arrived)


async def test_what_the_driver_never_reads_is_not_in_flight_for_ever(setting):
    client, wire = await setting.logged_in()
    client.transport.pause_reading()
    for _ in range(200):
        wire.client.write(b"x" * 65536)
    await until(lambda: bool(sockets._counters(wire.client.get_extra_info("socket")).unsent))
    await until(wire._all_arrived)


NO_FAMILY = (9999, socket.SOCK_STREAM, 0, "", ("127.0.0.1", 1))
NO_SERVER = (socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", 1))


@pytest.mark.parametrize(
    ("addresses", "reason"),
    [
        ([], "its name has no address"),
        ([NO_FAMILY, NO_SERVER], f"[Errno {errno.ECONNREFUSED}] "),
        ([NO_SERVER, NO_FAMILY], f"[Errno {errno.EAFNOSUPPORT}] "),
    ],
)
async def test_a_server_that_is_not_reached_is_nobodys_hang_up(setting, addresses, reason):
    setting.listener.close()
    setting.gate._addresses = addresses
    _, client = await asyncio.get_running_loop().create_connection(Client, "127.0.0.1", setting.gate.port)
    await until(lambda: client.lost)
    assert setting.timeline.failures[0].startswith(f"the gate does not reach the server: {reason}")


async def test_a_server_is_reached_by_the_first_address_that_answers_without_a_wait_of_the_loop(setting):
    asyncio.get_running_loop().set_debug(True)  # then it refuses sockets that block
    setting.gate._addresses = [NO_FAMILY, NO_SERVER, *setting.gate._addresses]
    _, client = await asyncio.get_running_loop().create_connection(Client, "127.0.0.1", setting.gate.port)
    client.transport.write(STARTUP)
    await until(lambda: bool(setting.gate.wires))
    assert setting.gate.connecting()
    await until(lambda: client.received == WELCOME)
    assert not setting.gate.connecting()


@pytest.mark.parametrize("so", [True, False])
async def test_what_the_gate_is_told_holds_for_its_new_connections(setting, so):
    for what in ("hold", "hold_login", "by_frame", "pooled", "tls"):
        setattr(setting.gate, what, so)
    await asyncio.get_running_loop().create_connection(Client, "127.0.0.1", setting.gate.port)
    wire = await until_accepted(setting)
    assert [wire.holding, wire.hold_login, wire.by_frame, wire.pooled, wire._front is not None] == [so] * 5
    assert wire.peers is setting.gate.wires


async def test_a_write_is_in_flight_until_the_gate_has_it_and_not_after(setting):
    client, wire = await setting.logged_in()
    hold(setting)
    for number in range(20):
        client.transport.write(query(f"SELECT {number}"))
        await until(lambda: not wire.busy() and wire.deliverable())
        assert wire._all_arrived()
        wire.deliver()
        await until(lambda: bool(client.take()))


async def test_frames_are_recorded_with_direction_overlap_and_hold(setting):
    client, wire = await setting.logged_in()
    hold(setting)
    client.transport.write(query("one"))
    await until(wire.deliverable)
    client.transport.write(query("two"))
    await until(lambda: len(wire.held) == 4)
    asked = [record for record in setting.timeline.frames if record.kind == "Query"]
    assert [(record.text, record.overlap) for record in asked] == [("one", False), ("two", True)]
    told = [record for record in setting.timeline.frames if record.kind == "CommandComplete"]
    assert all(record.held and record.direction == "<-" for record in told)
    sequence = [record.sequence for record in setting.timeline.frames]
    assert sequence == sorted(set(sequence))


async def test_rows_are_placed_in_the_server_s_transactions(setting):
    client, wire = await setting.logged_in()
    for statement in ("BEGIN", "INSERT w-a1-1", "COMMIT", "INSERT w-a1-2", "begin", "INSERT w-a1-3"):
        client.transport.write(query(statement))
        await until(lambda: bool(client.take()))
    assert wire.segments.placed == {"w-a1-1": (1, 1), "w-a1-2": None, "w-a1-3": (1, 2)}


async def test_a_row_that_travels_with_its_commit_is_placed_before_it(setting):
    client, wire = await setting.logged_in()
    client.transport.write(query("BEGIN"))
    await until(lambda: bool(client.take()))
    client.transport.write(query("INSERT w-a1-1") + query("COMMIT"))
    await until(lambda: client.received.endswith(done("COMMIT")))
    assert wire.segments.placed == {"w-a1-1": (1, 1)}


async def test_a_server_that_is_not_there_ends_the_connection(setting):
    setting.listener.close()
    setting.gate.upstream = ("127.0.0.1", setting.gate.upstream[1])
    await setting.listener.wait_closed()
    _, client = await asyncio.get_running_loop().create_connection(Client, "127.0.0.1", setting.gate.port)
    await until(lambda: client.lost)
    assert not setting.gate.connecting()


@pytest.mark.parametrize(
    ("statements", "placed"),
    [
        (["BEGIN ISOLATION LEVEL SERIALIZABLE;"], (9, 1)),
        (["START TRANSACTION"], (9, 1)),
        (["  begin;"], (9, 1)),
        (["BEGIN", "ROLLBACK TO SAVEPOINT s"], (9, 1)),
        (["BEGIN", "rollback work to s"], (9, 1)),
        (["BEGIN", "ROLLBACK"], None),
        (["BEGIN", "END"], None),
        (["SELECT 'begin'"], None),
        (["BEGIN", "COMMIT", "BEGIN"], (9, 2)),
        (["BEGIN", "RELEASE SAVEPOINT s"], (9, 1)),
    ],
)
async def test_statements_begin_and_end_transactions(statements, placed):
    segments = Segments(9)
    for statement in statements:
        segments.statement(statement)
    segments.token("w-a-1")
    assert segments.placed == {"w-a-1": placed}


def test_outside_of_a_transaction_a_savepoint_is_one_for_sqlite_only():
    statements = ["SAVEPOINT a", "INSERT 1", "SAVEPOINT b", "RELEASE b", "INSERT 2", "RELEASE a", "INSERT 3"]
    for begins, places in ((True, [(1, 1), (1, 1), None]), (False, [None, None, None])):
        segments = Segments(1, savepoint_begins=begins)
        for statement in statements:
            segments.statement(statement)
            if statement.startswith("INSERT"):
                segments.token(f"w-x-{statement[-1]}")
        assert list(segments.placed.values()) == places


def test_the_driver_s_socket_is_known_by_both_of_its_ends():
    """A connection that an earlier run has lost may still be open, on the very port that a new one has got."""
    with (
        socket.create_server(("127.0.0.1", 0)) as earlier,
        socket.create_server(("127.0.0.1", 0)) as gate,
        socket.create_connection(gate.getsockname()) as driver,
    ):
        found = sockets._descriptor_between(driver.getsockname(), gate.getsockname())
        assert found is not None
        assert found[0] == driver.fileno()
        assert sockets._descriptor_between(driver.getsockname(), earlier.getsockname()) is None


async def test_a_call_that_blocks_the_loop_reaches_the_server_beside_it(setting):
    """As psycopg 3.1's cancel request does: it connects and waits for its answer in the loop's own thread."""
    listener = socket.create_server(("127.0.0.1", 0))
    setting.gate.upstream = listener.getsockname()
    answering = threading.Thread(target=answer_once, args=(listener,), daemon=True)
    answering.start()
    with setting.gate.beside_the_loop(), socket.create_connection(("127.0.0.1", setting.gate.port), 10) as call:
        call.sendall(b"cancel")
        assert call.recv(100) == b"you said cancel"
        assert call.recv(100) == b""
    answering.join(5)
    assert setting.gate.wires == []  # the gate itself saw nothing of it


class Warm:
    """Keeps connections without a look at them, and knows how its run ended."""

    def __init__(self) -> None:
        self.kept: list[Any] = []
        self.ended: list[Any] = []

    def take(self, startup: bytes) -> Any:
        assert startup == STARTUP
        return self.kept.pop() if self.kept else None

    def keep(self, kept: Any) -> None:
        self.kept.append(kept)

    def end_run(self, cancelled: Any) -> None:
        self.ended.append(cancelled)

    def close(self) -> None:
        self.ended.append("closed")


@pytest.mark.parametrize("beside", [False, True])
async def test_a_connection_that_was_kept_serves_the_next_driver(setting, beside):
    warm: Any = Warm()
    setting.gate.warm = warm
    first, _ = await setting.logged_in()
    first.transport.write(TERMINATE)
    await until(lambda: first.lost)
    (kept,) = warm.kept
    second, wire = await setting.logged_in()
    second.transport.write(query("SELECT 1"))
    await until(lambda: second.received == done("SELECT 1"))
    assert (len(setting.servers), setting.servers[0].queries, warm.kept) == (1, ["SELECT 1"], [])
    assert wire.server.get_extra_info("socket").fileno() == kept.connection.fileno()
    wire.tracker.cancels = 4711
    if beside:
        with setting.gate.beside_the_loop():
            pass
    await setting.gate.close()
    assert warm.ended == [[None, 4711], *["closed"] * beside]


async def test_a_call_that_connects_to_nothing_leaves_nothing_behind(setting):
    with setting.gate.beside_the_loop():
        pass
    client, _ = await setting.logged_in()  # the next connection is the gate's again
    client.transport.write(query("SELECT 1"))
    await until(lambda: client.received == done("SELECT 1"))


def answer_once(listener: socket.socket) -> None:
    with listener, listener.accept()[0] as caller:
        caller.sendall(b"you said " + caller.recv(100))


async def test_a_login_is_through_when_the_driver_has_asked_for_something(setting):
    client, wire = await setting.logged_in()
    assert not wire.logged_in
    client.transport.write(query("the first one"))
    await until(lambda: wire.logged_in)

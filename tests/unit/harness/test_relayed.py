"""One connection behind the gate without sockets: what passes, what is kept from the server, and what is due."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from matrix.harness import relayed
from matrix.harness.channel import Timeline
from matrix.harness.gates import Gates
from matrix.harness.relayed import Wire
from tests.unit.harness.test_gate import READY, STARTUP, TERMINATE, WELCOME, done, frame, query


class Transport:
    """One side, and what was written to it."""

    def __init__(self, port: int, end: socket.socket | None = None) -> None:
        self.port, self.written, self.closing, self.waiting, self.socket = port, b"", False, 0, end

    def write(self, data: bytes) -> None:
        self.written += data

    def close(self) -> None:
        self.closing = True

    abort = write_eof = close

    def is_closing(self) -> bool:
        return self.closing

    def get_write_buffer_size(self) -> int:
        return self.waiting

    def get_extra_info(self, what: str) -> Any:
        return {"sockname": ("127.0.0.1", self.port), "socket": self.socket}[what]


class Login:
    """What the gate asks where connections are kept."""

    def __init__(self, *answers: bytes | None, keeps: bool = True) -> None:
        self.answers, self.keeps = list(answers), keeps
        self.asked: list[bytes] = []
        self.heard: list[str] = []
        self.said: list[bytes] = []
        self.kept: list[Any] = []

    def ask(self, data: bytes) -> bytes | None:
        self.asked.append(data)
        if not self.answers:
            raise LookupError("another one than before")
        return self.answers.pop(0)

    def hear(self, statement: str) -> None:
        self.heard.append(statement)

    def say(self, data: bytes) -> None:
        self.said.append(data)

    def can_be_kept(self) -> bool:
        return self.keeps

    def keep(self, *what: Any) -> None:
        self.kept.append(what)


@pytest.fixture(autouse=True)
def all_arrives(monkeypatch):
    found = SimpleNamespace(unread=lambda: 5, all_arrived=lambda: True)
    monkeypatch.setattr(relayed, "DriverSocket", lambda *_: found)
    return found


def made(kind: str = "postgres", *, holding: bool = False, login: Login | None = None, reached: bool = True) -> Wire:
    wire = Wire(kind, 7, Timeline(), holding=holding, hold_login=False, by_frame=False)
    wire.peers, wire.pooled, wire.login = [wire], False, login  # type: ignore[assignment]
    wire.connected(Transport(1))  # type: ignore[arg-type]
    if reached:
        wire.reached(Transport(2))  # type: ignore[arg-type]
    return wire


def logged_in(**how: Any) -> Wire:
    wire = made(**how)
    wire.arrived(STARTUP)
    wire.from_server(WELCOME)
    wire.client.written = wire.server.written = b""  # type: ignore[union-attr]
    return wire


def test_it_is_known_by_its_number():
    wire = logged_in(holding=True)
    wire.from_client(query("one"))
    assert (wire.number, wire.label, wire.in_flight()) == (7, "connection 7", "connection 7 waits for the server")
    wire.from_server(done("one"))
    assert wire.in_flight() == "connection 7 holds CommandComplete, ReadyForQuery"
    assert {each.wire for each in wire.timeline.frames} == {7}
    assert wire.segments.wire == 7


@pytest.mark.parametrize(("kind", "so"), [("postgres", False), ("mysql", True), ("mariadb", True)])
def test_where_a_begin_ends_the_transaction_that_is_open(kind, so):
    assert made(kind).segments.begin_commits is so


def test_a_session_behind_a_pooler_is_known_by_the_port_of_who_uses_it():
    assert logged_in().backend_id() == 4711
    wire = made(reached=False)
    wire.pooled = True
    assert wire.backend_id() is None
    wire.reached(Transport(2))
    assert wire.backend_id() == 2


def test_what_the_driver_has_not_read_is_known_while_it_is_there():
    wire = made()
    assert wire.unread() == 5
    wire.cut()
    assert wire.unread() == 0


# -- a request to cancel at the same time as what it cancels -----------------------------------------------------------


def cancel(session: int = 4711) -> bytes:
    return struct.pack("!iiii", 16, 80877102, session, 1)


def session_and_request(**how: Any) -> tuple[Wire, Wire]:
    """A connection that is logged in, and another one of its server."""
    wire, request = logged_in(holding=True), made(**how)
    wire.peers = request.peers = [wire, request]
    return wire, request


def asked_and_cancelled(data: bytes = cancel()) -> tuple[Wire, Wire]:
    """A connection with a question that the server may not have begun with, and one with a request to cancel it."""
    wire, request = session_and_request(holding=True)
    wire.from_client(query("one"))
    request.from_client(data)
    return wire, request


def test_a_request_to_cancel_what_was_asked_just_now_is_sent_when_the_server_has_begun_with_it():
    wire, request = asked_and_cancelled()
    assert (request.server.written, request.due(), request.busy()) == (b"", False, False)
    assert wire.due()
    assert not wire.heard()
    assert request.heard()
    assert (request.server.written, request.due()) == (cancel(), True)
    assert not request.heard()


def test_a_request_to_cancel_what_the_server_has_begun_with_is_sent_at_once():
    wire, request = session_and_request()
    wire.from_client(query("one"))
    wire.heard()
    request.from_client(cancel())
    assert request.server.written == cancel()


def test_a_request_to_cancel_what_was_answered_is_sent_at_once():
    wire, request = session_and_request()
    wire.from_client(query("one"))
    wire.from_server(done("one"))
    request.from_client(cancel())
    assert request.server.written == cancel()


def test_a_request_to_cancel_another_session_is_sent_at_once():
    _, request = asked_and_cancelled(cancel(4712))
    assert request.server.written == cancel(4712)


def test_a_request_to_cancel_of_who_leaves_waits_too():
    _, request = asked_and_cancelled()
    request.client_lost()
    assert (request.server.written, request.server.closing, request.due()) == (b"", False, False)
    assert request.heard()
    assert (request.server.written, request.server.closing, request.due()) == (cancel(), True, True)


def test_a_request_to_cancel_what_somebody_asked_who_has_left_waits_too():
    """The server does first what it was asked."""
    wire, request = session_and_request()
    wire.from_client(query("one"))
    wire.client_lost()
    request.from_client(cancel())
    assert request.server.written == b""
    assert wire.due()


def test_a_request_to_cancel_waits_where_no_end_was_asked_for_yet():
    """As in libpq's pipelines: the server works on it, and owes nothing before a Sync."""
    wire, request = session_and_request()
    wire.from_client(frame(b"P", b"\0INSERT\0\0\0"))
    assert wire.tracker.owed == 0
    request.from_client(cancel())
    assert request.server.written == b""


def test_all_requests_that_waited_are_sent_in_one_quiet_moment_also_where_connections_are_kept():
    wire, first = asked_and_cancelled()
    login = Login(None)
    second = made(login=login, reached=False)
    second.peers = wire.peers = [wire, first, second]
    second.from_client(cancel())
    assert login.asked == []
    gates = Gates(Timeline(), lambda: None)
    gates.add(SimpleNamespace(wires=wire.peers))  # type: ignore[arg-type]
    assert gates.heard()
    assert first.server.written == cancel()
    assert login.asked == [cancel()]
    assert not gates.heard()


def test_what_stands_in_for_a_stuck_loop_sends_requests_to_cancel():
    _, request = asked_and_cancelled()
    request.client = request.server = None
    request.pump()
    assert request._early == cancel()


def test_a_request_to_cancel_is_lost_where_the_line_is_cut():
    for end in (Wire.cut, Wire.fall_silent):
        _, request = asked_and_cancelled()
        end(request)
        assert (request.heard(), request.server.written) == (False, b"")


@pytest.mark.parametrize("kept_back", [True, False])
def test_a_request_to_cancel_of_who_has_left_before_there_was_a_server_is_sent_all_the_same(kept_back):
    """It waits for no answer: without the gate it would lie in the server's socket."""
    wire, request = session_and_request(reached=False)
    if kept_back:
        wire.from_client(query("one"))
    request.from_client(cancel())
    request.client_lost()
    assert not request.due()
    assert request.heard() == kept_back
    request.reached(Transport(3))
    assert (request.server.written, request.server.closing, request.due()) == (cancel(), True, True)


@pytest.mark.parametrize("leave", [Wire.client_lost, Wire.cut])
def test_what_else_was_said_before_there_was_a_server_is_lost_with_who_said_it(leave):
    wire = made(reached=False)
    wire.from_client(STARTUP)
    leave(wire)
    server = Transport(3)
    wire.reached(server)
    assert (server.written, server.closing, wire.server) == (b"", True, None)


# -- logins at the same time -------------------------------------------------------------------------------------------


def both_log_in(**how: Any) -> tuple[Wire, Wire]:
    """Two connections of a server, which owes each an answer to its login."""
    first, second = made(**how), made(**how)
    first.peers = second.peers = [first, second]
    for wire in (first, second):
        wire.arrived(STARTUP)
    return first, second


def told(wire: Wire) -> bytes:
    return wire.client.written if wire.client is not None else b""  # type: ignore[attr-defined]


@pytest.mark.parametrize("holding", [False, True])
def test_logins_are_answered_in_the_order_of_their_connections(holding):
    first, second = both_log_in(holding=holding)
    second.from_server(WELCOME)
    assert (told(first), told(second)) == (b"", b"")
    assert second.timeline.frames[-1].kind == "ReadyForQuery"  # it is known when it came
    first.from_server(WELCOME)
    assert (told(first), told(second)) == (WELCOME, WELCOME)


def test_only_an_answer_that_is_due_is_waited_for():
    first, second = both_log_in()
    password = frame(b"R", struct.pack("!i", 3))
    first.from_server(password)  # it is the driver's turn, and nobody knows whether he takes it
    second.from_server(password)
    assert told(second) == password
    first.from_client(frame(b"p", b"word\0"))
    second.from_client(frame(b"p", b"word\0"))
    second.from_server(WELCOME)
    assert told(second) == password
    first.from_server(WELCOME[:3])
    assert told(second) == password
    first.from_server(WELCOME[3:])
    assert told(second) == password + WELCOME


@pytest.mark.parametrize("ends", [Wire.client_lost, Wire.server_lost, Wire.cut, Wire.fall_silent])
def test_who_gets_no_answer_any_more_is_not_waited_for(ends):
    first, second = both_log_in()
    second.from_server(WELCOME)
    ends(first)
    assert (told(first), told(second)) == (b"", WELCOME)


def test_who_comes_only_to_cancel_is_not_waited_for():
    first, second = made(), made()
    first.peers = second.peers = [first, second]
    first.arrived(struct.pack("!iiii", 16, 80877102, 4711, 1))
    second.arrived(STARTUP)
    second.from_server(WELCOME)
    assert told(second) == WELCOME


def test_a_login_that_is_refused_is_told_before_its_end():
    first, second = both_log_in()
    refused = frame(b"E", b"SFATAL\0C53300\0Mtoo many\0\0")
    second.from_server(refused)
    second.server_lost()
    assert (told(second), second.client.closing) == (b"", False)  # type: ignore[union-attr]
    first.from_server(WELCOME)
    assert (told(second), second.client.closing) == (refused, True)  # type: ignore[union-attr]


def test_what_waits_goes_through_when_nothing_is_held_any_more_and_is_lost_with_its_connection():
    first, second = both_log_in(holding=True)
    second.from_server(WELCOME)
    second.release()
    assert told(second) == WELCOME
    for lose in (Wire.cut, Wire.fall_silent):
        first, second = both_log_in()
        second.from_server(WELCOME)
        lose(second)
        first.from_server(WELCOME)
        assert (told(first), told(second)) == (WELCOME, b"")


def test_a_login_whose_order_a_schedule_decides_waits_for_none():
    first, second = both_log_in(holding=True)
    first.hold_login = second.hold_login = True
    second.from_server(WELCOME)
    assert second.deliverable()
    second.deliver()
    assert told(second) == WELCOME


# -- TLS ---------------------------------------------------------------------------------------------------------------


def test_what_comes_by_tls_is_plain_for_the_server_and_answered_in_kind(monkeypatch):
    class Front:
        def __init__(self, *told: Any) -> None:
            self.told = told

        def received(self, data: bytes) -> bytes:
            return data.removeprefix(b"tls:")

        def answer(self, piece: Any) -> Any:
            return replace(piece, data=b"<" + piece.data)

    monkeypatch.setattr(relayed, "FRONTS", {"postgres": Front})
    wire = Wire("postgres", 7, Timeline(), holding=False, hold_login=False, by_frame=False)
    wire.peers = [wire]
    client, server, encrypting = Transport(1), Transport(2), Transport(3)
    wire.connected(client, tls=True)
    transport, upgraded, failures = wire._front.told
    assert transport is client
    assert failures is wire.timeline.failures
    wire.reached(server)
    upgraded(encrypting)
    wire.arrived(b"tls:" + STARTUP)
    wire.arrived(b"tls:")
    assert server.written == STARTUP
    wire.from_server(WELCOME)
    assert client.written == b""
    assert encrypting.written.count(b"<") == 3  # the login's messages, each by the front
    wire.from_server(done("one"))
    assert encrypting.written.endswith(done("one"))


def test_without_tls_there_is_nothing_in_front():
    assert made()._front is None


# -- what is under way -------------------------------------------------------------------------------------------------


def test_who_asks_while_one_answer_is_due_overlaps():
    wire = logged_in()
    wire.from_client(query("one"))
    wire.from_client(query("two"))
    asked = [each.overlap for each in wire.timeline.frames if each.kind == "Query"]
    assert asked == [False, True]


def test_news_come_when_the_server_is_ready_and_not_before():
    """A part of a question that is not finished: its answer is there, but the server waits for the rest."""
    wire = logged_in()
    wire.from_client(frame(b"P", b"\0SELECT 1\0\0\0") + frame(b"H"))
    wire.from_server(frame(b"1"))
    wire.news_due = 1
    assert not wire.busy()
    wire.from_client(frame(b"S"))
    wire.from_server(READY)
    assert wire.busy()


def test_each_of_some_news_is_due():
    wire = logged_in()
    wire.from_client(query("LISTEN news"))
    wire.from_server(done("LISTEN"))
    for _ in range(2):
        wire._hear("NOTIFY news")
    news = frame(b"A", struct.pack("!i", 4712) + b"news\0it rains\0")
    wire.from_server(news)
    assert wire.busy()
    wire.from_server(news)
    assert not wire.busy()


def test_a_row_whose_token_is_no_part_of_a_statement_is_placed_too():
    wire = logged_in()
    wire.from_client(query("BEGIN"))
    wire.from_client(frame(b"B", b"\0\0\0\0\0\1\0\0\0\6w-a1-1\0\0"))
    assert wire.segments.placed == {"w-a1-1": (7, 1)}


def test_what_is_said_when_the_server_has_gone_goes_nowhere():
    wire = logged_in(holding=True)
    wire.expect_end()
    wire.server_lost()
    wire.from_client(query("into the void"))
    assert not wire.busy()


def test_every_failure_of_the_server_is_kept():
    wire = logged_in()
    for code in ("53100", "53200"):
        wire.from_server(frame(b"E", f"SERROR\0C{code}\0Mno\0\0".encode()))
    assert [each.partition(",")[0] for each in wire.timeline.failures] == ["postgres says 53100", "postgres says 53200"]
    assert all(each.endswith(", on connection 7") for each in wire.timeline.failures)


def test_behind_its_last_words_the_server_s_end_is_held():
    wire = logged_in(holding=True)
    wire.from_server(frame(b"E", b"SFATAL\0VFATAL\0C57P01\0Mgood bye\0\0"))
    assert wire.deliverable()
    wire.deliver()
    wire.server_lost()
    assert wire.deliverable()
    assert wire.in_flight() == "connection 7 holds the end of the connection"
    assert not wire.client.is_closing()
    assert wire.deliver() == {"pieces": [], "ends": True}
    assert wire.client.is_closing()


def test_an_answer_to_who_has_hung_up_goes_nowhere():
    wire = logged_in()
    wire.from_client(query("one"))
    wire.client_lost()
    wire.from_server(done("one"))
    assert wire.closed


def test_an_end_that_nobody_holds_is_passed_on_at_once():
    wire = logged_in(holding=True)
    wire.server_lost()
    assert wire.client.is_closing()
    assert not wire.deliverable()


def test_an_expected_end_may_come_in_the_place_of_an_answer():
    wire = logged_in(holding=True)
    wire.from_client(query("one"))
    wire.expect_end()
    wire.server_lost()
    assert wire.deliverable()
    wire.client_lost()
    assert not wire.deliverable()


def test_what_is_held_for_who_has_hung_up_is_delivered_to_nobody():
    wire = logged_in(holding=True)
    wire.from_client(query("one"))
    wire.from_server(done("one"))
    wire.client_lost()
    assert len(wire.deliver()["pieces"]) == 2


@pytest.mark.parametrize("rows", [0, 1, 2])
def test_an_answer_is_told_by_its_first_and_its_last_message(rows):
    wire = logged_in(holding=True)
    wire.from_client(query("one"))
    row = frame(b"D", b"\0\1\0\0\0\3abc")
    wire.from_server(frame(b"T", b"\0\0") * bool(rows) + row * rows + done("one"))
    kinds = [(each["kind"], each["text"]) for each in wire.deliver()["pieces"]]
    first = wire.timeline.frames[-2 - rows - bool(rows)]
    assert kinds == [(first.kind, first.text), ("ReadyForQuery", "idle")]


def test_a_single_message_is_told_once():
    wire = logged_in(holding=True)
    wire.by_frame = True
    wire.from_client(query("one"))
    wire.from_server(done("one"))
    assert wire.deliver()["pieces"] == [{"kind": "CommandComplete", "text": ""}]


def test_what_was_cut_is_closed_and_nothing_is_under_way():
    wire = logged_in()
    wire.cut()
    assert wire.closed is True
    assert not wire.busy()


def test_what_the_server_is_still_to_hear_is_under_way():
    wire = made(reached=False)
    assert not wire.busy()
    wire.from_client(STARTUP)
    assert wire.busy()
    wire.reached(Transport(2))
    wire.from_server(WELCOME)
    assert not wire.busy()
    assert wire.in_flight() == ""


def test_bytes_that_the_driver_has_still_to_get_are_under_way_while_it_is_there(all_arrives):
    wire = logged_in()
    all_arrives.all_arrived = lambda: False
    assert wire.busy()
    wire.client = None
    assert not wire.busy()


def test_a_frame_is_recorded_with_all_that_is_shown_of_it():
    wire = logged_in(holding=True)
    wire.from_client(query("one"))
    wire.from_server(done("one"))
    asked, told, _ = wire.timeline.frames[-3:]
    assert [(each.wire, each.direction, each.kind, each.text) for each in (asked, told)] == [
        (7, "->", "Query", "one"),
        (7, "<-", "CommandComplete", ""),
    ]
    assert (asked.length, told.length) == (len(query("one")), len(done("one")) - len(READY))
    assert told.sequence == asked.sequence + 1
    assert 0 <= asked.seconds <= told.seconds < 60
    assert [(each.overlap, each.held) for each in (asked, told)] == [(False, False), (False, True)]


# -- beside a loop that is stuck ---------------------------------------------------------------------------------------


@pytest.fixture
def stuck() -> Iterator[Callable[..., Any]]:
    """``stuck()``: a wire, the driver's end and the server's."""
    opened = []

    def make(**how: Any) -> tuple[Wire, socket.socket, socket.socket]:
        wire, ends = logged_in(**how), []
        for side in (wire.client, wire.server):
            ours, theirs = socket.socketpair()
            ours.setblocking(False)
            theirs.setblocking(False)
            side.socket = ours  # type: ignore[union-attr]
            ends.append(theirs)
            opened.extend([ours, theirs])
        return wire, *ends

    yield make
    for each in opened:
        each.close()


def hears_the_end(end: socket.socket) -> bool:
    try:
        return end.recv(1) == b""
    except BlockingIOError:
        return False


def test_what_lies_in_the_sockets_and_what_is_held_goes_through(stuck):
    wire, driver, server = stuck(holding=True)
    wire.from_client(query("one"))
    wire.from_server(done("one"))
    wire.server.written = b""
    wire.pump()
    assert (wire.client.written, wire.server.written) == (done("one"), b"")
    server.send(frame(b"N", b"SNOTICE\0\0"))
    wire.pump()  # the driver says nothing
    assert wire.client.written == done("one") + frame(b"N", b"SNOTICE\0\0")
    driver.send(query("two"))
    wire.pump()
    assert wire.server.written == query("two")
    assert not hears_the_end(driver)
    assert not hears_the_end(server)


def test_who_hangs_up_is_told_to_the_other(stuck):
    wire, driver, server = stuck()
    driver.close()
    wire.pump()
    assert hears_the_end(server)
    wire, driver, server = stuck()
    server.close()
    wire.pump()
    assert hears_the_end(driver)


def test_a_reset_is_an_end_too(stuck, monkeypatch):
    wire, _, server = stuck()
    read = os.read

    def reset(number: int, size: int) -> bytes:
        if number == wire.client.socket.fileno():
            raise ConnectionResetError
        return read(number, size)

    monkeypatch.setattr(os, "read", reset)
    server.send(frame(b"N", b"SNOTICE\0\0"))
    wire.pump()
    assert hears_the_end(server)
    assert wire.server.written == b""
    assert wire.client.written


@pytest.mark.parametrize("side", ["client", "server"])
def test_what_is_closing_is_closed_and_the_other_goes_on(stuck, side):
    wire, driver, server = stuck()
    getattr(wire, side).closing = True
    driver.send(query("two"))
    server.send(frame(b"N", b"SNOTICE\0\0"))
    wire.pump()
    assert hears_the_end(driver if side == "client" else server)
    asked, told = (any(each.kind == kind for each in wire.timeline.frames) for kind in ("Query", "NoticeResponse"))
    assert (asked, told) == (side == "server", side == "client")
    getattr(wire, side).socket.close()
    wire.pump()  # it knows already


@pytest.mark.parametrize("side", ["client", "server"])
def test_who_is_not_there_is_passed_over(stuck, side):
    wire, driver, server = stuck()
    client = wire.client
    setattr(wire, side, None)
    server.send(frame(b"N", b"SNOTICE\0\0"))
    driver.send(query("two"))
    wire.pump()
    assert not client.written
    heard = any(each.kind == "NoticeResponse" for each in wire.timeline.frames)
    assert heard == (side == "client")
    (server if side == "client" else driver).close()
    wire.pump()


def test_more_than_a_socket_takes_is_no_hang_of_the_driver(stuck):
    wire, driver, _ = stuck()
    wire.server.waiting = 1
    driver.send(query("two"))
    with pytest.raises(BlockingIOError, match=r"^connection 7: more is due than a socket takes while the loop is stuc"):
        wire.pump()


# -- connections that are kept -----------------------------------------------------------------------------------------


def test_a_login_that_was_heard_before_is_answered_without_the_server():
    login = Login(WELCOME)
    wire = made(login=login, reached=False)
    wire.from_client(STARTUP)
    assert login.asked == [STARTUP]
    assert wire.client.written == WELCOME
    assert not wire.busy()
    wire.reached(Transport(2))
    assert wire.server.written == b""
    wire.from_client(query("SELECT 1"))
    assert wire.server.written == query("SELECT 1")
    assert login.heard == ["SELECT 1"]
    assert len(login.asked) == 1


def test_a_login_that_was_not_is_the_server_s_and_is_remembered():
    login = Login(None)
    wire = made(login=login)
    wire.from_client(STARTUP)
    assert wire.server.written == STARTUP
    wire.from_server(WELCOME)
    wire.from_client(query("SELECT 1"))
    wire.from_server(done("SELECT 1"))
    assert login.said == [WELCOME]
    assert wire.client.written == WELCOME + done("SELECT 1")


def test_a_login_that_goes_otherwise_is_an_error_of_the_run_and_cut():
    wire = made(login=Login())
    wire.from_client(STARTUP)
    assert wire.timeline.failures == ["another one than before, on connection 7"]
    assert wire.closed
    assert wire.server.written == b""


def test_who_says_goodbye_leaves_a_connection_that_is_kept():
    login = Login(None)
    wire = logged_in(login=login)
    server = wire.server
    wire.from_client(TERMINATE)
    assert login.kept == [(server, 4711, 0)]
    assert server.written == b""
    assert wire.client.is_closing()
    assert not wire.busy()


@pytest.mark.parametrize(("through", "kept"), [((), 0), ((True,), 1), ((True, True), 2), ((True, False), None)])
def test_requests_to_cancel_the_session_are_counted_when_the_server_is_through_with_them(through, kept):
    """``kept``: with how many; None: not at all, as the server may still come to one."""
    login = Login(None)
    wire = logged_in(login=login)
    server = wire.server
    for over, session in [*((each, 4711) for each in through), (False, 4712)]:
        request = made()
        request.tracker.cancels, request._lost = session, over  # type: ignore[misc]
        wire.peers.append(request)
    wire.from_client(TERMINATE)
    assert login.kept == ([] if kept is None else [(server, 4711, kept)])
    assert server.written == (TERMINATE if kept is None else b"")


@pytest.mark.parametrize("why", ["it is marked", "an answer is due", "one is held", "it ends", "it closes", "it waits"])
def test_a_connection_is_not_kept_where(why):
    login = Login(None, keeps=why != "it is marked")
    wire = logged_in(login=login, holding=why == "one is held")
    if why in ("an answer is due", "one is held"):
        wire.from_client(query("one"))
    if why == "one is held":
        wire.from_server(done("one"))
    if why == "it ends":
        wire.expect_end()
    server: Any = wire.server
    server.closing, server.waiting = why == "it closes", int(why == "it waits")
    wire.from_client(TERMINATE)
    assert login.kept == []
    assert server.written.endswith(TERMINATE) == (why != "it closes")
    assert wire.server is server


def test_a_connection_that_the_driver_leaves_before_there_is_one_is_not_kept():
    login = Login(WELCOME)
    wire = made(login=login, reached=False)
    wire.from_client(STARTUP)
    wire.from_client(TERMINATE)
    assert login.kept == []
    wire.reached(Transport(2))
    assert wire.server.written == TERMINATE


def test_who_goes_on_is_not_asked_to_be_kept():
    login = Login(None)
    wire = logged_in(login=login)
    wire.from_client(query("one"))
    assert login.kept == []
    assert wire.server.written == query("one")


def test_an_answer_that_the_server_owes_is_due_and_bytes_on_their_way_to_the_driver_are_not(monkeypatch):
    """What is due wakes the loop up; what the driver has not been reached by is only looked for."""
    wire = logged_in()
    wire.from_client(query("SELECT 1"))
    assert (wire.due(), wire.busy()) == (True, True)
    wire.from_server(done("SELECT 1"))
    assert (wire.due(), wire.busy()) == (False, False)
    monkeypatch.setattr(wire, "_all_arrived", lambda: False)
    assert (wire.due(), wire.busy()) == (False, True)

"""From a build to a running server, step by step, with programs that are made up: what each step is given, what it
leaves when the next one fails, and what people are told then."""

from __future__ import annotations

import functools
import os
import signal
import socket
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

import pytest

from matrix.servers import cache, launch, mysql, postgres, private, start, tools
from matrix.servers.builds import Build
from matrix.servers.errors import NoSpaceError, ServerError
from matrix.servers.launch import Prepared
from matrix.servers.private import Order
from matrix.servers.tools import Account

ACCOUNT = Account(65534, 65533)


@pytest.fixture
def build(tmp_path: Path) -> Callable[[str], Build]:
    """``build(kind)``: of a program that is a file and no more."""
    (tmp_path / "program").touch()
    return lambda kind: Build(kind, "1", "1.2", "made up", tmp_path / "program")


@pytest.fixture
def owners(monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[int, int]]:
    """Who was given what, by its path: only root may give anything."""
    given: dict[str, tuple[int, int]] = {}

    def chown(path: Any, uid: int, gid: int, *, follow_symlinks: bool = True) -> None:
        assert not follow_symlinks
        given[os.fspath(path)] = (uid, gid)

    monkeypatch.setattr(os, "chown", chown)
    return given


# The data template


def test_a_template_is_made_once_for_the_server_s_user_alone(
    tmp_path: Path, build: Callable[[str], Build], owners: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Any] = []
    modes: list[int] = []

    def make_data(of: Build, data: Path, account: Account | None, by: object = None) -> None:
        made.append((by, of.kind, account))
        modes.append(stat.S_IMODE(data.stat().st_mode))
        assert owners[str(data)] == (65534, 65533)
        (data / "content").write_text(of.kind)

    monkeypatch.setenv("MATRIX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cache, "server_account", lambda: ACCOUNT)
    monkeypatch.setattr(cache, "check_enterable", lambda *_: None)
    for module in (mysql, postgres):
        monkeypatch.setattr(module, "make_data", functools.partial(make_data, by=module))
    needed = []
    new_entry = cache.new_entry
    monkeypatch.setattr(cache, "new_entry", lambda entry, need: needed.append(need) or new_entry(entry, need))
    for kind in ("postgres", "mysql", "mariadb"):
        said: list[str] = []
        data = start.data_template(build(kind), said.append)
        assert data == tmp_path / "cache" / "templates" / f"{build(kind).key}-{start.TEMPLATE_FORMAT}" / "data"
        assert (data / "content").read_text() == kind
        assert said == [f"preparing data folder for {kind} 1.2"]
        assert start.data_template(build(kind), said.append) == data
        assert len(said) == 1
        manifest = cache.read_manifest(data.parent)
        assert manifest == {"release": "1.2", "origin": "made up", "format": start.TEMPLATE_FORMAT}
        assert (tmp_path / "cache" / "locks" / f"template-{build(kind).key}").is_file()
    assert made == [(postgres, "postgres", ACCOUNT), (mysql, "mysql", ACCOUNT), (mysql, "mariadb", ACCOUNT)]
    assert modes == [0o700] * 3
    assert needed == [40, 100, 60]


def test_a_template_that_another_run_makes_meanwhile_is_taken(
    tmp_path: Path, build: Callable[[str], Build], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MATRIX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cache, "check_enterable", lambda *_: None)
    answers = iter([False, True])
    monkeypatch.setattr(start, "_is_whole", lambda entry: next(answers))
    monkeypatch.setattr(start, "_make_template", lambda *_: pytest.fail("it was there"))
    said: list[str] = []
    start.data_template(build("mysql"), said.append)
    assert said == []


def test_a_template_below_a_closed_folder_is_refused(
    tmp_path: Path, build: Callable[[str], Build], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def closed(*arguments: Any) -> None:
        asked.append(arguments)
        raise ServerError("closed")

    monkeypatch.setenv("MATRIX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cache, "check_enterable", closed)
    with pytest.raises(ServerError, match="closed"):
        start.data_template(build("mysql"), lambda _: None)
    assert asked == [(tmp_path / "cache", "MATRIX_CACHE")]


@pytest.mark.parametrize(
    ("files", "whole"),
    [({"manifest.json": "{}", "data/PG_VERSION": ""}, True), ({"manifest.json": "{}", "data": None}, False),
     ({"manifest.json": "{}"}, False), ({"data/PG_VERSION": ""}, False),
     ({"manifest.json": "{", "data/PG_VERSION": ""}, False)],
)  # fmt: skip
def test_a_template_is_whole_with_its_manifest_and_data(tmp_path: Path, files: dict[str, Any], whole: bool) -> None:
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).mkdir() if content is None else (tmp_path / name).write_text(content)
    assert start._is_whole(tmp_path) is whole


# The run folder


@pytest.mark.parametrize(("kind", "number"), [("postgres", signal.SIGQUIT), ("mysql", signal.SIGKILL)])
def test_a_run_folder_is_filled_for_the_server_s_user(
    tmp_path: Path, shared_folder: Path, build: Callable[[str], Build], owners: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch, kind: str, number: int,
) -> None:  # fmt: skip
    template, folder = tmp_path / "template", shared_folder / kind  # the path of a socket may be no longer than that
    (template / "sub").mkdir(parents=True)
    (template / "sub" / "file").write_text("content")
    (template / "link").symlink_to("/nowhere")
    folder.mkdir()
    asked: list[Any] = []
    monkeypatch.setattr(cache, "server_account", lambda: ACCOUNT)
    monkeypatch.setattr(postgres, "make_user", lambda *arguments: asked.append(arguments))
    prepared = start._prepare(build(kind), template, folder, "secret", 5)

    data, sockets, users = folder / "data", folder / "socket", folder / "users.sql"
    assert (data / "sub" / "file").read_text() == "content"
    assert [stat.S_IMODE((folder / name).stat().st_mode) for name in ("socket", "tmp")] == [0o755, 0o700]
    own = {data, data / "sub", data / "sub" / "file", data / "link", sockets, folder / "tmp"}
    assert owners == {str(path): (65534, 65533) for path in (own if kind == "postgres" else {*own, users})}
    assert prepared.secret == users
    assert prepared.order.account == ACCOUNT
    assert prepared.order.signal == number
    assert prepared.order.state == {"kind": kind, "version": "1", "port": 5, "owner": os.getpid()}
    if kind == "postgres":
        assert asked == [(build(kind), data, "secret", ACCOUNT)]
        assert prepared.order.command == postgres.command(build(kind), data, sockets, 5)
        lines = ["7", "", "", "", "", "", "", "ready"]
        (data / "postmaster.pid").write_text("\n".join(lines))
        assert prepared.ready(SimpleNamespace(pid=7))
        assert not prepared.ready(SimpleNamespace(pid=8))
        return
    command = mysql.command(build(kind), data, folder / "tmp", sockets / "mysql", 5, users)
    assert prepared.order.command == command
    assert "secret" in users.read_text()
    assert not prepared.ready(SimpleNamespace(pid=7))
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(sockets / "mysql"))
        server.listen()
        assert not prepared.ready(SimpleNamespace(pid=7)), "it takes connections and does not greet"
        server.accept()[0].close()
        assert greeted(server, b"", lambda: prepared.ready(SimpleNamespace(pid=7))) is False
        assert greeted(server, b"\x4a\0\0\0\x0a9.7", lambda: prepared.ready(SimpleNamespace(pid=7))) is True


def greeted(server: socket.socket, greeting: bytes, asked: Callable[[], bool]) -> bool:
    """What is made of a server that says this to who connects."""

    def greet() -> None:
        with server.accept()[0] as client:
            client.sendall(greeting)

    thread = threading.Thread(target=greet)
    thread.start()
    try:
        return asked()
    finally:
        thread.join()


def test_who_is_not_root_gives_nothing_away(
    tmp_path: Path, build: Callable[[str], Build], owners: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "server_account", lambda: None)
    for name in ("template", "run"):
        (tmp_path / name).mkdir()
    prepared = start._prepare(build("mysql"), tmp_path / "template", tmp_path / "run", "secret", 5)
    assert prepared.order.account is None
    assert owners == {}


# The server


def started(
    build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, launched: Callable[..., Any]
) -> tuple[Any, list[str]]:
    """``start`` with something else in the place of ``launch``: the server and what was said."""
    said: list[str] = []
    monkeypatch.setenv("MATRIX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MATRIX_RUN", str(tmp_path / "run"))
    monkeypatch.setattr(cache, "check_enterable", lambda *_: None)
    templates = {(build, said.append): tmp_path / "template"}
    monkeypatch.setattr(start, "data_template", lambda *asked: templates[asked])
    monkeypatch.setattr(start, "launch", launched)
    return start.start(build, said.append), said


@pytest.mark.parametrize(("kind", "where"), [("postgres", "socket"), ("mysql", "socket/mysql")])
def test_a_server_says_where_it_is_and_has_a_password_of_its_own(
    tmp_path: Path, build: Callable[[str], Build], monkeypatch: pytest.MonkeyPatch, kind: str, where: str
) -> None:
    prepared: list[Any] = []
    monkeypatch.setattr(start, "_prepare", lambda *arguments: prepared.append(arguments))
    process = SimpleNamespace(folder=tmp_path / "s1", pid=7)

    def launched(of: Build, root: Path, prepare: Callable[[Path, int], Any]) -> tuple[Any, int]:
        assert (of, root) == (build(kind), tmp_path / "run" / f"matrix-servers-{os.getuid()}")
        prepare(tmp_path / "s1", 5)
        return process, 5

    passwords = []
    for _ in range(2):
        server, said = started(build(kind), tmp_path, monkeypatch, launched)
        assert said == [f"starting {kind} 1.2"]
        assert prepared[-1] == (build(kind), tmp_path / "template", tmp_path / "s1", server.password, 5)
        assert (server.kind, server.version, server.host, server.port, server.user, server.socket, server.release,
                server.origin, server.process, server.given) == (
            kind, "1", "127.0.0.1", 5, "tester", str(tmp_path / "s1" / where), "1.2", "made up", process, False,
        )  # fmt: skip
        passwords.append(server.password)
    assert len({*passwords}) == 2
    assert min(map(len, passwords)) >= 32


def test_who_may_not_walk_through_is_told_before_anything_is_swept(
    tmp_path: Path, build: Callable[[str], Build], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    monkeypatch.setenv("MATRIX_RUN", str(tmp_path / "run"))

    def closed(*arguments: Any) -> None:
        asked.append(arguments)
        raise ServerError("closed")

    monkeypatch.setattr(cache, "check_enterable", closed)
    monkeypatch.setattr(private, "sweep", lambda root: pytest.fail("swept"))
    with pytest.raises(ServerError, match=r"^closed$"):
        start.start(build("mysql"), lambda _: None)
    assert asked == [(tmp_path / "run", "MATRIX_RUN")]


def test_what_killed_runs_left_is_swept_before_a_start(
    tmp_path: Path, build: Callable[[str], Build], monkeypatch: pytest.MonkeyPatch
) -> None:
    swept: list[Path] = []
    monkeypatch.setattr(private, "sweep", swept.append)
    process = SimpleNamespace(folder=tmp_path, pid=7)
    started(build("mysql"), tmp_path, monkeypatch, lambda *_: (process, 5))
    assert swept == [tmp_path / "run" / f"matrix-servers-{os.getuid()}"]


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), ServerError("it ended")])
def test_a_server_that_does_not_start_names_what_it_is_made_of(
    tmp_path: Path, build: Callable[[str], Build], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fails(*_: Any) -> Any:
        raise error

    with pytest.raises(ServerError) as caught:
        started(build("mysql"), tmp_path, monkeypatch, fails)
    templates = tmp_path / "cache" / "templates"
    assert str(caught.value) == (f"{error}\nIf that comes again, remove {templates} and run again: it is made anew.")
    (tmp_path / "cache" / "mysql-1" / "tree").mkdir(parents=True)
    (tmp_path / "cache" / "mysql-1" / "tree" / "mysqld").touch()
    cached = Build("mysql", "1", "1.2", "made up", tmp_path / "cache" / "mysql-1" / "tree" / "mysqld")
    with pytest.raises(ServerError) as caught:
        started(cached, tmp_path, monkeypatch, fails)
    assert f"remove {tmp_path / 'cache' / 'mysql-1'} and {templates} and run again" in str(caught.value)


@pytest.mark.parametrize(("kind", "megabytes"), [("postgres", 40), ("mariadb", 60), ("mysql", 100)])
def test_a_full_disk_is_told_with_what_is_needed_and_nothing_to_remove(
    tmp_path: Path, build: Callable[[str], Build], monkeypatch: pytest.MonkeyPatch, kind: str, megabytes: int
) -> None:
    def full(*_: Any) -> Any:
        raise NoSpaceError(tools.NO_SPACE)

    with pytest.raises(NoSpaceError) as caught:
        started(build(kind), tmp_path, monkeypatch, full)
    root = tmp_path / "run" / f"matrix-servers-{os.getuid()}"
    assert str(caught.value) == (
        f"{tools.NO_SPACE}\n{root} is full: free some space (about {megabytes} MB are needed) or set MATRIX_RUN to a "
        "folder on another disk"
    )


# Launching


class Made:
    """A process that is made up: ``lives`` answers in turn, then what it was told last."""

    def __init__(self, folder: Path, held: IO[str], order: Order) -> None:
        self.folder, self.held, self.order = folder, held, order
        self.lives, self.log, self.stopped = [True], "", 0
        self.pid = 7

    def alive(self) -> bool:
        return self.lives.pop(0) if len(self.lives) > 1 else self.lives[0]

    def log_tail(self, count: int) -> str:
        return "\n".join(self.log.splitlines()[-count:])

    def stop(self) -> None:
        self.stopped += 1


@pytest.fixture
def launching(root: Path, build: Callable[[str], Build], monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """``launching.to(ready, lives, log)`` launches what is made up so; ``made`` are its processes, ``ports`` theirs."""
    state = SimpleNamespace(made=[], ports=[], secrets=[], root=root)
    monkeypatch.setattr(private, "free_port", lambda: len(state.ports) + 1)

    def to(ready: Callable[[Made], bool], lives: tuple[bool, ...] = (True,), log: str = "") -> Any:
        def process(folder: Path, held: IO[str], order: Order) -> Made:
            state.made.append(Made(folder, held, order))
            state.made[-1].lives, state.made[-1].log = [*lives], log
            return state.made[-1]

        def prepare(folder: Path, port: int) -> Prepared:
            assert folder.parent == state.root
            state.ports.append(port)
            state.secrets.append(folder / "secret")
            state.secrets[-1].write_text("secret")
            return Prepared(Order(["it"], 9, None, {}), ready, state.secrets[-1])

        monkeypatch.setattr(launch, "ServerProcess", process)
        return launch.launch(build("mysql"), state.root, prepare)

    state.to = to
    return state


def test_a_program_is_waited_for_and_its_secret_goes(launching: SimpleNamespace) -> None:
    answers = iter([False, False, True])
    process, port = launching.to(lambda process: process is launching.made[0] and next(answers))
    assert (process, port) == (launching.made[0], 1)
    assert process.order.command == ["it"]
    assert process.stopped == 0
    assert not process.held.closed
    assert process.folder.is_dir()
    assert not launching.secrets[0].exists()


def test_a_secret_that_the_program_has_taken_away_itself_is_gone(launching: SimpleNamespace) -> None:
    process, _ = launching.to(lambda _: launching.secrets[0].unlink() or True)
    assert process.stopped == 0


@pytest.mark.parametrize("words", ["Address already in use", "Bind on TCP/IP port: no", "could not bind IPv4 address"])
def test_a_port_that_another_program_took_is_tried_again_with_another(launching: SimpleNamespace, words: str) -> None:
    launching.to(lambda process: len(launching.made) == 3, lives=(False,), log=words)
    assert launching.ports == [1, 2, 3]
    assert [each.stopped for each in launching.made] == [1, 1, 0]
    assert [each.held.closed for each in launching.made] == [True, True, False]
    assert [each.folder.exists() for each in launching.made] == [False, False, True]
    with pytest.raises(ServerError, match=r"^mysql 1\.2 found no free port in 5 attempts$"):
        launching.to(lambda _: False, lives=(False,), log=words)
    assert len(launching.ports) == 8
    assert not any(each.exists() for each in launching.secrets)


def test_a_program_that_ends_while_it_starts_says_its_last_words(launching: SimpleNamespace) -> None:
    said = "\n".join(["could not bind"] + [f"line {number}" for number in range(50)])
    with pytest.raises(ServerError, match=r"^mysql 1\.2 \(made up\) ended while it started: line 48; line 49$"):
        launching.to(lambda _: False, lives=(True, False), log=said)
    with pytest.raises(NoSpaceError, match=rf"^starting mysql 1\.2 \(made up\): {tools.NO_SPACE}$"):
        launching.to(lambda _: False, lives=(False,), log=f"write: {tools.NO_SPACE}\nAborted")
    assert [each.stopped for each in launching.made] == [1, 1]
    assert list(launching.root.glob("s*")) == []


def test_a_program_that_takes_too_long_says_its_last_words(
    launching: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "START_SECONDS", 0.1)
    said = "\n".join(f"line {number}" for number in range(30))
    with pytest.raises(ServerError, match=r"^mysql 1\.2 \(made up\) was not ready after 0\.1 s: line 28; line 29$"):
        launching.to(lambda _: False, log=said)
    assert launching.made[0].stopped == 1


def test_a_folder_that_cannot_be_filled_goes(launching: SimpleNamespace, build: Callable[[str], Build]) -> None:
    def fails(folder: Path, port: int) -> Prepared:
        raise OSError(5, "Input/output error")

    with pytest.raises(OSError, match="Input/output error"):
        launch.launch(build("mysql"), launching.root, fails)
    assert list(launching.root.glob("s*")) == []

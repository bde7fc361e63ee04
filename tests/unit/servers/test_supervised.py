"""A program under its supervisor, with `sleep` in the place of a server."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from matrix.maker import start_time
from matrix.servers import ServerError, private, tools
from matrix.servers.private import Order, ServerProcess

STATE = {"kind": "mysql", "version": "1", "port": 5, "owner": 6}
Begin = Callable[..., ServerProcess]


@pytest.fixture
def begin(root: Path) -> Iterator[Begin]:
    """``begin(words, signal)``: a process in a run folder of its own."""
    made: list[ServerProcess] = []

    def start(*words: str, number: int = signal.SIGTERM, account: tools.Account | None = None) -> ServerProcess:
        folder, held = private.new_run_folder(root)
        made.append(ServerProcess(folder, held, Order(words, number, account, STATE)))
        return made[-1]

    yield start
    for each in made:
        each.stop()


def until(true: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 60
    while not true() and time.monotonic() < deadline:
        time.sleep(0.005)
    return true()


def test_it_runs_says_who_it_is_and_leaves_nothing(begin: Begin, root: Path) -> None:
    process = begin("sleep", "600")
    started = start_time(process.pid)
    assert started
    assert process.alive()
    supervisor = process._supervisor.pid
    assert os.getsid(supervisor) == supervisor, "a Ctrl-C on the terminal is not for it"
    state = private.read_state(process.folder)
    assert state == {
        **STATE,
        "pid": process.pid,
        "started": started,
        "supervisor": supervisor,
        "supervisor_started": start_time(supervisor),
    }
    assert private.running(root) == [{**state, "folder": process.folder}]
    assert private.sweep(root) == []
    assert process.folder.is_dir()
    for number in (signal.SIGINT, signal.SIGHUP):
        os.kill(supervisor, number)  # of whoever ends all that a terminal began: it ends with its program alone
    process.stop()
    assert not process.alive()
    assert start_time(process.pid) != started
    assert not process.folder.exists()
    assert process._held.closed
    assert process._supervisor.returncode == 0
    process.stop()
    assert private.running(root) == []


def test_what_it_says_is_kept_and_it_has_nothing_of_the_users_environment(
    begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "x")
    process = begin("sh", "-c", "echo one; echo two >&2; env; pwd; exec sleep 600")
    assert until(lambda: process.log_tail(1) == "/")
    said = process.log_tail(100).splitlines()
    assert said[:2] == ["one", "two"]
    variables = dict(line.split("=", 1) for line in said[2:-1])
    assert {name: variables[name] for name in tools.plain_environment()} == tools.plain_environment()
    assert "SECRET" not in variables
    assert process.log_tail(2).splitlines() == said[-2:]
    process.log.write_bytes(b"\xff\n")
    assert process.log_tail(1) == "\ufffd"
    process.log.unlink()
    assert process.log_tail(1) == ""


def test_the_end_of_the_program_is_noticed_and_its_folder_stays_for_its_log(begin: Begin) -> None:
    process = begin("sh", "-c", "echo last words; exit 3")
    assert until(lambda: not process.alive())
    assert process.log_tail(1) == "last words"
    assert process._supervisor.returncode == 3
    process.stop()
    assert not process.folder.exists()


def test_who_does_not_listen_to_the_signal_that_he_knows_is_killed(begin: Begin) -> None:
    process = begin("sh", "-c", "trap '' TERM; echo ready; while :; do sleep 1; done")
    assert until(lambda: process.log_tail(1) == "ready")
    started = start_time(process.pid)
    process.stop()
    assert start_time(process.pid) != started


@pytest.mark.parametrize(("number", "told"), [(signal.SIGTERM, "TERM"), (signal.SIGUSR1, "USR1")])
def test_it_is_told_to_end_by_its_own_signal(begin: Begin, tmp_path: Path, number: int, told: str) -> None:
    traps = f'for each in TERM USR1; do trap "echo $each > {tmp_path}/told; exit" $each; done'
    script = f"{traps}; echo ready; while :; do sleep 0.05; done"
    process = begin("sh", "-c", script, number=number)
    assert until(lambda: process.log_tail(1) == "ready")
    process.stop()
    assert (tmp_path / "told").read_text() == f"{told}\n"


def test_several_threads_may_stop_it(begin: Begin) -> None:
    process = begin("sleep", "600")
    failed: list[BaseException] = []

    def stop() -> None:
        try:
            process.stop()
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=stop) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert not process.folder.exists()


def test_a_supervisor_that_is_stuck_is_killed(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(private, "STOP_SECONDS", 0.1)
    process = begin("sleep", "600")
    started = start_time(process.pid)
    os.kill(process._supervisor.pid, signal.SIGSTOP)
    process.stop()
    assert process._supervisor.returncode == -signal.SIGKILL
    assert until(lambda: start_time(process.pid) != started)
    assert not process.folder.exists()


def test_a_program_that_cannot_be_run_is_told_and_its_folder_goes(begin: Begin, root: Path) -> None:
    with pytest.raises(ServerError, match=r"^cannot start /nowhere/mysqld: .*No such file or directory"):
        begin("/nowhere/mysqld")
    assert list(root.glob("s*")) == []


def test_a_supervisor_that_dies_at_once_is_told(
    begin: Begin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, root: Path
) -> None:
    (tmp_path / "dies.py").write_text("import sys\nsys.stdin.readline()\n")
    monkeypatch.setattr(private, "SUPERVISOR", tmp_path / "dies.py")
    with pytest.raises(ServerError, match=r"^cannot start sleep: its supervisor died$"):
        begin("sleep", "600")
    assert list(root.glob("s*")) == []


def test_all_are_stopped_also_one_whose_supervisor_is_gone(begin: Begin, root: Path) -> None:
    one, other = begin("sleep", "600"), begin("sleep", "600")
    moments = [start_time(each.pid) for each in (one, other)]
    for path in (other.folder,):  # as a supervisor leaves it that was killed where the kernel ends nobody with it
        state = private.read_state(path)
        (path / "server.json").write_text(json.dumps({**state, "supervisor_started": "another"}))
    stopped = private.stop_all(root)
    assert sorted(each["pid"] for each in stopped) == sorted([one.pid, other.pid])
    assert until(lambda: [start_time(each.pid) for each in (one, other)] != moments)
    assert until(lambda: not one.folder.exists())


def test_a_folder_that_is_locked_by_somebody_else_is_no_ones_run_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(private, "_try_lock", lambda path: None)
    with pytest.raises(ServerError, match=r"^\S+/s\w+ was locked by somebody else$"):
        private.new_run_folder(tmp_path)


def test_a_run_folder_can_be_walked_through_by_others_and_not_be_listed(tmp_path: Path) -> None:
    folder, held = private.new_run_folder(tmp_path)
    assert folder.stat().st_mode & 0o777 == 0o711
    assert folder.name.startswith("s")
    assert private._try_lock(folder / "lock") is None
    held.close()
    again = private._try_lock(folder / "lock")
    assert again is not None
    again.close()


@pytest.mark.parametrize(
    ("environment", "root"),
    [({"MATRIX_RUN": "{}/own"}, "{}/own"), ({}, "/tmp")],
)
def test_where_run_folders_are(tmp_path: Path, environment: dict[str, str], root: str) -> None:
    found = private.run_root({name: value.format(tmp_path) for name, value in environment.items()})
    assert found == Path(root.format(tmp_path)) / f"matrix-servers-{os.getuid()}"
    assert found.stat().st_mode & 0o777 == 0o711
    assert private.run_root({name: value.format(tmp_path) for name, value in environment.items()}) == found


def test_where_nobody_may_write_to_tmp_run_folders_are_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr(os, "access", lambda *what: asked.append(what))
    monkeypatch.setattr(private.tempfile, "gettempdir", lambda: str(tmp_path))
    assert private.run_root({}) == tmp_path / f"matrix-servers-{os.getuid()}"
    assert asked == [("/tmp", os.W_OK)]


@pytest.mark.parametrize("too_long", [False, True])
def test_the_path_of_a_socket_may_be_as_long_as_the_kernel_lets_it(
    root: Path, monkeypatch: pytest.MonkeyPatch, too_long: bool
) -> None:
    folder, held = private.new_run_folder(root)
    held.close()
    length = len(str(folder / "socket" / ".s.PGSQL.65535"))
    monkeypatch.setattr(private, "LONGEST_SOCKET_PATH", length - too_long)
    if too_long:
        with pytest.raises(ServerError, match=r"^the path \S+ is too long for a socket: set MATRIX_RUN to a shorter"):
            private.new_run_folder(root)
        assert list(root.glob("s*")) == [folder]
    else:
        private.new_run_folder(root)[1].close()


def test_a_root_that_is_not_ours_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere").mkdir()
    root = tmp_path / f"matrix-servers-{os.getuid()}"
    root.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ServerError, match=r"belongs to somebody else; set MATRIX_RUN to a folder of your own$"):
        private.run_root({"MATRIX_RUN": str(tmp_path)})
    root.unlink()
    root.mkdir()
    real = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: real + 1)
    root.rename(tmp_path / f"matrix-servers-{real + 1}")
    with pytest.raises(ServerError, match=r"belongs to somebody else"):
        private.run_root({"MATRIX_RUN": str(tmp_path)})
    (tmp_path / "file").touch()
    with pytest.raises(
        ServerError, match=r"^cannot make \S+/file/matrix-servers-\d+: .*; set MATRIX_RUN to a folder to use$"
    ):
        private.run_root({"MATRIX_RUN": str(tmp_path / "file")})


def test_without_a_loopback_the_way_out_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    class Closed(private.socket.socket):  # type: ignore[name-defined]
        def bind(self, address: Any) -> None:
            raise OSError(99, "Cannot assign requested address")

    monkeypatch.setattr(private.socket, "socket", Closed)
    with pytest.raises(ServerError) as caught:
        private.free_port()
    assert str(caught.value) == (
        "no port of 127.0.0.1 can be had: Cannot assign requested address\n"
        "switch IPv4's loopback on: ip addr add 127.0.0.1/8 dev lo; ip link set lo up"
    )


def test_its_supervisor_keeps_nothing_of_ours_but_the_lock(begin: Begin, capfd: pytest.CaptureFixture[str]) -> None:
    process = begin("sleep", "600")
    assert process.log == process.folder / "log"
    proc = Path(f"/proc/{process._supervisor.pid}")
    assert [str((proc / name).readlink()) for name in ("fd/2", "cwd")] == [os.devnull, "/"]
    assert (proc / "cmdline").read_bytes().split(b"\0")[1:3] == [b"-I", b"-S"]
    process._held.close()
    assert private._try_lock(process.folder / "lock") is None


def test_what_is_being_removed_by_somebody_else_is_passed_over(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = sorted(private.new_run_folder(root)[0] for _ in range(2))
    try_lock = private._try_lock

    def lock(path: Path) -> Any:
        if path.parent == folders[0]:
            raise FileNotFoundError
        return try_lock(path)

    monkeypatch.setattr(private, "_try_lock", lock)
    assert private.sweep(root) == [folders[1]]

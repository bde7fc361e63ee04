"""Real servers: they start, keep strangers out, end with their owner, and leave nothing behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from matrix.maker import start_time
from matrix.servers import ServerError, acquire, builds, private, start

PROJECT = Path(__file__).parents[3]
OWNER = """
import json, sys, time
from matrix.servers import acquire
server = acquire(sys.argv[1])
print(json.dumps([server.pid, str(server.process.folder), server.process._supervisor.pid]), flush=True)
time.sleep(60)
"""


def wait_for(true: Callable[[], bool], seconds: float = 10.0) -> bool:
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def ended(pid: int) -> bool:
    """Gone, or a zombie that nobody has collected yet (as under an init that does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def run_folders() -> list[Path]:
    return sorted(private.run_root().glob("s*"))


def postgres_answer(port: int) -> bytes:
    """The first byte and number of what PostgreSQL answers to a login as tester: R 3 and R 10 ask for a password, in
    clear text and by SCRAM; R 0 lets in."""
    body = b"\x00\x03\x00\x00user\0tester\0database\0postgres\0\0"
    with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
        client.sendall((len(body) + 4).to_bytes(4, "big") + body)
        answer = client.recv(9)
    return answer[:1] + answer[8:9]


def test_server_starts_asks_for_a_password_and_leaves_nothing(host_postgres: str) -> None:
    said: list[str] = []
    with acquire(host_postgres, progress=said.append) as server:
        assert server.alive()
        assert server.pid
        assert not server.given
        assert any(line.startswith("starting postgres") for line in said)
        assert postgres_answer(server.port) in (b"R\x03", b"R\x0a")
        assert "ready to accept connections" in server.log_tail(5)
        (folder,) = run_folders()
        for path in folder.rglob("*"):
            if path.is_file():
                assert server.password.encode() not in path.read_bytes(), path
        assert server.password not in Path(f"/proc/{server.pid}/cmdline").read_text()
    assert not server.alive()
    assert ended(server.pid)
    assert run_folders() == []
    server.stop()


def test_each_server_has_its_own_password_and_port(host_postgres: str) -> None:
    with acquire(host_postgres) as one, acquire(host_postgres) as two:
        assert one.password != two.password
        assert one.port != two.port


def test_server_that_dies_is_noticed_and_its_log_is_kept(host_postgres: str) -> None:
    with acquire(host_postgres) as server:
        assert server.pid
        os.kill(server.pid, signal.SIGINT)
        assert wait_for(lambda: not server.alive())
        assert "shut down" in server.log_tail(5)
    assert run_folders() == []


@pytest.fixture
def owner(host_postgres: str) -> Iterator[tuple[subprocess.Popen[str], int, Path, int]]:
    """Another program with a private server: itself, the server's pid and folder, the supervisor's pid."""
    process = subprocess.Popen(
        [sys.executable, "-c", OWNER, host_postgres], cwd=PROJECT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    try:
        pid, folder, supervisor = json.loads(process.stdout.readline())
        yield process, pid, Path(folder), supervisor
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_killing_the_owner_ends_the_server_and_removes_its_folder(
    owner: tuple[subprocess.Popen[str], int, Path, int],
) -> None:
    process, pid, folder, _ = owner
    assert not ended(pid)
    process.kill()
    assert wait_for(lambda: ended(pid))
    assert wait_for(lambda: not folder.exists())


@pytest.mark.skipif(sys.platform != "linux", reason="needs the kernel's help")
def test_killing_owner_and_supervisor_ends_the_server_and_the_sweep_removes_its_folder(
    owner: tuple[subprocess.Popen[str], int, Path, int],
) -> None:
    process, pid, folder, supervisor = owner
    os.kill(supervisor, signal.SIGKILL)
    process.kill()
    process.wait()
    assert wait_for(lambda: ended(pid))
    assert folder.exists()
    private.sweep(private.run_root())
    assert not folder.exists()


def test_sweep_never_touches_a_live_server(owner: tuple[subprocess.Popen[str], int, Path, int]) -> None:
    _, pid, folder, _ = owner
    assert private.sweep(private.run_root()) == []
    assert folder.exists()
    assert not ended(pid)


def test_stop_all_finds_servers_of_other_programs(owner: tuple[subprocess.Popen[str], int, Path, int]) -> None:
    _, pid, folder, _ = owner
    assert [state["folder"] for state in private.running(private.run_root())] == [folder]
    stopped = private.stop_all(private.run_root())
    assert [state["pid"] for state in stopped] == [pid]
    assert ended(pid)
    assert wait_for(lambda: not folder.exists())


def test_recycled_pid_is_never_killed() -> None:
    bystander = subprocess.Popen(["sleep", "60"])
    try:
        folder, held = private.new_run_folder(private.run_root())
        state = {"pid": bystander.pid, "started": "1", "supervisor": bystander.pid, "supervisor_started": "1"}
        (folder / "server.json").write_text(json.dumps(state))
        held.close()
        assert private.stop_all(private.run_root()) == []
        assert not folder.exists()
        assert bystander.poll() is None
        assert start_time(bystander.pid) != "1"
    finally:
        bystander.kill()
        bystander.wait()


@pytest.mark.parametrize("end", [private.sweep, private.stop_all])
def test_a_server_whose_supervisor_is_gone_is_ended_and_its_folder_goes(end: Callable[[Path], object]) -> None:
    """Where the kernel does not see to it."""
    server = subprocess.Popen(["sleep", "60"])
    try:
        folder, held = private.new_run_folder(private.run_root())
        state = {"pid": server.pid, "started": start_time(server.pid), "supervisor": 0, "supervisor_started": "1"}
        (folder / "server.json").write_text(json.dumps(state))
        if end is private.sweep:  # which leaves alone what somebody holds
            held.close()
        end(private.run_root())
        assert server.wait(5) == -signal.SIGKILL
        held.close()
        private.sweep(private.run_root())
        assert not folder.exists()
    finally:
        server.kill()
        server.wait()


@pytest.mark.parametrize("text", ["", "[]", "null", '{"pid": 1}', '{"pid": "1", "started": "1"}'])
def test_what_says_nothing_of_a_server_stops_none(text: str) -> None:
    folder, held = private.new_run_folder(private.run_root())
    (folder / "server.json").write_text(text)
    held.close()
    assert private.stop_all(private.run_root()) == []
    assert not folder.exists()


def test_taken_port_is_tried_again_with_another(host_postgres: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        taken = stranger.getsockname()[1]
        ports = iter([taken, private.free_port()])
        monkeypatch.setattr(private, "free_port", lambda: next(ports))
        with acquire(host_postgres) as server:
            assert server.port != taken


def test_path_too_long_for_a_socket_is_refused(monkeypatch: pytest.MonkeyPatch, shared_folder: Path) -> None:
    monkeypatch.setenv("MATRIX_RUN", str(shared_folder / ("x" * 90)))
    with pytest.raises(ServerError, match="too long for a socket: set MATRIX_RUN"):
        private.new_run_folder(private.run_root())
    assert run_folders() == []


@pytest.mark.skipif(os.getuid() != 0, reason="only root has rights to drop")
def test_cache_below_a_closed_folder_is_refused_with_the_way_out(
    host_postgres: str, monkeypatch: pytest.MonkeyPatch, shared_folder: Path
) -> None:
    closed = shared_folder / "closed"
    closed.mkdir(mode=0o700)
    monkeypatch.setenv("MATRIX_CACHE", str(closed / "cache"))
    with pytest.raises(ServerError, match=rf"{closed} is closed to other users\nset MATRIX_CACHE"):
        acquire(host_postgres)


@pytest.fixture
def tiny_disk(shared_folder: Path) -> Iterator[Path]:
    folder = shared_folder / "tiny"
    folder.mkdir(exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", "size=3m,mode=755", "tmpfs", str(folder)]
    if os.getuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("cannot mount a small file system here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.parametrize("variable", ["MATRIX_CACHE", "MATRIX_RUN"])
def test_full_disk_leaves_nothing(
    variable: str, host_postgres: str, tiny_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, str(tiny_disk))
    monkeypatch.setattr(start, "TEMPLATE_MEGABYTES", {"postgres": 0})  # not refused beforehand, but met on the way
    with pytest.raises(ServerError, match=rf"No space left on device\n.* set {variable} to"):
        acquire(host_postgres)
    left = [path for path in tiny_disk.rglob("*") if path.is_file() and path.stat().st_size]
    assert left == []


@pytest.mark.parametrize("kind", ["mysql", "mariadb"])
def test_mysql_family_starts_from_what_is_at_hand(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MATRIX_CACHE")  # the real cache: nothing is fetched by a test
    found = [*builds.host_builds(kind), *builds.cached_builds(kind)]
    if not found:
        pytest.skip(f"no {kind} on this machine or in the cache: python -m matrix servers fetch {kind}")
    with acquire(found[0].spec) as server:
        with socket.create_connection((server.host, server.port), timeout=5) as client:
            assert client.recv(5)[4] == 10  # the protocol version that opens a greeting
        assert server.process
        assert not (server.process.folder / "users.sql").exists()
        assert server.password not in server.log_tail(1000)
    assert run_folders() == []

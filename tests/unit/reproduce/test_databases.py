"""The databases of reproducers, on a real server: what another user of the machine sees, and what is left."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from matrix import servers
from matrix.harness.drivers import Script
from matrix.harness.witness import Address, PostgresWitness
from matrix.reproduce import run
from matrix.servers import builds

AXES = {"server": "postgres", "driver": "pg8000"}
LOOK = "cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' '"
# Like `execute` in a driver's table, by a driver that is at hand here. It keeps what a stranger sees while it runs.
STATEMENT = (
    "import pg8000.native, subprocess\n"
    f"seen = subprocess.run({LOOK!r}, shell=True, cwd='/', capture_output=True, **{{stranger}})\n"
    "open({kept!r}, 'ab').write(seen.stdout)\n"
    "pg8000.native.Connection(a.username, a.hostname, 'postgres', a.port, p).run(q)\n"
)
SCRIPT = """
import os, subprocess, sys
seen = subprocess.run({look!r}, shell=True, cwd="/", capture_output=True, **{stranger})
open({kept!r}, "ab").write(seen.stdout)
print("observed:", os.environ["DATABASE_PASSWORD"])
sys.exit(1)
"""


@pytest.fixture(scope="module")
def stranger() -> dict:
    """How another user of the machine runs a program; without root's rights there is only ourselves."""
    return {"user": 65534, "group": 65534, "extra_groups": []} if os.getuid() == 0 else {}


@pytest.fixture
def spec() -> str:
    found = builds.host_builds("postgres")
    if not found:
        pytest.skip("no PostgreSQL server program on this machine")
    return found[0].version


@pytest.fixture
def kept(tmp_path: Path, stranger: dict, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file with the command lines that a stranger saw while a statement or a script ran."""
    path = tmp_path / "seen"
    script = Script("pg8000", execute=STATEMENT.format(stranger=stranger, kept=str(path)))
    monkeypatch.setattr(run, "drivers", lambda: {"pg8000": SimpleNamespace(script=script)})
    return path


def test_no_other_user_of_the_machine_sees_the_password(tmp_path: Path, spec: str, kept: Path, stranger: dict) -> None:
    script = tmp_path / "repro.py"
    script.write_text(SCRIPT.format(look=LOOK, kept=str(kept), stranger=stranger))
    with run.Databases({**AXES, "server_version": spec}, print) as databases:
        password = databases.server.password
        address = databases.new(Path(sys.executable))
        done = run.execute(script, Path(sys.executable), address, databases.arguments, databases.variables)
    assert done.output_line("observed") == password, done.errors
    seen = kept.read_text()
    assert "CREATE DATABASE" in seen  # it did look while each of them ran
    assert str(script) in seen
    assert password not in seen


def test_a_given_server_has_no_database_of_ours_afterwards(
    spec: str, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with servers.acquire(f"postgres-{spec}") as server:
        monkeypatch.setenv("MATRIX_POSTGRES_URL", server.url)
        admin = Address("postgres", server.host, server.port, server.user, server.password, "")
        keeper = PostgresWitness(admin)
        list_them = "SELECT datname FROM pg_database WHERE datname LIKE 'repro%'"
        with run.Databases({**AXES, "server_version": spec}, print) as databases:
            assert databases.server.given
            databases.new(Path(sys.executable))
            assert len(keeper.execute(list_them)) == 1
        assert keeper.execute(list_them) == []
        keeper.close()

"""Environments of cells: what is made once, and what is asked again."""

import subprocess
from pathlib import Path

import pytest

from matrix.runs import environments, registry
from matrix.servers import ServerError, builds, debian


@pytest.fixture
def client(monkeypatch, tmp_path):
    """uv and the interpreters, played: ``said`` is what the next import complains of, ``calls`` what was started."""

    class Client:
        def __init__(self):
            self.said, self.calls, self.fails, self.code = "", [], "-c", 1

        def run(self, command, asked="", variables=None):
            self.calls.append((list(command), dict(variables or {})))
            code = self.code if self.said and self.fails in command else 0
            return subprocess.CompletedProcess(command, code, "", self.said)

    played = Client()
    monkeypatch.setenv("MATRIX_STATE", str(tmp_path))
    monkeypatch.setattr(registry, "run", played.run)
    monkeypatch.setattr(registry, "uv", lambda: ["uv"])
    return played


@pytest.fixture
def no_python(monkeypatch):
    """A machine without Pythons; ``fetched`` are the specs that were asked for, ``build`` what is found, or raised."""

    class Fetching:
        fetched, build = [], builds.Build("python", "3.15", "3.15.2", "Debian sid", Path("/cache/python3.15"))

        def resolve(self, spec, progress):
            self.fetched.append(str(spec))
            if isinstance(self.build, Exception):
                raise self.build
            return self.build

    played = Fetching()
    environments.interpreter.cache_clear()
    monkeypatch.setattr(environments, "on_machine", lambda minor: None)
    monkeypatch.setattr(builds, "resolve", played.resolve)
    monkeypatch.setattr(builds, "cached_build", lambda spec: None)
    yield played
    played.fetched.clear()
    environments.interpreter.cache_clear()


def test_a_python_that_the_machine_lacks_is_fetched_as_servers_are(no_python):
    assert environments.interpreter("3.15") == environments.Python("3.15", "3.15.2", Path("/cache/python3.15"))
    assert no_python.fetched == ["python-3.15"]


def test_a_python_that_cannot_be_fetched_is_told_in_one_line(no_python):
    no_python.build = ServerError("no apt-get and dpkg-deb on this machine\ninstall Python 3.15")
    with pytest.raises(environments.NoPython, match=r"^Python 3.15 .*no apt-get and dpkg-deb.*: install it.*$"):
        environments.interpreter("3.15")
    with pytest.raises(environments.NoPython, match="Debian has none to fetch"):
        environments.interpreter("3.12")
    assert no_python.fetched == ["python-3.15"]


def test_a_plan_fetches_nothing(no_python, monkeypatch):
    monkeypatch.setattr(debian, "debian_mirrors", lambda: ["one"])
    assert [minor for minor in ("3.12", "3.14", "3.15") if environments.can_be_had(minor)] == ["3.14", "3.15"]

    def none():
        raise ServerError("no apt-get and dpkg-deb on this machine")

    monkeypatch.setattr(debian, "debian_mirrors", none)
    assert not environments.can_be_had("3.15")
    assert no_python.fetched == []


def ask(variables=None):
    python = environments.Python("3.11", "3.11.7", Path("/nowhere/python"))
    return environments.environment(["pyodbc==5.5.0"], python, ["pyodbc"], variables)


def test_an_environment_is_made_and_imported_once(client):
    assert ask() == ask()
    assert len([command for command, _ in client.calls if "venv" in command]) == 1
    assert len([command for command, _ in client.calls if "-c" in command]) == 1


def test_the_modules_are_imported_with_the_variables_that_they_need(client):
    ask({"LD_LIBRARY_PATH": "/drivers"})
    assert [variables for command, variables in client.calls if "-c" in command] == [{"LD_LIBRARY_PATH": "/drivers"}]


def test_an_import_that_failed_is_tried_again(client):
    client.said = "ImportError: libodbc.so.2: cannot open shared object file"
    with pytest.raises(environments.NotImportable, match="libodbc"):
        ask()
    client.said = ""
    ask()


def resolve(client, said):
    client.said, client.fails = said, "compile"
    environments.resolve(["aiosqlite==99.0"], environments.Python("3.11", "3.11.7", Path("/nowhere/python")))


def test_the_resolver_s_own_no_is_kept_as_one(client):
    no = "error: No solution found when resolving dependencies\n  cause: Because there is no version of aiosqlite==99.0"
    for _ in range(2):
        with pytest.raises(environments.NotInstallable, match="there is no version"):
            resolve(client, no)
    assert len(client.calls) == 1


@pytest.mark.parametrize(
    "said",
    [
        "error: Failed to fetch: `aiosqlite`\n  cause: tcp connect error",
        "error: failed to write to the cache: No space left on device (os error 28)",
        "error: No solution found when resolving dependencies\n  x was not found in the package registry",
        "error: No solution found when resolving dependencies\n  cause: Because x was not found in the cache",
    ],
)
def test_a_failure_of_network_or_disk_is_no_answer_and_is_not_kept(client, said):
    for _ in range(2):
        with pytest.raises(registry.RegistryError):
            resolve(client, said)
    assert len(client.calls) == 2


def test_what_cannot_be_installed_after_it_was_resolved_is_the_machine_s_failure(client):
    client.said, client.fails = "error: Failed to install: No space left on device", "install"
    with pytest.raises(registry.RegistryError, match="No space left"):
        ask()


@pytest.mark.parametrize(("said", "code"), [("Killed", -9), ("OSError: [Errno 28] No space left on device", 1)])
def test_an_import_that_the_machine_ended_is_not_the_package_s_no(client, said, code):
    client.said, client.code = said, code
    with pytest.raises(registry.RegistryError, match="on this machine"):
        ask()


def test_a_change_of_what_a_path_with_a_blank_holds_makes_another_environment(tmp_path):
    folder = tmp_path / "a b"
    folder.mkdir()
    locked = f"tortoise-orm @ {folder.as_uri()}"
    (folder / "module.py").write_text("1")
    before = environments.content(locked)
    (folder / "module.py").write_text("2")
    assert environments.content(locked) != before != ""

"""Environments of cells: what is made once, and what is asked again."""

import subprocess
from pathlib import Path

import pytest

from matrix.runs import environments, registry


@pytest.fixture
def client(monkeypatch, tmp_path):
    """uv and the interpreters, played: ``said`` is what the next import complains of, ``calls`` what was started."""

    class Client:
        def __init__(self):
            self.said, self.calls = "", []

        def run(self, command, asked="", variables=None):
            self.calls.append((list(command), dict(variables or {})))
            code = 1 if self.said and "-c" in command else 0
            return subprocess.CompletedProcess(command, code, "", self.said)

    played = Client()
    monkeypatch.setenv("MATRIX_STATE", str(tmp_path))
    monkeypatch.setattr(registry, "run", played.run)
    monkeypatch.setattr(registry, "uv", lambda: ["uv"])
    return played


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

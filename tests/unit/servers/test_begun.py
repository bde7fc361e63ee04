"""A server that is begun before it is asked for."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from matrix import servers
from matrix.cell.__main__ import begin_servers
from matrix.servers import ServerError, acquire, acquisition, begin


@pytest.fixture
def starts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was started, of builds that are all at hand and have their data."""
    started: list[str] = []

    def start(build: Any, progress: Callable[[str], None]) -> Any:
        progress(f"starting {build}")
        started.append(f"{build} {threading.current_thread() is threading.main_thread()}")
        return f"server {build}"

    monkeypatch.setattr(acquisition, "start", start)
    monkeypatch.setattr(acquisition, "has_template", lambda build: True)
    monkeypatch.setattr(acquisition.builds, "at_hand", str)
    monkeypatch.setattr(acquisition.builds, "resolve", lambda wanted, progress: str(wanted))
    monkeypatch.setattr(acquisition, "_BEGUN", {})
    return started


def test_what_was_begun_is_what_is_acquired_and_once(starts: list[str]) -> None:
    begin("mysql-9.7")
    said: list[str] = []
    assert str(acquire("mysql-9.7", progress=said.append)) == "server mysql-9.7"
    assert (starts, said) == (["mysql-9.7 False"], ["starting mysql-9.7"])
    acquire("mysql-9.7")
    assert starts[1:] == ["mysql-9.7 True"]


def test_another_version_is_not_what_was_begun(starts: list[str]) -> None:
    begin("postgres-15")
    assert str(acquire("postgres-16")) == "server postgres-16"
    assert sorted(starts) == ["postgres-15 False", "postgres-16 True"]


def test_why_it_does_not_start_is_said_when_it_is_acquired(starts: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def start(build: Any, progress: Callable[[str], None]) -> Any:
        progress(f"starting {build}")
        raise ServerError("no room on the disk")

    monkeypatch.setattr(acquisition, "start", start)
    begin("postgres")
    said: list[str] = []
    with pytest.raises(ServerError, match="no room on the disk"):
        acquire("postgres", progress=said.append)
    assert said == ["starting postgres"]


@pytest.mark.parametrize("problem", [OSError("unreadable"), ServerError("no address")])
def test_what_is_wrong_is_left_to_who_opens_the_cell(monkeypatch: pytest.MonkeyPatch, problem: Exception) -> None:
    def failing(spec: str) -> None:
        raise problem

    monkeypatch.setattr(servers, "begin", failing)
    for cell in ("mysql-aiomysql", "mysql-nobody", "nonsense"):
        begin_servers(cell)


@pytest.mark.parametrize("lacking", ["programs", "data", "address", "server"])
def test_nothing_is_begun_that_has_to_be_made_first_or_is_given(
    starts: list[str], monkeypatch: pytest.MonkeyPatch, lacking: str
) -> None:
    if lacking == "programs":
        monkeypatch.setattr(acquisition.builds, "at_hand", lambda wanted: None)
    elif lacking == "data":
        monkeypatch.setattr(acquisition, "has_template", lambda build: False)
    elif lacking == "address":
        monkeypatch.setenv("MATRIX_MYSQL_URL", "mysql://me:secret@db.example/")
    begin("sqlite" if lacking == "server" else "mysql")
    assert (starts, acquisition._BEGUN) == ([], {})

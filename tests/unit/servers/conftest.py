"""Folders of their own for these tests, so that they neither see nor stop anybody's servers."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from matrix.servers import builds
from matrix.servers.catalogue import catalogue
from tests.memory import roomy_memory


@pytest.fixture(scope="session")
def shared_folder() -> Iterator[Path]:
    """A short folder that a server without root's rights can enter, unlike pytest's; in memory where there is room:
    data folders are copied for each server."""
    folder = Path(tempfile.mkdtemp(prefix="ms", dir=roomy_memory() or "/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def root(shared_folder: Path) -> Path:
    """A folder for run folders whose sockets' paths are short enough, unlike pytest's."""
    return Path(tempfile.mkdtemp(prefix="r", dir=shared_folder))


@pytest.fixture(autouse=True)
def own_folders(shared_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MATRIX_CACHE", str(shared_folder / "cache"))
    monkeypatch.setenv("MATRIX_RUN", str(shared_folder / "run"))
    for kind in catalogue().kinds.values():
        if kind.variable:
            monkeypatch.delenv(kind.variable, raising=False)


@pytest.fixture
def host_postgres() -> str:
    """The spec of a PostgreSQL that is installed on the machine; skips where there is none."""
    found = builds.host_builds("postgres")
    if not found:
        pytest.skip("no PostgreSQL server program on this machine")
    return str(found[0].spec)

"""What a user names and what is said where it is not there: without a cell."""

from __future__ import annotations

import importlib.metadata
import sys

import pytest

from matrix.check import imports
from matrix.check.places import UserError
from matrix.harness.drivers import drivers


def test_the_packages_that_a_cell_needs_and_this_python_lacks_are_named_with_the_command_that_brings_them(monkeypatch):
    driver = drivers()["asyncpg"]
    monkeypatch.setattr(imports, "_is_there", lambda package: package not in ("asyncpg", "pg8000"))
    with pytest.raises(UserError) as refused:
        imports.all_there(driver)
    assert str(refused.value).splitlines() == [
        "asyncpg needs packages that this Python does not have: asyncpg, pg8000",
        f"Install them: {sys.executable} -m pip install asyncpg pg8000",
    ]


def test_a_package_is_there_if_it_is_installed_or_can_be_imported_from_a_checkout(monkeypatch):
    assert imports.lacking(drivers()["aiosqlite"]) == []

    def not_installed(package):
        raise importlib.metadata.PackageNotFoundError(package)

    monkeypatch.setattr(importlib.metadata, "distribution", not_installed)
    assert imports.lacking(drivers()["aiosqlite"]) == []
    monkeypatch.setitem(sys.modules, "apsw", None)
    assert imports.lacking(drivers()["aiosqlite"]) == ["apsw"]


@pytest.mark.parametrize(
    "query",
    [
        "select count(*) = 1 FROM item",
        " (SELECT 1)",
        "WITH some AS (SELECT 1) SELECT count(*) FROM some;",
        "SELECT name <> '; DELETE (delete' FROM item",
    ],
)
def test_an_invariant_asks(query):
    imports.reads_only(query)

"""A folder of sample results and the site that is built from it, once for all tests that only look at it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from matrix.report import site, view
from matrix.results import documents
from matrix.results.read import read_folder
from tests.unit.report import hostile
from tests.unit.results.samples import faults, finds, header, scenario, stability, web, write_cell, write_folder


def table_of(results: Path, expectations: Path) -> view.Table:
    table = view.build(read_folder(results), expectations)
    return dataclasses.replace(table, documents=documents.read_folder(results))


@pytest.fixture(scope="session")
def expectations(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("expectations")
    entry = '[[expect]]\nscenarios = ["CON-2"]\nserver = "mysql"\nverdict = "poisons"\nreason = "On <record>."\n'
    (folder / "aiomysql.toml").write_text(entry + 'category = "driver"\nlink = "https://example.org/1"\n')
    return folder


@pytest.fixture(scope="session")
def results(tmp_path_factory) -> Path:
    """Eight cells, one with an incomplete newer run, one with a result of three days before; both documents."""
    folder = write_folder(tmp_path_factory.mktemp("results"))
    lines = [scenario("NST-3"), scenario("NST-4", "lies")]
    write_cell(folder, header("odbc-asyncodbc", started="2026-11-20T18:00:00Z"), lines)
    write_cell(folder, header("mysql-asyncmy", started="2026-11-23T19:00:00Z"), lines[:1], finish=False)
    documents.write(folder / "faults.json", faults())
    documents.write(folder / "stability.json", stability())
    documents.write(folder / "web.json", web())
    documents.write(folder / "finds.json", finds())
    return folder


@pytest.fixture(scope="session")
def table(results, expectations) -> view.Table:
    return table_of(results, expectations)


@pytest.fixture(scope="session")
def built(table, tmp_path_factory) -> Path:
    return site.build(table, tmp_path_factory.mktemp("build")).parent


@pytest.fixture(scope="session")
def hostile_table(tmp_path_factory, expectations) -> view.Table:
    return table_of(hostile.write(tmp_path_factory.mktemp("hostile")), expectations)

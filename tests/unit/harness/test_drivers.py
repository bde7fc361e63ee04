"""The tables of drivers: what they may leave out, and what is told where one cannot be used."""

import contextvars
import sys

import pytest

from matrix.harness.adapters.base import Adapter, load
from matrix.harness.drivers import FURTHER, TableError, bases, distribution, drivers
from matrix.harness.history import DOCUMENTED, INTERNAL
from matrix.harness.witness import WITNESSES


@pytest.fixture(autouse=True)
def no_further_folders(monkeypatch):
    monkeypatch.delenv(FURTHER, raising=False)


@pytest.fixture
def declare(tmp_path, monkeypatch):
    """``declare('[drivers.new]…')``: a further folder with this table and an adapter ``new.py``."""

    def declare(text):
        (tmp_path / "new.py").write_text("ADAPTER = None\n")
        (tmp_path / "drivers.toml").write_text(text)
        monkeypatch.setenv(FURTHER, str(tmp_path))
        return drivers

    return declare


def test_a_table_needs_to_say_no_more_than_its_servers(declare):
    driver = declare('[drivers.new]\nservers = ["mysql", "sqlite"]\n')()["new"]
    assert (driver.package, driver.imports, driver.adapter, driver.orm) == ("new", ("new",), "new", False)
    assert {kind: each.name for kind, each in driver.witnesses.items()} == {
        "mysql": "mysql-connector-python",
        "sqlite": "apsw",
    }
    assert driver.requirements == ("new", "mysql-connector-python", "apsw")
    assert (driver.releases, driver.pool) == ({}, {})
    assert bases()[-2:] == ["mysql-new", "sqlite-new"]


def test_a_package_with_a_hyphen_and_a_dotted_module_can_be_said(declare):
    driver = declare(
        '[drivers.new]\nservers = ["mysql"]\npackage = "mysql_connector.python[gssapi]>=9"\n'
        'imports = ["mysql.connector.aio", "tortoise.backends.mysql"]\n'
    )()["new"]
    assert (driver.distribution, driver.imports[0], driver.orm) == (
        "mysql-connector-python",
        "mysql.connector.aio",
        True,
    )
    assert driver.witnesses["mysql"].name == "pymysql"  # the first of another make


@pytest.mark.parametrize(
    ("table", "says", "does"),
    [
        ('[drivers.new-driver]\nservers = ["mysql"]', "cannot hold this word", 'package = "new-driver"'),
        ('[drivers.pg8000]\nservers = ["postgres"]', "cannot hold this word", 'package = "pg8000"'),
        ("[drivers.new]", "say which ones: sqlite, postgres", ""),
        ('[drivers.new]\nservers = ["mysql", "db2"]', "not db2", "sqlite, postgres, mysql"),
        ('[drivers.new]\nservers = "mysql"', "servers is a list of words", ""),
        ('[drivers.new]\nservers = ["mysql"]\nmodule = "new"', "unknown 'module'", "package, install, imports"),
        ('[drivers.new]\nservers = ["mysql"]\nadapter = "old"', "its adapter is missing", "CONTRIBUTING.md"),
        ('[drivers.new]\nservers = ["mysql"]\nwitness = "apsw"', "'apsw' is no witness of mysql", "there are: mysql-c"),
        ('[drivers.new]\nservers = ["mssql"]', "no witness for mssql", "none yet"),
        ('[drivers.asyncpg]\nservers = ["mysql"]\nadapter = "new"', "of this name already", ""),
        ("[drivers.new\n", "cannot be read", ""),
    ],
)
def test_a_table_that_cannot_be_used_is_told_in_two_lines(declare, table, says, does):
    with pytest.raises(TableError) as problem:
        declare(table)()
    text = str(problem.value)
    assert says in text and does in text and "drivers.toml: " in text
    assert text.count("\n") <= 1


@pytest.mark.parametrize("imports", ["mysql.connector.aio", "mysql.connector"])
def test_a_witness_of_the_drivers_own_make_is_refused(declare, imports):
    table = f'[drivers.new]\nservers = ["mysql"]\nimports = ["{imports}"]\nwitness = "mysql-connector-python"\n'
    with pytest.raises(TableError, match=rf"of the same make \({imports}\)\.\nWrite witness = NAME .*: pymysql$"):
        declare(table)()


def test_every_witness_is_of_another_make_and_has_its_class():
    for driver in drivers().values():
        for witness in driver.witnesses.values():
            assert not witness.made_as(driver.imports), (driver.name, witness.name)
            assert witness.name in WITNESSES


def test_a_driver_that_stands_on_the_witness_is_of_its_make():
    """aiomysql shows PyMySQL's exceptions, asyncmy is its code in Cython."""
    made = WITNESSES.keys() - {each.name for one in drivers().values() for each in one.witnesses.values()}
    assert made == {"pymysql"}
    assert {drivers()[name].witnesses["mysql"].name for name in ("aiomysql", "asyncmy")} == {"mysql-connector-python"}


def test_a_relative_folder_is_refused(monkeypatch):
    monkeypatch.setenv(FURTHER, "somewhere")
    with pytest.raises(TableError, match="somewhere is no absolute path of a folder"):
        drivers()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("ADAPTER = Ellipsis", r" has no ADAPTER: end it with ADAPTER = YourAdapter\(\)$"),
        (
            'class A(Adapter):\n    capabilities = frozenset({"pols"})\nADAPTER = A()',
            r": no capability 'pols'; there are: connection, pool, ",
        ),
        (
            'class A(Adapter):\n    capabilities = frozenset({"connection"})\n    def connect(self, to): ...\n'
            "ADAPTER = A()",
            r": write close, read, write, fail, script, rows, setting, write_many, begin, commit, "
            r"rollback, or leave 'connection' out of",
        ),
    ],
)
def test_an_adapter_that_is_not_whole_is_told_in_one_line(tmp_path, monkeypatch, text, says):
    import matrix.harness.adapters as package

    name = f"part_{len(text)}"
    (tmp_path / f"{name}.py").write_text(f"from .base import Adapter\n{text}\n")
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path)])
    with pytest.raises(LookupError, match=f"{name}.py{says}"):
        load(name)


def test_the_adapters_in_the_tree_are_those_of_the_tables():
    files = {path.stem for path in (drivers.__globals__["ADAPTERS"]).glob("*.py")}
    assert files - {"__init__", "base", "cursors", "mysql_common", "states"} == {
        each.adapter for each in drivers().values()
    }
    assert issubclass(type(load("aiosqlite")), Adapter)


@pytest.mark.parametrize(
    ("requirement", "name"),
    [
        ("psycopg[binary,pool]", "psycopg"),
        ("hypothesis==6.1; python_version < '3.11'", "hypothesis"),
        ("pytest-asyncio>=1.5", "pytest-asyncio"),
        ("Mysql_Connector.Python @ file:///x", "mysql-connector-python"),
    ],
)
def test_the_name_of_a_distribution(requirement, name):
    assert distribution(requirement) == name


def test_only_the_runtime_error_that_tortoise_documents_counts_as_documented():
    """require_context() "Raises: RuntimeError: If no TortoiseContext is currently active"; nobody else does."""
    from tortoise.context import require_context

    def raised(call):
        with pytest.raises(RuntimeError) as caught:
            contextvars.Context().run(call)
        return Adapter().classify(caught.value)

    def other():
        raise RuntimeError("No TortoiseContext is currently active.")

    assert (raised(require_context), raised(other)) == (DOCUMENTED, INTERNAL)


def test_an_error_is_classed_without_loading_tortoise(monkeypatch):
    """The child processes of a bare driver would load it anew, each of them."""
    from tortoise.exceptions import OperationalError

    assert Adapter().classify(OperationalError()) == DOCUMENTED
    monkeypatch.delitem(sys.modules, "tortoise.exceptions")
    assert Adapter().classify(KeyError()) == INTERNAL
    assert "tortoise.exceptions" not in sys.modules

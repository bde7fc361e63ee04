"""Names of cells: grammar, canonical form, what they install."""

import pytest

from matrix.runs import cells
from matrix.runs.cells import parse, requirements
from matrix.runs.releases import ReleasesError, load


@pytest.mark.parametrize(
    ("text", "canonical", "spec"),
    [
        ("sqlite-aiosqlite", "sqlite-aiosqlite", "sqlite"),
        (
            "mysql-aiomysql0.2-tortoise0.23-mariadb10.11-py312",
            "mariadb-aiomysql0.2-tortoise0.23-mariadb10.11-py312",
            "mariadb-10.11",
        ),
        (
            "postgres-psycopg3.1.8-py3.13-pool3.1-postgres15",
            "postgres-psycopg3.1.8-pool3.1-postgres15-py313",
            "postgres-15",
        ),
        ("mysql-asyncmy0.2.8rc2-eager", "mysql-asyncmy0.2.8rc2-eager", "mysql"),
        ("postgres-psycopg-tls-unprepared-pgbouncer1.18", "postgres-psycopg-pgbouncer1.18-unprepared-tls", "postgres"),
        ("mysql-asyncmy-py312-tls", "mysql-asyncmy-tls-py312", "mysql"),
        ("mysql-aiomysql-tortoise+my.fix", "mysql-aiomysql-tortoise+my.fix", "mysql"),
    ],
)
def test_a_name_has_one_canonical_form(text, canonical, spec):
    name = cells.read(text)
    assert str(name) == canonical
    assert str(parse(canonical)) == canonical
    assert name.server_spec == spec
    assert name.default == (canonical == name.base)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("aiomysql", "begins with a server and a driver"),
        ("mysql-", "begins with a server and a driver"),
        ("mysql-aiomysql-tortoise", "'tortoise' is none of"),
        ("mysql-aiomysql-tortoise0.23-tortoise1.0", "says the tortoise twice"),
        ("mysql-aiomysql-py312-py313", "says the Python twice"),
        ("mysql-nodriver", "there is no driver nodriver"),
        ("postgres-aiomysql", "runs on mysql, mariadb here"),
        ("mysql-aiomysql-postgres15", "runs on mysql, mariadb here"),
        ("mysql-aiomysql-pool3.1", "has no pool with releases of its own"),
        ("mysql-aiomysql-pgbouncer", "aiomysql is not reached so (pgbouncer): tls"),
        ("sqlite-aiosqlite-tls", "aiosqlite is not reached so (tls): there is one way"),
        ("postgres-psycopg-pgbouncer-uniquenames", "psycopg is not reached so (uniquenames)"),
        ("postgres-psycopg-pgbouncer-pgbouncer1.18", "says the pooler twice"),
    ],
)
def test_what_is_no_cell_is_told_in_one_line(text, says):
    with pytest.raises(ValueError, match="is no cell") as problem:
        cells.read(text)
    assert says in str(problem.value)
    assert "\n" not in str(problem.value)


def test_a_pooler_is_a_spec_of_the_servers():
    specs = [cells.read(f"postgres-asyncpg{way}").pooler_spec for way in ("", "-pgbouncer", "-pgbouncer1.18")]
    assert specs == ["", "pgbouncer", "pgbouncer-1.18"]


def test_two_numbers_are_a_minor_release_and_more_are_exact():
    found = requirements(cells.read("mysql-aiomysql0.2-tortoise0.23.0"))
    assert "aiomysql==0.2.*" in found
    assert "tortoise-orm==0.23.0" in found
    assert "cryptography" in found


def test_a_release_gets_what_it_needs_to_be_imported():
    assert "aiosqlite<0.22" in requirements(cells.read("mysql-aiomysql-tortoise0.24"))
    assert "aiosqlite<0.22" in requirements(cells.read("mysql-aiomysql-tortoise0.25.2"))
    assert "aiosqlite<0.22" not in requirements(cells.read("mysql-aiomysql-tortoise0.25"))  # the newest of them: 0.25.4
    assert "aiosqlite<0.22" not in requirements(cells.read("mysql-aiomysql"))


def test_a_source_of_ones_own_is_installed_from_there():
    name = cells.read("mysql-aiomysql-tortoise+fix")
    assert "tortoise-orm @ file:///fix" in requirements(name, own={"tortoise-orm": "file:///fix"})
    with pytest.raises(ValueError, match="say where"):
        requirements(name)


def test_a_pool_is_pinned_beside_its_driver():
    found = requirements(cells.read("postgres-psycopg3.2-pool3.1"))
    assert "psycopg[binary,pool]==3.2.*" in found
    assert "psycopg-pool==3.1.*" in found


def test_odbc_needs_the_servers_of_all_its_databases():
    assert cells.server_specs(cells.read("odbc-asyncodbc")) == ["postgres", "mariadb"]
    assert cells.server_specs(cells.read("sqlite-aiosqlite")) == []
    assert cells.server_specs(cells.read("mysql-aiomysql-mariadb10.5")) == ["mariadb-10.5"]


def test_a_broken_file_of_releases_is_one_line(tmp_path):
    broken = tmp_path / "releases.toml"
    broken.write_text("pythons = [")
    with pytest.raises(ReleasesError, match=r"releases\.toml: cannot be used"):
        load(broken)

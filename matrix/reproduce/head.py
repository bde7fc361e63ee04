"""The head of a script: its metadata, what it is about, the imports that it needs, and what it is given."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Protocol

from matrix.harness.drivers import Driver
from matrix.reproduce.naming import harmless, names, quoted, wrapped
from matrix.reproduce.runtime import pins
from matrix.reproduce.symptom import Symptom
from matrix.reproduce.tables import Tables
from matrix.results.text import one_line

SCHEMES = {"postgres": "postgres", "mysql": "mysql", "mariadb": "mysql", "sqlite": "sqlite"}
SERVED = "{scheme}://user@host:port/database"
# The environment is its user's own to read, arguments are everybody's.
PASSWORD = 'PASSWORD = os.environ.get("DATABASE_PASSWORD") or unquote(ADDRESS.password or "")\n'
ODBC_DRIVER = "ODBC_DRIVER is the PostgreSQL driver: its name in odbcinst.ini, or the path of its library."
STANDARD: tuple[str, ...] = ("asyncio", "contextlib", "contextvars", "functools", "gc", "os", "queue", "socket")
STANDARD = (*STANDARD, "sqlite3", "sys", "threading", "traceback", "types")
QUIET = 0.05  # seconds in which nothing moves before the next step
OF_311 = ("TaskGroup", "asyncio.timeout", ".uncancel", ".cancelling")  # Python 3.11


class Made(Protocol):
    """What a head says something about."""

    line: Mapping[str, Any]
    header: Mapping[str, Any]
    server: str
    sqlite: bool
    odbc: bool
    orm: bool
    order: str
    table: Driver
    tables: Tables
    found: Symptom

    def cancel_point(self) -> str: ...


def tortoise_imports(used: Collection[str], tables: Tables, contrib: str = "") -> list[str]:
    """The lines that import what is used of Tortoise; ``contrib``: in the place of what ``Tortoise`` does for it."""
    lines = [f"from tortoise import {'' if contrib else 'Tortoise, '}{'connections, ' * ('connections' in used)}fields"]
    lines += [contrib] if contrib else []
    lines += ["from tortoise.expressions import F"] * tables.counts_up
    lines.append("from tortoise.models import Model")
    return lines + ["from tortoise.transactions import in_transaction"] * ("in_transaction" in used)


def head(maker: Made, rest: str, seconds: int) -> str:
    """What comes before ``rest``: the script's metadata, what it is about, and the imports that the rest uses."""
    line, version = maker.line, maker.header["axes"]["driver_version"]
    address = "sqlite:///FILE" if maker.sqlite else SERVED.format(scheme=SCHEMES[maker.server])
    address += " ODBC_DRIVER" * maker.odbc
    description = [
        one_line(f"{line['scenario']}: {line.get('title')}, on {maker.table.name} {version}."),
        "",
        *wrapped(f"Promised: {line.get('contract')}"),
        *wrapped(f"Found: {maker.found.sentence}"),
        "",
        f"Usage: {'' if maker.sqlite else 'DATABASE_PASSWORD=... '}uv run repro.py {address}",
        *(wrapped(ODBC_DRIVER) if maker.odbc else []),
        *wrapped(
            "It creates the tables repro_entry and repro_seed in that database and drops them. The order of the "
            "steps is forced, so the symptom shows every time: exit code 1 if it shows, 0 if not, 2 for wrong use."
        ),
    ]
    doc = "\n".join(harmless(each) for each in description)
    dependencies = "\n".join(f'#     "{pin}",' for pin in pins(maker.header, maker.orm))
    of_rest = names(rest)
    used = of_rest if maker.sqlite else of_rest | names(PASSWORD)
    lines = [f"import {module}" for module in STANDARD if module in used]
    unquoting = "unquote, " if "unquote" in of_rest else ""
    lines += [f"from urllib.parse import {unquoting}urlsplit", ""]
    modules = [module for module in maker.table.imports if "." not in module]
    lines += [f"import {module}" for module in modules if module in used]
    lines += tortoise_imports(used, maker.tables) if maker.orm else []
    imports = "\n".join(lines)
    oldest = "3.11" if any(f"{call}(" in rest for call in OF_311) else "3.10"
    return (
        f'# /// script\n# requires-python = ">={oldest}"\n# dependencies = [\n{dependencies}\n# ]\n# ///\n'
        f'"""{doc}\n"""\n\n{imports}\n\n'
        f"ORDER = {quoted(maker.order)}\n{maker.cancel_point()}"
        f"QUIET, PATIENCE = {QUIET}, {seconds}  # seconds\n"
        f'if len(sys.argv) != {2 + maker.odbc} or not sys.argv[1].startswith("{SCHEMES[maker.server]}:"):\n'
        f'    print("usage: python {{}} {address}".format(sys.argv[0]), file=sys.stderr)\n'
        f"    sys.exit(2)\n"
        f"ADDRESS = urlsplit(sys.argv[1])\n{'' if maker.sqlite else PASSWORD}\n"
    )

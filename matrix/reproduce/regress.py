"""A result line as a test that a maintainer can keep: pytest with asyncio fixtures, tasks ordered by asyncio.Event."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping
from typing import Any

from matrix.reproduce import NotWritten
from matrix.reproduce.head import STANDARD, tortoise_imports
from matrix.reproduce.naming import harmless, names, quoted, wrapped
from matrix.reproduce.script import Maker, made
from matrix.results.text import one_line

WRONG = "{what: answer for what, answer in told.items() if answer is NOTHING or isinstance(answer, BUGS)}"
PAUSE = 0.05  # seconds in which what is under way comes to its end
PATIENCE = 3  # seconds in which everything must have ended
UNORDERED = ("kill", "lose", "time", "thread", "fetch", "script", "network")  # which events alone cannot order
URL = "TORTOISE_TEST_DB"  # as Tortoise's own tests are given their database
# Tortoise's documented way to test (tortoise.contrib.test), as its own tests do it.
TORTOISE = f'''
URL = os.getenv("{URL}", "sqlite://:memory:")


@pytest_asyncio.fixture
async def db():
    async with tortoise_test_context([__name__], db_url=URL, connection_label=ALIAS) as context:
        yield context


'''
DRIVER = """
ADDRESS = urlsplit(os.environ["TEST_DATABASE"])  # scheme://user@host:port/database
PASSWORD = os.environ.get("DATABASE_PASSWORD", "")
connection = None
"""


def regression_test(line: Mapping[str, Any], header: Mapping[str, Any]) -> str:
    """The source of a test that fails as long as the finding of a line shows. Raises NotWritten with why not."""
    return made(line, header, Test).text()


class Test(Maker):
    """The same program as a script's, in the place of the held wire asyncio.Event and pauses."""

    by_events = True

    def text(self) -> str:
        self.refuse()
        if self.orm:
            parts = self.part("orm").replace('"DEFAULT"', quoted(self.aliases()[0]))
        else:
            parts = "\n\n\n".join(each.strip("\n") for each in self.driver_code())
        order = self.part("order") + self.part("events")
        setting = TORTOISE.replace("ALIAS", quoted(self.aliases()[0])) if self.orm else DRIVER
        rest = f"{setting}\n{parts.strip()}\n\n\n{order.strip()}\n\n\n{self.program}\n\n\n{self.test()}"
        return re.sub(r"\n{4,}", "\n\n\n", f"{self.head(rest)}\n{rest}")

    def refuse(self) -> None:
        """Raises NotWritten for what no order of events shows."""
        odd = next((item.kind for item in self.items if item.kind in UNORDERED), "")
        found, known = self.found, self.declared
        if odd or self.sweep or self.pool or self.odbc or (self.sqlite and not self.orm):
            raise NotWritten(f"events alone cannot order it ({odd or 'a cancelled wait, a pool or threads'})")
        if found.watched or found.looks_at_server or found.reuses_number or known.unreachable or known.abandons:
            raise NotWritten("a test of the suite's own has no look from outside")
        if self.orm and (known.context or len(self.aliases()) > 1 or self.header["axes"]["tortoise"].startswith("0.")):
            raise NotWritten("it needs contexts or connections that tortoise_test_context does not give")

    def head(self, rest: str) -> str:
        about = wrapped(one_line(f"{self.line['scenario']}: {self.line.get('contract')}"))
        about += wrapped(f"Seen with {self.table.name}: {self.found.sentence}")
        used = names(rest)
        lines = [f"import {name}" for name in STANDARD if name in used]
        lines += ["from urllib.parse import unquote, urlsplit"] * (not self.orm)
        third = ["import pytest", "import pytest_asyncio" if self.orm else f"import {self.table.imports[0]}", ""]
        if self.orm:
            third += tortoise_imports(used, self.tables, "from tortoise.contrib.test import tortoise_test_context")
        doc = "\n".join(harmless(each) for each in about)
        imports = "\n".join([*lines, "", *third])
        return (
            f'"""{doc}\n"""\n\n{imports}\n\n'
            f"ORDER = {quoted(self.by_pauses())}\nPAUSE, PATIENCE = {PAUSE}, {PATIENCE}  # seconds\n"
            f"BUGS = (AssertionError, AttributeError, RuntimeError, TypeError)  # which nobody documents"
        )

    def by_pauses(self) -> str:
        """The order with a pause where answers were let through."""
        return re.sub(r"(\.pause)+(?=\.|$)", ".pause", re.sub(r"\b\d+\b", "pause", self.order))

    def order_in_words(self) -> str:
        return "ORDER: each letter lets the task of that letter go on; at a pause what is under way comes to its end."

    def test(self) -> str:
        """The test's own function, and what it looks with."""
        name = re.sub(r"\W+", "_", f"{self.line['scenario']} {self.line.get('title')}".lower()).strip("_")
        shows = self.found.shows
        helpers = []
        asked = names(shows)
        if "well" in asked:
            helpers += ["def well(what):", "    answer = told.get(what, NOTHING)"]
            helpers += ["    return answer is not NOTHING and not isinstance(answer, BaseException)", "", ""]
        if "failed" in asked:
            helpers += ["def failed(what):", "    return isinstance(told.get(what), BaseException)", "", ""]
        body = [*(self.tortoise_begin() if self.orm else self.driver_begin()), *self.starts(), "await conduct(ORDER)"]
        if self.next_user:
            body.append('await asyncio.wait([start("the next task", the_next_task)], timeout=PATIENCE)')
        if "rows" in asked:
            looked = "[entry.token for entry in await asyncio.wait_for(Entry.all(), PATIENCE)]"
            asked_for = looked if self.orm else 'await sql(direct, "SELECT token FROM repro_entry ORDER BY id")'
            body.append(f"rows = {asked_for}")
        # Without a held wire the moments differ a little, and so may what goes wrong: a bug's error, or no end at all.
        body += [f"shows = {shows}", f"wrong = {WRONG}", "for task in tasks.values():", "    task.cancel()"]
        body += ["await asyncio.wait(tasks.values(), timeout=PATIENCE)"]
        if not self.orm:
            body = [body[0], "try:", *textwrap.indent("\n".join(body[1:]), "    ").splitlines(), "finally:"]
            body += [f"    {each}" for each in self.tables.drop()]
        body += ["assert not wrong, wrong", f"assert not shows, {quoted(f'expected: {self.found.expected}')}"]
        inside = textwrap.indent("\n".join(body), "    ")
        given = "db" if self.orm else ""
        shared = self.global_names().removeprefix(", ") if self.orm else "connection"
        known = f"    global {shared}\n" if shared else ""
        return "\n".join([*helpers, f"@pytest.mark.asyncio\nasync def test_{name}({given}):\n{known}{inside}\n"])

    def tortoise_begin(self) -> list[str]:
        lines = [f"for number in range(1, {self.seeds() + 1}):", '    await Seed.create(nonce=f"n-{number}")']
        lines += [f"await Counter.create(name={quoted(name)}, value=0)" for name in self.tables.counters]
        lines += self.plain_client()
        return [*lines, *self.fill()] if self.pool_size() == 1 else lines

    def driver_begin(self) -> list[str]:
        return ["direct = await connect(HOST, PORT)", *self.create(), "connection = await connect(HOST, PORT)"]

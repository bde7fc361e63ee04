"""Whether each quotation of promises.toml stands where it is said to stand, as far as that can be installed.

``python -m tests.quotations [SITE-PACKAGES …]`` (default: those of .tox): looks each quotation up in the
packages of who wrote it and in this Python's own library, whatever the line breaks. A quotation from a file that is
installed must be found; what stands on a page only is listed, to be read there. Exit code 1 when one is not found.
"""

from __future__ import annotations

import re
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from matrix.harness.scenario import PROMISES

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

# Whose address it is -> the folders in site-packages that hold what they wrote, their metadata among them.
WROTE = {
    "tortoise": ("tortoise", "tortoise_orm-*"),
    "asyncpg": ("asyncpg", "asyncpg-*"),
    "psycopg": ("psycopg", "psycopg_pool", "psycopg-*", "psycopg_pool-*"),
    "aiomysql": ("aiomysql", "aiomysql-*"),
    "aiosqlite": ("aiosqlite", "aiosqlite-*"),
}
# Pages whose paragraphs on an object are made from its docstring: what they say of it stands in what is installed.
FROM_DOCSTRINGS = r"(?:magicstack\.github\.io/asyncpg|tortoise\.github\.io)/.*#([a-z_]+)\.[\w.]+$"
READ = (".py", ".pyi", ".pyx", ".so", ".md", ".rst", "METADATA")
FOUND, WRONG, UNCHECKED = "found", "NOT FOUND", "not installed"


class Quotation(NamedTuple):
    """A quotation, who is bound by it and where it is said to stand."""

    name: str
    quote: str
    url: str


def quotations(path: Path = PROMISES) -> Iterator[Quotation]:
    """All of a promises file."""
    read = tomllib.loads(path.read_text("utf-8"))
    texts = read.pop("texts", {})
    for name, each in {**texts, **read}.items():
        if "quote" in each:
            yield Quotation(name, each["quote"], each["url"])


def look_up(quotation: Quotation, folders: Sequence[Path]) -> str:
    """FOUND, WRONG (the very file, or the object that the page is made from, is installed and does not say so) or
    UNCHECKED."""
    files = list(_files(quotation.url, folders))
    if any(plain(quotation.quote) in plain(path.read_bytes().decode("utf-8", "replace")) for path in files):
        return FOUND
    named = re.search(r"/blob/[^/]+/.*?([^/]+\.pyx?)(?:#|$)", quotation.url)
    made_from = re.search(FROM_DOCSTRINGS, quotation.url)
    installed = (named and any(path.name == named[1] for path in files)) or (
        made_from and any(path.suffix == ".py" and made_from[1] in path.parts for path in files)
    )
    return WRONG if installed else UNCHECKED


def plain(text: str) -> str:
    """Words only: line breaks, the signs of comments and of markup, and where its links lead do not count."""
    text = re.sub(r"\s*<https?://[^>]*>", "", text)
    return " ".join(re.sub(r"[#>|]", " ", re.sub(r"[\\`*_]", "", text)).split())


def _files(url: str, folders: Sequence[Path]) -> Iterator[Path]:
    if "docs.python.org" in url:
        yield from (Path(sysconfig.get_path("stdlib")) / "asyncio").glob("*.py")
    patterns = next((own for name, own in WROTE.items() if name in url), ())
    for folder in folders:
        for pattern in patterns:
            for each in folder.glob(pattern):
                yield from (path for path in each.rglob("*") if path.name.endswith(READ))


def main(arguments: Sequence[str]) -> int:
    here = Path(__file__).resolve().parents[1]
    folders = [Path(each) for each in arguments] or sorted(here.glob(".tox/*/lib/python*/site-packages"))
    if not folders:
        print("no .tox here: name folders of installed packages (…/site-packages)", file=sys.stderr)
        return 2
    found: dict[str, list[Quotation]] = {FOUND: [], WRONG: [], UNCHECKED: []}
    for each in quotations():
        found[look_up(each, folders)].append(each)
    for word in (UNCHECKED, WRONG):
        for each in found[word]:
            print(f"{word}: {each.name}: {each.quote[:60]}… {each.url}")
    print(", ".join(f"{len(some)} {word}" for word, some in found.items()))
    return 1 if found[WRONG] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

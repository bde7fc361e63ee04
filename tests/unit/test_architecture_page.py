"""docs/architecture.md names files and functions that exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
PATH = re.compile(r"`((?:[\w.-]+/)*[\w-]+(?:\.\w+)+|(?:[\w-]+/)+)`")  # `a/b.py`, `conftest.py`, `a/b/`


def life() -> list[tuple[list[str], list[str]]]:
    """Files and functions of each step of "The life of one verdict"."""
    part = TEXT.partition("## The life of one verdict")[2].partition("\n## ")[0]
    rows = [line.strip("| ").split(" | ") for line in part.splitlines() if line.startswith("| ")]
    return [(re.findall(r"`(.+?)`", row[1]), re.findall(r"`(.+?)`", row[2])) for row in rows[1:]]


@pytest.mark.parametrize("name", sorted({*PATH.findall(TEXT)} - {"adapters/", "orm.py", "models.py"}))
def test_what_it_names_exists(name):
    places = [ROOT / name, ROOT / "matrix" / name]
    assert any(place.exists() for place in places), name


@pytest.mark.parametrize(("paths", "names"), life(), ids=lambda value: " ".join(value))
def test_each_step_has_its_functions(paths, names):
    source = "\n".join((ROOT / path).read_text(encoding="utf-8") for path in paths)
    for name in names:
        assert re.search(rf"^\s*(?:async )?(?:def|class) {name}\b", source, re.MULTILINE), name


def test_it_has_every_room_and_ten_changes():
    rooms = {path.parent.name for path in (ROOT / "matrix").glob("*/__init__.py")}
    assert [room for room in sorted(rooms) if f"`matrix/{room}/`" not in TEXT] == []
    assert len(re.findall(r"^\| ", TEXT.partition("## Where do I change")[2], re.MULTILINE)) >= 11
    assert len(life()) >= 15

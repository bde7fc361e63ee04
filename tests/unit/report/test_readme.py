"""README.md: short, with the tables that the report puts in; nothing beside the markers is touched."""

import re
from pathlib import Path

import pytest

from matrix.report import readme

ROOT = Path(__file__).parents[3]


def test_blocks_are_put_between_their_markers_and_nothing_else_changes():
    text = "a\n<!-- one:start -->\nold\nolder\n<!-- one:end -->\nb\n<!-- two:start -->\n<!-- two:end -->\n"
    found = readme.filled(text, {"one": "new", "two": "too"})
    assert found == "a\n<!-- one:start -->\nnew\n<!-- one:end -->\nb\n<!-- two:start -->\ntoo\n<!-- two:end -->\n"
    assert readme.filled(found, {"one": "new", "two": "too"}) == found
    with pytest.raises(ValueError, match="no such block"):
        readme.filled(text, {"one": "new"})


def test_the_report_writes_both_files(table, tmp_path):
    (tmp_path / "docs").mkdir()
    markers = "".join(f"<!-- {name}:start -->\n<!-- {name}:end -->\n" for name in ("headline", "patterns", "errors"))
    (tmp_path / "README.md").write_text(markers, "utf-8")
    readme.update(table, tmp_path)
    written = (tmp_path / "README.md").read_text("utf-8")
    assert "| If you write |" in written
    assert "Written by" in (tmp_path / "docs" / "table.md").read_text("utf-8")


def test_the_readme_is_short_and_its_links_lead_somewhere():
    text = (ROOT / "README.md").read_text("utf-8")
    assert len(text.splitlines()) < 120
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", text):
        assert (ROOT / target).exists(), target

"""README.md: short, with the tables that the report puts in; nothing beside the markers is touched."""

import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import tomllib

from matrix.harness.scenario import catalogue
from matrix.report import errors, readme
from matrix.results import messages

ROOT = Path(__file__).parents[3]


def test_blocks_are_put_between_their_markers_and_nothing_else_changes():
    text = "a\n<!-- one:start -->\nold\nolder\n<!-- one:end -->\nb\n<!-- two:start -->\n<!-- two:end -->\n"
    found = readme.filled(text, {"one": "new", "two": "too"})
    assert found == "a\n<!-- one:start -->\nnew\n<!-- one:end -->\nb\n<!-- two:start -->\ntoo\n<!-- two:end -->\n"
    assert readme.filled(found, {"one": "new", "two": "too"}) == found
    with pytest.raises(ValueError, match="no such block"):
        readme.filled(text, {"one": "new"})


def test_the_report_writes_all_files(table, tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "matrix" / "axes").mkdir(parents=True)
    own = "".join(f"<!-- {name}:start -->\n<!-- {name}:end -->\n" for name in ("kinds", "told"))
    (tmp_path / "docs" / "findings.md").write_text(own, "utf-8")
    markers = "".join(f"<!-- {name}:start -->\n<!-- {name}:end -->\n" for name in ("headline", "patterns"))
    (tmp_path / "docs" / "errors.md").write_text("<!-- errors:start -->\n<!-- errors:end -->\n", "utf-8")
    (tmp_path / "README.md").write_text(markers, "utf-8")
    readme.update(table, tmp_path)
    written = (tmp_path / "README.md").read_text("utf-8")
    assert "| If you write |" in written
    assert "Written by" in (tmp_path / "docs" / "table.md").read_text("utf-8")
    assert "| message | drivers |" in (tmp_path / "docs" / "errors.md").read_text("utf-8")
    assert messages.on_record(tmp_path / "matrix" / "axes" / "errors.json") == errors.known(errors.collect(table))
    assert "| waiting for one another |" in (tmp_path / "docs" / "findings.md").read_text("utf-8")


def test_each_kind_of_loss_names_scenarios_that_there_are_and_what_was_found():
    kinds = tomllib.loads(readme.KINDS.read_text("utf-8"))["kind"]
    named = [name for kind in kinds for name in kind["scenarios"]]
    assert set(named) <= set(catalogue())
    assert len(named) == len(set(named))
    assert all(kind["found"] for kind in kinds)


def test_what_was_told_to_have_failed_and_is_stored_is_told_apart_from_other_lies():
    def told(*facts):
        wrong = [{"property": "atomicity", "fact": {"kind": "row_stored", **fact}} for fact in facts]
        line = {"scenario": "NST-4", "verdict": "lies", "violations": wrong}
        table = SimpleNamespace(lines=[("mysql-aiomysql", line)], rows={"NST-4": None})
        return "| NST-4 | mysql-aiomysql |" in readme.findings(table)["told"]

    error = {"error": {"type": "RuntimeError", "message": ""}}
    assert told(error, {"outcome": "failed"})
    assert not told(error, {"outcome": "rolled back"})
    assert not told()


def test_the_readme_is_short_and_its_links_lead_somewhere():
    text = (ROOT / "README.md").read_text("utf-8")
    assert len(text.splitlines()) < 120
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", text):
        assert (ROOT / target).exists(), target

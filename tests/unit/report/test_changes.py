"""What changed between two folders of results, and its feed."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from matrix.report import changes, view
from matrix.results.read import read_folder
from tests.unit.results.samples import header, remedy, scenario, write_cell

ATOM = "{http://www.w3.org/2005/Atom}"


@pytest.fixture
def found(tmp_path):
    before = [scenario("NST-3", "lies"), scenario("NST-4"), scenario("CON-1"), remedy("FIX-4", "fails")]
    after = [scenario("NST-3", "safe"), scenario("NST-4", "hangs"), scenario("CON-2"), remedy("FIX-4", "holds")]
    write_cell(tmp_path / "old", header(axes={"driver_version": "0.2.0"}), before)
    write_cell(tmp_path / "old", header("mysql-asyncmy"), [scenario("NST-3", "lies")])
    write_cell(tmp_path / "new", header(started="2026-11-24T01:00:00Z"), after)
    write_cell(tmp_path / "new", header("sqlite-aiosqlite"), [scenario("NST-3", "lies")])
    return changes.between(read_folder(tmp_path / "old"), read_folder(tmp_path / "new"))


def test_worse_comes_first_and_cells_that_one_side_lacks_are_no_change(found):
    assert [change.sentence for change in found] == [
        "NST-4 on mysql-aiomysql: safe → hangs (worse)",
        "NST-3 on mysql-aiomysql: lies → safe (better)",
        "FIX-4 on mysql-aiomysql: fails → holds (better)",
        "CON-2 on mysql-aiomysql: not there → safe (new)",
        "CON-1 on mysql-aiomysql: safe → not there (gone)",
    ]
    assert found[0].versions == ("driver 0.2.0 → 0.3.2",)


def test_the_same_results_have_no_changes(tmp_path):
    write_cell(tmp_path, header(), [scenario("NST-3", "lies")])
    assert changes.between(read_folder(tmp_path), read_folder(tmp_path)) == ()


def test_the_feed_has_an_entry_for_each_with_an_id_of_its_own(found):
    root = ElementTree.fromstring(changes.feed(found, "2026-11-24T01:00:00Z", "https://example.org/m/", view.page_of))
    entries = root.findall(f"{ATOM}entry")
    assert len({entry.findtext(f"{ATOM}id") for entry in entries}) == len(found) == len(entries)
    link = entries[0].find(f"{ATOM}link").get("href")
    assert link == "https://example.org/m/cells/mysql-aiomysql/NST-4.html"
    for each in (root, *entries):
        assert each.findtext(f"{ATOM}updated") == "2026-11-24T01:00:00Z"
        assert each.findtext(f"{ATOM}title")
    assert root.find(f"{ATOM}author/{ATOM}name") is not None


def test_a_feed_without_changes_and_address_is_a_feed():
    root = ElementTree.fromstring(changes.feed((), "2026-11-24T01:00:00Z", "", view.page_of))
    assert root.findall(f"{ATOM}entry") == root.findall(f"{ATOM}link") == []

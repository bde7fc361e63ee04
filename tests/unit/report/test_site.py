"""The pages: whole, linked, escaped, readable, and the same when built again."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest

from matrix.report import files, site
from tests.unit.report import hostile
from tests.unit.report.conftest import table_of

VOID = {"meta", "link", "img", "br", "hr", "input"}


class Page(HTMLParser):
    """Elements with their attributes; fails on tags that do not close in order."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict]] = []
        self.open: list[str] = []
        self.text: list[str] = []
        self.feed(path.read_text("utf-8"))
        assert not self.open, f"{path}: not closed: {self.open}"

    def handle_starttag(self, tag, attributes):
        names = [name for name, _ in attributes]
        assert len(set(names)) == len(names)
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)

    def all(self, *tags):
        return [attributes for tag, attributes in self.elements if tag in tags]

    @property
    def ids(self):
        return [attributes["id"] for _, attributes in self.elements if "id" in attributes]


def pages(folder):
    return {path: Page(path) for path in sorted(folder.rglob("*.html"))}


def test_there_is_a_page_for_each_cell_and_scenario(built, table):
    for column in table.columns:
        assert (built / "cells" / column.cell / "index.html").exists()
        for name in column.result.by_id:
            assert (built / "cells" / column.cell / f"{name}.html").exists()


def test_every_internal_link_resolves(built):
    found = pages(built)
    for path, page in found.items():
        for attributes in page.all("a", "link"):
            target, _, fragment = attributes["href"].partition("#")
            if target.startswith(("https://", "http://", "data:")):
                continue
            file = (path.parent / unquote(target)).resolve() if target else path
            assert file.is_file(), f"{path}: {attributes['href']}"
            if fragment:
                assert fragment in found[file].ids, f"{path}: {attributes['href']}"


def test_pages_hold_no_script_and_ask_no_other_host(built):
    for path, page in pages(built).items():
        assert not page.all("script", "img", "iframe", "object", "style"), path
        assert all(
            attributes["href"] in ("data:,",) or "//" not in attributes["href"] for attributes in page.all("link")
        )
    assert not re.search(r"url\(|@import|//", re.sub(r"/\*.*?\*/", "", (built / "style.css").read_text(), flags=re.S))


def test_tables_have_captions_and_scopes(built):
    for path, page in pages(built).items():
        assert len(page.all("caption")) == len(page.all("table")), path
        assert all(cell.get("scope") for cell in page.all("th")), path
        assert all(
            element["aria-labelledby"] in page.ids for _, element in page.elements if "aria-labelledby" in element
        )
        assert len(set(page.ids)) == len(page.ids), path
        assert len(page.all("h1")) == 1


def test_the_index_says_versions_age_and_what_is_incomplete(built):
    text = " ".join("".join(Page(built / "index.html").text).split())
    for part in ("MariaDB 10.11.19", "Tortoise 1.1.9", "3 days older than the newest run", "! newest run incomplete"):
        assert part in text
    html = (built / "index.html").read_text("utf-8")
    assert "CTX-7 in mysql-aiomysql: n/a, not judged. eager tasks need Python 3.12" in html
    assert "On record: On &lt;record&gt;." in html


def test_an_evidence_page_shows_all_evidence(built):
    text = " ".join("".join(Page(built / "cells" / "mysql-aiomysql" / "NST-4.html").text).split())
    for part in (
        "readexactly() called while another coroutine is waiting",
        "The child was told that its block failed, and its row is stored.",
        "nobody was told so",
        "AAB1",
        "async def nst_4(world)",
        "pool.py:10",
        "Task exception was never retrieved",
        "the connection answers a sentinel query",
        "1 sent while an answer to somebody else was still due",
        "PyMySQL 1.2.4",
        "A quoted promise.",
    ):
        assert part in text, part


def test_a_remedy_has_a_section_for_each_scenario(built):
    page = Page(built / "cells" / "mysql-aiomysql" / "FIX-1a.html")
    assert {"NST-3", "NST-4"} <= set(page.ids)


def test_the_same_results_give_the_same_bytes(results, expectations, tmp_path):
    for name in ("one", "two"):
        site.build(table_of(results, expectations), tmp_path / name)
    assert snapshot(tmp_path / "one") == snapshot(tmp_path / "two")


def snapshot(folder):
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_json_has_all_cells_without_the_evidence(built):
    summary = json.loads((built / "results.json").read_text("utf-8"))
    assert len(summary["cells"]) == 8
    assert '"evidence"' not in json.dumps(summary)
    whole = json.loads((built / "cells" / "mysql-aiomysql.json").read_text("utf-8"))
    assert any(line["evidence"] for line in whole["scenarios"])
    assert (built.parent / "results.json").read_bytes() == (built / "results.json").read_bytes()


def test_a_build_that_fails_leaves_the_older_site(built, table, tmp_path, monkeypatch):
    site.build(table, tmp_path)
    before, write = snapshot(tmp_path), files.write
    written = []

    def full(path, content):
        written.append(path)
        if len(written) > 5:
            raise OSError(28, "No space left on device")
        write(path, content)

    monkeypatch.setattr(files, "write", full)
    with pytest.raises(OSError, match="No space"):
        site.build(table, tmp_path)
    assert snapshot(tmp_path) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["results.json", "site"]


def test_hostile_texts_stay_texts(hostile_table, tmp_path):
    site.build(hostile_table, tmp_path)
    found = pages(tmp_path / "site")
    assert len(found) == 4
    for path, page in found.items():
        assert not page.all("script", "img"), path
        assert all("onerror" not in attributes for _, attributes in page.elements), path
        links = [attributes["href"] for attributes in page.all("a")]
        assert not [link for link in links if link.startswith("javascript:")], path
        raw = path.read_text("utf-8")
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e\ud800-\udfff]", raw), path
        assert "49" not in raw or "{{7*7}}" in raw
    page = found[tmp_path / "site" / "cells" / "mysql-aiomysql" / "NST-3.html"]
    assert "<script>alert(1)</script>" in "".join(page.text)
    json.loads((tmp_path / "results.json").read_text("utf-8"))
    assert hostile.TEXT.split("|")[0].strip() in "".join(page.text)


# Contrast, computed as WCAG 2 defines it


def colours(scheme):
    css = (site.HERE / "style.css").read_text("utf-8")
    light, dark = re.findall(r":root \{(.*?)\n\s*\}", css, re.S)[:2]
    found = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6})", light))
    return found | (dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6})", dark)) if scheme == "dark" else {})


def luminance(colour):
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_pair_of_colours_is_wcag_aa(scheme):
    found = colours(scheme)
    words = ("safe", "refuses", "breaks", "hangs", "poisons", "lies", "none", "error", "alert")
    pairs = [(word, f"{word}-ground") for word in words]
    grounds = ("ground", "raised", "alert-ground", "breaks-ground")
    pairs += [(text, ground) for text in ("text", "alert", "muted") for ground in grounds]
    pairs += [("link", "ground"), ("link", "raised"), ("link", "alert-ground"), ("safe", "ground")]
    weak = {pair: round(contrast(found[pair[0]], found[pair[1]]), 2) for pair in pairs}
    assert {pair: ratio for pair, ratio in weak.items() if ratio < 4.5} == {}
    for line in ("bar", "strong-line"):
        assert contrast(found[line], found["ground"]) >= 3, line

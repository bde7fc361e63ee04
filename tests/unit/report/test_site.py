"""The pages: whole, linked, escaped, readable, and the same when built again."""

from __future__ import annotations

import json
import lzma
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote
from xml.etree import ElementTree

import pytest

from matrix.report import badges, errors, files, junit, patterns, readme, runs, search, site, view
from matrix.report.marks import style_class
from matrix.report.pages import HERE, SiteOptions, orders_in_words, other_project
from matrix.results import read
from matrix.results.read import ResultError, read_folder
from matrix.results.reproducers import write_index
from matrix.words import GLYPHS
from tests.unit.report import hostile
from tests.unit.report.conftest import table_of
from tests.unit.results.samples import evidence, header, remedy, scenario, write_cell

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
            assert (built / table.page_of(column.cell, name)).exists()


def test_every_internal_link_resolves(built):
    found = pages(built)
    for path, page in found.items():
        for attributes in page.all("a", "link", "script", "img", "option"):
            address = next((attributes[key] for key in ("href", "src", "data-href") if key in attributes), None)
            if address is None:
                continue
            target, _, fragment = address.partition("#")
            if target.startswith(("https://", "http://", "data:")):
                continue
            file = (path.parent / unquote(target)).resolve() if target else path
            assert file.is_file(), f"{path}: {address}"
            if fragment:
                assert fragment in found[file].ids, f"{path}: {address}"


def test_pages_hold_one_script_and_ask_no_other_host(built):
    for path, page in pages(built).items():
        assert not page.all("iframe", "object", "style", "embed"), path
        (script,) = page.all("script")
        assert Path(script["src"]).name == "matrix.js"
        for attributes in page.all("link", "script", "img"):
            target = attributes.get("href") or attributes["src"]
            assert target == "data:," or "//" not in target, path
        assert not [name for _, each in page.elements for name in each if name.startswith("on")], path
    assert "//" not in re.sub(r"(?m)^\s*//.*$", "", (built / "matrix.js").read_text("utf-8"))
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
    page = "".join(Page(built / "cells" / "mysql-aiomysql" / "index.html").text)
    assert "eager tasks need Python 3.12" in page
    assert "Known: On <record>." in page


def test_an_evidence_page_shows_all_evidence(built):
    text = " ".join("".join(Page(built / "cells" / "mysql-aiomysql" / "NST-4.html").text).split())
    for part in (
        "readexactly() called while another coroutine is waiting",
        "The child was told that its block failed, and its row is stored.",
        "reported to nobody",
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
    cell = json.loads((built / "cells" / "mysql-aiomysql.json").read_text("utf-8"))
    assert [line["scenario"] for line in cell["scenarios"]] == cell["header"]["planned"]
    whole = lzma.decompress((built / "cells" / "mysql-aiomysql.jsonl.xz").read_bytes())
    assert next(json.loads(line) for line in whole.splitlines() if b'"NST-4"' in line[:200])["evidence"]["frames"]
    assert (built.parent / "results.json").read_bytes() == (built / "results.json").read_bytes()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_build_that_fails_leaves_the_older_site(built, table, tmp_path, monkeypatch, workers):
    site.build(table, tmp_path)
    before, put = snapshot(tmp_path), files.put
    written = []

    def full(path, content):
        written.append(path)
        if len(written) > 5:
            raise OSError(28, "No space left on device")
        put(path, content)

    monkeypatch.setattr(files, "put", full)
    with pytest.raises(OSError, match="No space"):
        site.build(table, tmp_path, SiteOptions(workers=workers))
    assert snapshot(tmp_path) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["results.json", "site"]


def test_hostile_texts_stay_texts(hostile_table, tmp_path):
    older = read_folder(hostile.write_older(tmp_path / "older"))
    found_runs = runs.runs(hostile_table, [older], tmp_path)
    assert {change.direction for change in found_runs[0].changes} == {"worse", "new"}
    site.build(hostile_table, tmp_path / "out", SiteOptions(found_runs, "https://example.org/x/"))
    built = tmp_path / "out" / "site"
    found = pages(built)
    assert len([path for path in found if path.parent.name == "tortoise"]) == 3
    for path, page in found.items():
        assert len(page.all("script")) == 1, path
        assert all(each["src"].endswith(".svg") for each in page.all("img")), path
        assert all("onerror" not in attributes for _, attributes in page.elements), path
        links = [attributes["href"] for attributes in page.all("a")]
        assert not [link for link in links if link.startswith("javascript:")], path
        raw = path.read_text("utf-8")
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e\ud800-\udfff]", raw), path
        assert path.name == "fix.html" or "49" not in raw or "{{7*7}}" in raw  # that one has figures of its own
    page = found[built / "cells" / "mysql-aiomysql" / "NST-3.html"]
    assert hostile.TEXT.split("|")[0].strip() in "".join(page.text)
    # The script of a scenario, and that of a remedy over it.
    for name, script in (("NST-3", "NST-3.py"), ("FIX-1a", "FIX-1a-NST-3.py")):
        page = found[built / "cells" / "mysql-aiomysql" / f"{name}.html"]
        assert script in {link["href"] for link in page.all("a")}
        assert (built / "cells" / "mysql-aiomysql" / script).is_file()
        assert not (built / "cells" / "mariadb-aiomysql" / script).exists()
    for path in sorted(built.rglob("*")):
        assert re.fullmatch(r"[A-Za-z0-9._+-]+", path.name), path
        if path.suffix == ".json":
            json.loads(path.read_text("utf-8"))
        elif path.suffix in (".xml", ".svg"):
            content = path.read_text("utf-8")
            ElementTree.fromstring(content)
            assert "<script" not in content
            assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", content), path


def test_many_processes_build_the_same(results, expectations, tmp_path):
    for workers in (1, 3):
        site.build(table_of(results, expectations), tmp_path / str(workers), SiteOptions(workers=workers))
    assert snapshot(tmp_path / "1") == snapshot(tmp_path / "3")


def test_a_file_that_changes_meanwhile_is_said(results, expectations, tmp_path):
    folder = tmp_path / "results"
    shutil.copytree(results, folder)
    table = table_of(folder, expectations)
    write_cell(folder, header(planned=["NST-3"]), [scenario("NST-3")])
    with pytest.raises(ResultError, match="build the report again"):
        site.build(table, tmp_path / "out")


def test_the_fast_way_to_read_json_says_the_same(monkeypatch):
    texts = [
        b'{"a": [1, 1.5, null, "\\udc80", "\xc3\xa9"]}',
        b'{"a": [1, 1.5e3, true, "x"]}',
        b'{"a": 36893488147419103232}',  # apart: the fast one takes none of a text in which it refuses one
        b'{"a": -9223372036854775809}',
        b'{"a": [18446744073709551615, -9223372036854775808, 0.1234567890123456789]}',
        b'{"a": 1e400}',
    ]
    assert read._quick is not None
    fast = [repr(read.parse(text)) for text in texts]
    monkeypatch.setattr(read, "_quick", None)
    assert fast == [repr(read.parse(text)) for text in texts]


def test_every_page_has_data_beside_it(built, table):
    for folder, names in (
        ("drivers", table.drivers),
        ("scenarios", [row.scenario for family in table.families for row in family.rows]),
        ("cells", [column.cell for column in table.columns]),
    ):
        for name in names:
            json.loads((built / folder / f"{name}.json").read_text("utf-8"))
            ElementTree.parse(built / folder / f"{name}.xml")
    assert json.loads((built / "results-1.schema.json").read_text("utf-8"))["$id"]


def test_junit_counts_as_the_results_do(built):
    (suite,) = ElementTree.parse(built / "cells" / "mysql-aiomysql.xml").getroot()
    lines = json.loads((built / "cells" / "mysql-aiomysql.json").read_text("utf-8"))["scenarios"]
    assert int(suite.get("tests")) == len(lines)
    assert int(suite.get("failures")) == sum(line["complies"] is False for line in lines) > 0
    assert int(suite.get("skipped")) == sum(line["verdict"] == "n/a" for line in lines) > 0


def test_what_is_expected_is_no_failure_in_junit_and_what_is_new_is_one():
    known = {"verdict": "lies", "met": True, "reason": "so it is", "category": "driver", "link": None}
    lines = [
        scenario("NST-3", "lies", expectation=known),
        scenario("NST-4", "safe", expectation=known | {"met": False}),
        scenario("CON-1", "lies"),
    ]
    (suite,) = ElementTree.fromstring(junit.junit([("mysql-aiomysql", lines)]))
    assert [[child.tag for child in case] for case in suite] == [
        ["properties", "skipped"],
        ["properties", "failure"],
        ["properties", "failure"],
    ]
    assert suite[0][1].get("message") == "lies, as expected (driver): so it is"
    assert suite[0][0][0].attrib == {"name": "verdict", "value": "lies"}


def test_a_badge_says_the_word_and_shields_can_read_it(built):
    picture = ElementTree.parse(built / "badges" / "aiomysql.svg").getroot()
    endpoint = json.loads((built / "badges" / "aiomysql.json").read_text("utf-8"))
    assert endpoint["schemaVersion"] == 1
    assert set(endpoint) == {"schemaVersion", "label", "message", "color"}
    assert picture.get("aria-label") == f"{endpoint['label']}: {endpoint['message']}"
    assert all(contrast(colour, "#ffffff") >= 4.5 for colour in (*badges.COLOURS.values(), badges.NEUTRAL))


def test_the_glyphs_of_the_style_sheet_are_those_of_the_table(built):
    css = (built / "style.css").read_text("utf-8")
    for word, sign in GLYPHS.items():
        assert f'.w-{style_class(word)}::before {{ content: "{sign}' in css


def test_older_results_of_this_schema_still_build(tmp_path, expectations):
    """Without any of the keys that came later, and without what the schema does not demand."""
    line = {"type": "scenario", "schema": 1, "scenario": "NST-3", "family": "nested", "title": "t", "contract": "c"}
    line |= {"level": "must", "verdict": "lies", "complies": False, "violations": []}
    head = {key: value for key, value in header(planned=["NST-3"]).items() if key not in ("commit", "platform")}
    write_cell(tmp_path / "results", head, [line])
    site.build(table_of(tmp_path / "results", expectations), tmp_path / "out")
    assert (tmp_path / "out" / "site" / "cells" / "mysql-aiomysql" / "NST-3.html").is_file()


def test_a_cell_of_an_unknown_schema_is_named_and_the_others_are_shown(tmp_path, expectations):
    write_cell(tmp_path / "results", header(), [scenario("NST-3")])
    foreign = write_cell(tmp_path / "results", header("mysql-asyncmy"), [scenario("NST-3")])
    foreign.write_bytes(
        foreign.read_bytes().replace(b'"schema":1', b'"schema":7').replace(b'"schema": 1', b'"schema":7')
    )
    site.build(table_of(tmp_path / "results", expectations), tmp_path / "out")
    text = "".join(Page(tmp_path / "out" / "site" / "index.html").text)
    assert "schema 7 is unknown, this program reads 1" in text
    assert str(tmp_path) not in text
    assert (tmp_path / "out" / "site" / "cells" / "mysql-aiomysql" / "NST-3.html").is_file()


def test_is_my_code_safe_begins_with_an_answer_for_each_pattern(tmp_path, expectations):
    cure = {"reason": "so", "violations": [], "schedule": "A", "evidence": None, "without": "lies"}
    cures = {"NST-3": {**cure, "verdict": "safe", "complies": True}}
    lines = [scenario("NST-3", "lies"), scenario("TXN-5", "breaks"), remedy("FIX-2b", "holds", cures)]
    write_cell(tmp_path / "results", header(), lines)
    site.build(table_of(tmp_path / "results", expectations), tmp_path / "out")
    page = Page(tmp_path / "out" / "site" / "patterns.html")
    first = " ".join(" ".join(page.text).split()).split("What the words mean")[0]
    assert "open a transaction inside a transaction Instead: The title of FIX-2b ; its cost: parent and child" in first
    assert "goes away around a transaction No remedy was run breaks" in first
    assert first.count("not measured in these results") == 14
    targets = {link["href"] for link in page.all("a")}
    assert {"#gather-transactions", "#gather-transactions-instead", "cells/mysql-aiomysql/NST-3.html"} <= targets


def test_a_remedy_is_recommended_nowhere_without_its_price(tmp_path, expectations):
    error = {
        "session": "child",
        "operation": 2,
        "type": "builtins.RuntimeError",
        "message": "it is busy",
        "traceback": "",
    }
    cures = {"NST-3": {"verdict": "safe", "complies": True, "reason": "", "violations": []}}
    lines = [scenario("NST-3", "lies", evidence=evidence(exceptions=[error])), remedy("FIX-2b", "holds", cures)]
    write_cell(tmp_path / "results", header(), lines)
    table = table_of(tmp_path / "results", expectations)
    site.build(table, tmp_path / "out")
    pages = {name: Page(tmp_path / "out" / "site" / f"{name}.html") for name in ("patterns", "errors")}
    said = {name: " ".join(" ".join(page.text).split()).replace(" ;", ";") for name, page in pages.items()}
    (card,) = search.index(table, errors.collect(table), patterns.build(table), {})["errors"]
    sentence = "The title of FIX-2b; its cost: parent and child are two transactions"
    assert said["patterns"].count(sentence) == 2  # in the table of all patterns and below its row in that of its own
    assert "columns); its cost: parent and child are two transactions" in said["patterns"]
    assert f"Instead: {sentence}" in said["errors"]
    assert sentence in "".join(card["instead"][1:])
    assert sentence in readme.blocks(table)["patterns"]


def test_methods_count_what_is_covered_and_what_generation_found(tmp_path, expectations):
    known = {"verdict": "lies", "properties": ["routing"], "program": "pass", "found_by_generation": False}
    known["signature"] = "lies: routing"
    news = {**known, "verdict": "poisons", "properties": ["durability"], "found_by_generation": True}
    generated = {"seed": 1, "programs": 15, "anomalies": [known, news]}
    lines = [scenario("NST-3"), scenario("CTX-7", "n/a", complies=None, orders=None, reason="eager <needs> 3.12")]
    lines += [scenario("NST-4", orders={"explored": 6, "possible": 6, "verdicts": {"safe": 6}})]
    write_cell(tmp_path / "results", header(), [*lines, scenario("GEN-2", "poisons", generated=generated)])
    table = table_of(tmp_path / "results", expectations)
    page = Page(site.build(table, tmp_path / "out").parent / "methods.html")
    text = " ".join(" ".join(page.text).split())
    for part in (
        "4 scenarios, 1 cell: 3 verdicts.",
        "16 orders were run. For 1 of 3 verdicts these are all orders",
        "15 generated programs showed 2 anomalies, 1 found by generation",
        "poisons durability on mysql-aiomysql",
        "1 without a verdict, and why",
        "n/a eager <needs> 3.12 1",
        "What is not covered",
    ):
        assert part in text, part
    assert "cells/mysql-aiomysql/GEN-2.html" in {link["href"] for link in page.all("a")}


def test_what_shows_under_uvloop_too_is_counted_by_cell_and_the_others_are_named(tmp_path, expectations):
    results = tmp_path / "results"
    write_cell(results, header(), [scenario("NST-3", "lies"), scenario("NST-4", "lies")])
    facts = {"version": "0.22.1", "runs": 2}
    entries = [
        {"cell": "mysql-aiomysql", "scenario": "NST-3", "loops": {"uvloop": {**facts, "shown": 2}}},
        {
            "cell": "mysql-aiomysql",
            "scenario": "NST-4",
            "loops": {"uvloop": {**facts, "shown": 1, "why": "ended <so>"}},
        },
        {"cell": "mysql-aiomysql", "scenario": "NST-5"},
        {"cell": "mysql-asyncmy", "scenario": "NST-3", "loops": {"uvloop": {**facts, "shown": 2}}},
    ]
    write_index(results / "reproducers", {"reproducers": entries})
    home = site.build(table_of(results, expectations), tmp_path / "out")
    for name, root in (("methods.html", ""), ("drivers/aiomysql.html", "../")):
        page = Page(home.parent / name)
        assert "mysql-aiomysql 1 of 2 scripts NST-4 ended <so>" in " ".join(" ".join(page.text).split())
        assert f"{root}cells/mysql-aiomysql/NST-4.html" in {link["href"] for link in page.all("a")}


@pytest.mark.parametrize(
    ("orders", "said"),
    [
        (None, ""),
        ({"explored": 0, "possible": None}, ""),
        ({"explored": 4, "possible": 4, "verdicts": {"safe": 1, "lies": 3}}, "4 of 4 orders explored: 3 lies, 1 safe"),
        ({"explored": 1, "possible": 1}, "1 of 1 order explored"),
        ({"explored": 10, "possible": None, "verdicts": {}}, "10 orders explored, more are possible"),
        ({"explored": 10, "possible": None, "estimate": 12345}, "10 of about 12,345 orders explored"),
        ({"explored": 10, "possible": None, "estimate": 6.7e42}, "10 of about 6.7·10⁴² orders explored"),
        ({"explored": 10, "possible": None, "estimate": 10**40}, "10 of about 1.0·10⁴⁰ orders explored"),
    ],
)
def test_orders_in_words(orders, said):
    assert orders_in_words(orders) == said


def test_a_replay_command_cannot_be_broken_out_of():
    assert site.replay_command("a-b", "NST-4", "A.1") == "python -m matrix replay a-b NST-4 A.1"
    assert site.replay_command("a-b", "NST-4", "$(x);'") == """python -m matrix replay a-b NST-4 '$(x);'"'"''"""


def test_file_names_hold_nothing_odd_and_are_never_the_same():
    names = site.file_names(["1.0", "../1.0", "..", "a/b", "a-b", ""])
    assert list(names.values()) == ["1.0", "1.0-2", "unnamed", "a-b", "a-b-2", "unnamed-2"]


# Contrast, computed as WCAG 2 defines it


def colours(scheme):
    css = (HERE / "style.css").read_text("utf-8")
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


def test_every_page_says_how_to_run_it_again_and_where_the_project_is(table, tmp_path):
    index = site.build(table, tmp_path, SiteOptions(repository="https://example.org/me/matrix", workers=1))
    said = {
        "index.html": "git clone https://example.org/me/matrix && cd matrix && uvx --with tox-uv tox",
        "drivers/aiomysql.html": "tox -e mysql-aiomysql,mariadb-aiomysql",
        "cells/mysql-aiomysql/index.html": "tox -e mysql-aiomysql",
        "cells/mysql-aiomysql/NST-3.html": "tox -e mysql-aiomysql -- -k NST-3",
        "scenarios/NST-3.html": "-- -k NST-3",
    }
    for path, page in pages(index.parent).items():
        text = " ".join(" ".join(page.text).split())
        assert "Run it again:" in text, path
        assert "https://example.org/me/matrix" in {link["href"] for link in page.all("a")}, path
        name = path.relative_to(index.parent).as_posix()
        assert said.get(name, "") in text, name


def test_a_scenario_and_its_evidence_lead_to_what_people_write_and_what_to_write_instead(built):
    for path in ("scenarios/NST-3.html", "cells/mysql-aiomysql/NST-3.html", "scenarios/FIX-4.html"):
        links = {link["href"].lstrip("./") for link in Page(built / path).all("a")}
        assert "patterns.html#gather-transactions" in links, path
    text = " ".join(" ".join(Page(built / "scenarios" / "NST-3.html").text).split())
    assert "async def gather_transactions()" in text


def test_a_pattern_names_the_messages_that_it_is_seen_by(built):
    links = {link["href"] for link in Page(built / "patterns.html").all("a")}
    keys = {link["href"] for link in Page(built / "errors.html").all("a") if link["href"].startswith("#")}
    named = {link.removeprefix("errors.html") for link in links if link.startswith("errors.html#")}
    assert named and named <= keys


def test_every_table_stands_in_a_box_of_its_own_that_scrolls(built):
    for path in built.rglob("*.html"):
        depth: list[bool] = []
        for tag in re.finditer(r"<div\b[^>]*>|</div>|<table\b", path.read_text("utf-8")):
            if tag[0] == "</div>":
                depth.pop()
            elif tag[0] == "<table":
                assert any(depth), (path.name, tag.start())
            else:
                depth.append('class="scroll' in tag[0])


@pytest.mark.parametrize(
    ("link", "project"),
    [
        ("https://github.com/MagicStack/asyncpg/issues/784", ""),
        ("https://github.com/tortoise/tortoise-orm/issues/1152", ""),
        ("https://www.psycopg.org/psycopg3/docs/", ""),
        ("https://github.com/pgjdbc/pgjdbc/pull/1729", "pgjdbc"),
        ("https://github.com/MagicStack/asyncpg-stubs/issues/1", "asyncpg-stubs"),
    ],
)
def test_a_link_to_another_projects_thread_says_whose_it_is(tmp_path, link, project):
    entry = '[[expect]]\nscenarios = ["NST-3"]\nverdict = "lies"\nreason = "Seen."\ncategory = "orm"\n'
    (tmp_path / "asyncpg.toml").write_text(f'{entry}link = "{link}"\n')
    write_cell(tmp_path / "results", header("postgres-asyncpg", ["NST-3"]), [scenario("NST-3", "lies", "loud")])
    table = view.build(read_folder(tmp_path / "results"), tmp_path)
    page = (site.build(table, tmp_path).parent / "cells/postgres-asyncpg/NST-3.html").read_text("utf-8")
    assert other_project(link, "asyncpg") == project
    assert (f'The same in {project}: <a href="{link}"' in page) is bool(project)
    assert f'<a href="{link}"' in page

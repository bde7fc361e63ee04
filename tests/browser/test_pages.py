"""The pages in a browser: accessible, usable without script, on a phone, by keyboard; filters, search, permalinks."""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest
from axe_playwright_python.sync_playwright import Axe

from matrix.results import keeps

KINDS = {
    "home": "index.html",
    "home of a release": "tortoise/0.25.4.html",
    "patterns": "patterns.html",
    "scenario": "scenarios/NST-4.html",
    "remedy": "scenarios/FIX-1a.html",
    "evidence": "cells/mysql-asyncmy-tortoise0.25/NST-4.html",
    "evidence of a crowd": "cells/mysql-asyncmy-tortoise0.25/CON-1.html",
    "evidence with a long word": "cells/mysql-asyncmy-tortoise0.25/TXN-5.html",
    "evidence of a remedy": "cells/mysql-aiomysql/FIX-1a.html",
    "evidence of nothing": "cells/mysql-aiomysql/CTX-7.html",
    "cell": "cells/mysql-asyncmy/index.html",
    "cells": "cells/index.html",
    "driver": "drivers/asyncmy.html",
    "methods": "methods.html",
    "changes": "changes.html",
    "older run": "runs/2026-11-23/index.html",
    "changes since it": "runs/2026-11-23/changes.html",
}
every_kind = pytest.mark.parametrize("path", KINDS.values(), ids=KINDS.keys())


@every_kind
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(open_page, path, scheme):
    page = open_page(path, color_scheme=scheme)
    page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true })")
    found = Axe().run(page, options={"preload": False}).response["violations"]
    assert [(each["id"], [node["html"][:120] for node in each["nodes"][:3]]) for each in found] == []


@every_kind
@pytest.mark.parametrize("width", [320, 390, 640, 1280])  # 640: 1280 at 200 % zoom; 320: at 400 %
def test_no_page_is_wider_than_the_window(open_page, path, width):
    page = open_page(path, viewport={"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@every_kind
@pytest.mark.parametrize("width", [320, 1280])
def test_no_text_leaves_its_box(open_page, path, width):
    """Only what can be scrolled sideways may hold more than fits."""
    page = open_page(path, viewport={"width": width, "height": 800})
    script = """[...document.querySelectorAll('main p, main li, main dd, main blockquote, .verdict, header.site *')]
        .filter((each) => each.offsetParent && !each.closest('.scroll, table, .hidden')
            && each.scrollWidth > each.clientWidth + 1 && getComputedStyle(each).display !== 'inline')
        .map((each) => each.outerHTML.slice(0, 120))"""
    assert page.evaluate(script) == []


@every_kind
def test_words_are_told_apart_in_forced_colours(open_page, path):
    page = open_page(path, forced_colors="active")
    script = """[...document.querySelectorAll('.w:not(.w-na):not(.w-not-run)')].filter((word) => word.offsetParent)
        .filter((word) => getComputedStyle(word).borderTopWidth === '0px'
            || getComputedStyle(word, '::before').content.length < 3).length"""
    assert page.evaluate(script) == 0


def test_hostile_texts_do_nothing(open_page, hostile_site):
    for path in sorted(hostile_site.rglob("*.html")):
        page = open_page(str(path.relative_to(hostile_site)), root=hostile_site)
        assert page.locator("script").count() == 1
        page.close()


@pytest.mark.skipif(shutil.which("npx") is None, reason="html-validate needs npm (apt-get install npm)")
def test_html_is_valid(built, tmp_path):
    rules = {"extends": ["html-validate:standard"], "root": True, "rules": {"long-title": "off"}}
    (tmp_path / ".htmlvalidate.json").write_text(json.dumps(rules))
    for path in KINDS.values():
        (tmp_path / path.replace("/", "-")).write_bytes((built / path).read_bytes())
    files = sorted(str(each) for each in tmp_path.glob("*.html"))
    command = ["npx", "--yes", "html-validate@10", "--formatter", "text", *files]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


# Without the script


def test_without_script_everything_is_there_but_the_filter(open_page):
    page = open_page(java_script_enabled=False)
    assert not page.locator("#filter").is_visible()
    assert page.locator("#NST-4").is_visible()
    assert page.locator("nav[aria-labelledby=releases] a").count() == 2
    page.locator("#NST-4 a.w").first.click()
    assert page.locator(".verdict").is_visible()


def test_is_my_code_safe_without_a_click(open_page):
    """The verdict of each pattern and what to write instead are on the first screen of a desktop."""
    page = open_page("patterns.html", java_script_enabled=False)
    table = page.locator("table.short")
    assert table.locator("tbody tr").count() == len(keeps.patterns()["pattern"])
    assert table.bounding_box()["y"] < 300
    row = table.locator("tr", has_text="open a transaction inside a transaction")
    assert row.locator("a.w").count() > 3
    row.locator("th > a").click()
    assert page.url.endswith("#gather-transactions")


# Filters and search


def query(page):
    return page.evaluate("new URLSearchParams(location.search).get('q') ?? ''")


def shown_rows(page):
    return page.locator("table.full tr[data-f]:visible").evaluate_all("rows => rows.map((row) => row.id)")


def shown_heads(page):
    return page.locator("table.full thead th[data-d]:visible").evaluate_all("all => all.map((head) => head.dataset.d)")


def shown_words(page):
    return set(page.locator("table.full tr[data-f] td:visible .w:visible").all_inner_texts())


def test_search_filters_columns_rows_and_words(open_page):
    page = open_page()
    everything = shown_rows(page)
    page.fill("input[name=q]", "verdict:lies driver:asyncmy")
    assert set(shown_heads(page)) == {"asyncmy"}
    assert 0 < len(shown_rows(page)) < len(everything)
    assert "lies" in shown_words(page)
    assert page.locator("output").inner_text().endswith("rows.")
    for row in page.locator("table.full tr[data-f]:visible").all():
        words = row.locator("td:visible .w").all_inner_texts()
        assert "lies" in words


def test_the_state_is_in_the_address(open_page):
    page = open_page()
    page.fill("input[name=q]", "family:nested driver:asyncmy,psycopg")
    assert query(page) == "family:nested driver:asyncmy,psycopg"
    before = shown_rows(page), shown_heads(page)
    page.reload()
    assert (shown_rows(page), shown_heads(page)) == before
    assert page.input_value("input[name=q]") == "family:nested driver:asyncmy,psycopg"
    assert set(before[0]) == {"NST-3", "NST-4"}
    assert set(before[1]) == {"asyncmy", "psycopg"}
    page.click("button[type=reset]")
    assert query(page) == ""
    assert len(shown_rows(page)) > len(before[0])


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("driver", "asyncpg", "driver:asyncpg"),
        ("server", "mariadb", "server:mariadb"),
        ("family", "context", "family:context"),
        ("verdict", "n/a", "verdict:n/a"),
        ("verdict", "not run", 'verdict:"not run"'),
    ],
)
def test_a_list_writes_into_the_search(open_page, key, value, text):
    page = open_page()
    page.select_option(f"select[data-key={key}]", value)
    assert page.input_value("input[name=q]") == query(page) == text
    assert shown_rows(page)
    page.reload()
    assert page.input_value(f"select[data-key={key}]") == value
    page.select_option(f"select[data-key={key}]", "")
    assert query(page) == ""


def test_what_changed_with_tortoise(open_page):
    page = open_page()
    page.fill("input[name=q]", "changed:tortoise")
    rows = shown_rows(page)
    assert "NST-4" in rows
    assert "TXN-2" not in rows
    assert page.locator("#NST-4 .n", has_text="tortoise <= 0.25.4").count() >= 1
    page.fill("input[name=q]", "changed:server")
    assert shown_rows(page) == []
    assert page.locator("output").inner_text() == "0 of 30 rows." or page.locator("output").inner_text().startswith(
        "0 of"
    )


def test_plain_words_and_what_is_not_understood(open_page):
    page = open_page()
    page.fill("input[name=q]", "nst-4")
    assert shown_rows(page) == ["NST-4"]
    page.fill("input[name=q]", "colour:red")
    assert "Not understood: colour:red" in page.locator("output").inner_text()


def test_a_release_of_tortoise_is_a_page_of_its_own(open_page):
    page = open_page()
    page.fill("input[name=q]", "family:nested")
    page.select_option("select[data-key=tortoise]", "0.25.4")
    page.wait_for_url("**/tortoise/0.25.4.html*")
    assert query(page) == "family:nested"
    assert set(shown_heads(page)) == {"asyncmy", "asyncpg"}
    assert page.input_value("select[data-key=tortoise]") == "0.25.4"
    page.select_option("select[data-key=tortoise]", "")
    page.wait_for_url("**/index.html*")
    assert query(page) == "family:nested"
    page.fill("input[name=q]", "tortoise:0.25.4 nst")
    page.wait_for_url("**/tortoise/0.25.4.html*")
    assert query(page) == "nst"
    page = open_page("index.html?q=tortoise:7.7")
    assert "Not understood: tortoise:7.7" in page.locator("output").inner_text()


# Permalinks and keyboard


def test_a_link_to_a_row_of_the_table(open_page):
    page = open_page("index.html#NST-4")
    assert page.evaluate("document.querySelector(':target').id") == "NST-4"
    page.locator("#NST-4 th a").click()
    assert page.url.endswith("scenarios/NST-4.html")


def test_a_link_to_a_run_says_when_a_newer_one_took_its_place(open_page):
    path = "cells/mysql-aiomysql/NST-4.html"
    page = open_page(path)
    link = page.locator("a[href^='#run-']").get_attribute("href")
    page.locator("a[href^='#run-']").click()
    assert page.evaluate("document.querySelector(':target').className").startswith("verdict")
    assert page.locator("[role=status]").count() == 0
    older = open_page(f"{path}#run-20200101T000000Z")
    text = older.locator("[role=status]").inner_text()
    assert "run-20200101T000000Z" in text
    assert link.lstrip("#") in text


def test_a_page_that_is_not_there_any_more_leads_to_its_cell(browser, built):
    """As it is published: what is not there is answered with 404.html."""

    def answer(route):
        file = built / route.request.url.partition("https://example.org/")[2].partition("#")[0]
        there = file.is_file()
        route.fulfill(path=file if there else built / "404.html", status=200 if there else 404)

    page = browser.new_context().new_page()
    page.route("https://example.org/**", answer)
    for asked, led in (("NST-99.html#run-1", "index.html#run-1"), ("NST-99.html", "index.html#NST-99")):
        page.goto(f"https://example.org/cells/mysql-aiomysql/{asked}")
        page.wait_for_url(f"https://example.org/cells/mysql-aiomysql/{led}")
    page.goto("https://example.org/nowhere.html")
    assert page.locator("h1").inner_text() == "This page is not here"
    assert page.evaluate("getComputedStyle(document.querySelector('.skip')).position") == "absolute"  # has its style
    page.context.close()


def test_by_keyboard(open_page):
    page = open_page()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    assert page.locator("a.skip").bounding_box()["width"] > 40
    page.keyboard.press("Enter")
    page.locator("input[name=q]").focus()
    page.keyboard.type("verdict:lies")
    page.keyboard.press("Enter")
    assert query(page) == "verdict:lies"
    for _ in range(6):
        page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.type") == "submit"
    outline = "getComputedStyle(document.activeElement).outlineStyle"
    assert page.evaluate(outline) != "none"


def test_a_table_that_is_too_wide_scrolls_by_keyboard(open_page):
    page = open_page(viewport={"width": 390, "height": 800})
    region = page.locator("[aria-labelledby=all][tabindex]")
    region.focus()
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    page.wait_for_function("document.querySelector('[aria-labelledby=all][tabindex]').scrollLeft > 0")

"""A site with several releases, and Debian's Chromium to look at it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Error, sync_playwright

from matrix.report import pages, runs, site, view
from matrix.results.read import read_folder
from tests.unit.report import hostile
from tests.unit.results.samples import event, evidence, header, remedy, scenario, write_cell, write_folder

LONG = {"property": "loudness", "sentence": f"failed with asyncpg.exceptions.{'Connection' * 6}Error: so it is"}
NAMES = ("chromium", "chromium-browser", "google-chrome")


def chromium() -> str:
    """The program, by MATRIX_CHROMIUM or from the PATH. Ends the session when there is none."""
    found = os.environ.get("MATRIX_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.exit(
            "no Chromium here: install one (apt-get install chromium), or name the program in MATRIX_CHROMIUM", 2
        )
    return found


@pytest.fixture(scope="session")
def browser() -> Browser:
    program = chromium()
    with sync_playwright() as playwright:
        try:
            # Without a sandbox, because tests run as root in containers; all pages are our own.
            started = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        except Error as problem:
            pytest.exit(f"{program} does not start: {problem.message.splitlines()[0]}", 2)
        yield started
        started.close()


@pytest.fixture(scope="session")
def built(tmp_path_factory) -> Path:
    """The root of a site with every kind of page: ten cells, two releases of Tortoise, older results."""
    base = tmp_path_factory.mktemp("browser")
    folder = write_folder(base / "results")
    crowd = [event(n, f"task {n % 9}", "invoke", n, "read", "read n-1") for n in range(1, 30)]
    for cell, word in (("mysql-asyncmy", "safe"), ("postgres-asyncpg", "refuses")):
        lines = [scenario("NST-4", word), scenario("CON-1", "lies", evidence=evidence(history=crowd))]
        lines += [
            scenario("TXN-5", "hangs", proof="idle", violations=[LONG], reason="a reason"),
            remedy("FIX-2b", "holds"),
        ]
        head = header(cell, [line["scenario"] for line in lines], axes={"tortoise": "0.25.4"})
        head["cell"] = f"{cell}-tortoise0.25"
        write_cell(folder, head, lines)
    write_cell(folder, header("mysql-asyncmy", started="2026-11-23T19:00:00Z"), [], finish=False)
    older = write_folder(base / "older")
    write_cell(older, header(planned=["NST-4"]), [scenario("NST-4", "safe")])
    states = read_folder(folder)
    table = view.build(states, base, ["a: a reason why it is not as expected"])
    options = pages.SiteOptions(runs.runs(table, [read_folder(older)], base), "https://example.org/", workers=1)
    return site.build(table, base / "build", options).parent


@pytest.fixture(scope="session")
def hostile_site(tmp_path_factory) -> Path:
    base = tmp_path_factory.mktemp("hostile")
    table = view.build(read_folder(hostile.write(base / "results")), base)
    return site.build(table, base / "build", pages.SiteOptions(workers=1)).parent


@pytest.fixture
def open_page(browser, built):
    """Opens a page of the site; at the end nothing may have been logged, failed or asked of another host."""
    contexts, wrong = [], []

    def open_page(path="index.html", root=built, **settings):
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **settings})
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: wrong.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: wrong.append(f"error: {error}"))
        page.on("dialog", lambda dialog: wrong.append(f"dialog: {dialog.message}"))
        page.on("request", lambda request: request.url.startswith(("file:", "data:")) or wrong.append(request.url))
        page.on("requestfailed", lambda request: wrong.append(f"failed: {request.url}"))
        page.goto(f"file://{root}/{path}")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert wrong == []

"""The pages of the suite itself: linked from home, whole, and shy of foreign text."""

from __future__ import annotations

import dataclasses

from matrix.report import site, suite
from tests.unit.report import hostile
from tests.unit.report.test_site import Page, pages
from tests.unit.results import samples


def text(page: Page) -> str:
    return " ".join(" ".join(page.text).split())


def test_home_says_what_is_known_of_the_suite_and_leads_there(built):
    home = Page(built / "index.html")
    assert "1 seeded faults, 1 caught" in text(home)
    assert "1 of 20 repeats of 1 cells disagreed; 1 of 20 of odbc-asyncodbc, whose threads race" in text(home)
    assert {"faults.html", "stability.html"} <= {link["href"] for link in home.all("a")}


def test_the_page_of_faults_says_who_caught_what(built):
    page = text(Page(built / "faults.html"))
    assert "AnswersInWrongOrder Gives each answer to the task that asked last. lies routing CON-1" in page
    assert "CAN-1 poisons" in page
    assert "Queueing Right: it waits. safe 2" in page


def test_the_page_of_stability_says_how_often_and_what(built):
    page = text(Page(built / "stability.html"))
    assert "mysql-aiomysql each time 1/20 (0.9 to 23.6 %) 1/10 83 1659 of 1660 0/2 (0.0 to 65.8 %)" in page
    assert "odbc-asyncodbc seen twice 1/20 (0.9 to 23.6 %) 1/10 83 1659 of 1660 not repeated" in page
    assert "TXN-5 A.1.A hangs: liveness 1 × safe (1 with load) every operation completed as told" in page


def test_a_fault_that_nobody_caught_is_said_loudly(table, tmp_path):
    missed = samples.faults(samples.fault(), samples.fault("Other", caught_by=[], gap="nobody asks"))
    assert suite.facts({"faults": missed})[0].text == "2 seeded faults, 1 caught"
    site.build(dataclasses.replace(table, documents={"faults": missed}), tmp_path)
    assert "nothing: nobody asks" in text(Page(tmp_path / "site" / "faults.html"))


def test_the_page_of_finds_names_program_seed_and_the_scenario_that_stands_for_each(built):
    page = Page(built / "finds.html")
    told = text(page)
    assert "2 finds of generated programs that no scenario had shown; 1 for which none stands yet" in told
    assert told.index("Scenario: none yet") < told.index("Scenario: NST-3")  # what is to be done comes first
    assert "13 of 1000 programs of seed 20261129" in told
    assert "scenarios/NST-3.html" in {link["href"] for link in page.all("a")}


def test_hostile_documents_stay_texts(table, tmp_path):
    evil = hostile.TEXT
    fault = samples.fault(evil, sentence=evil, caught_by=[], gap=evil, errors=[evil])
    fault["catches"][1]["reason"] = evil
    stable = samples.stability(platform=evil, commit=evil)
    stable["cells"][0]["disagreeing"][0] |= {"schedule": evil, "expected": evil, "sentence": evil, "seen": {evil: 1}}
    find = {**samples.finds()["finds"][1], "program": evil, "reason": evil, "schedule": evil, "scenarios": [evil]}
    folder = {"faults": samples.faults(fault, commit=evil), "stability": stable, "finds": samples.finds(find)}
    site.build(dataclasses.replace(table, documents=folder), tmp_path)
    found = pages(tmp_path / "site")
    for kind in folder:
        page = found[tmp_path / "site" / f"{kind}.html"]
        assert [script["src"] for script in page.all("script", "img")] == ["matrix.js"]
        assert "<script>alert(1)</script>" in "".join(page.text)

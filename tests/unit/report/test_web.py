"""Requests of FastAPI: what is said of one that was measured, and how the page shows them. (tests/web measures.)"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import tomllib

from matrix.report import suite, web
from matrix.results import documents
from matrix.words import VERDICTS
from tests.unit.report.test_site import Page
from tests.unit.results import samples
from tests.web import forks, places
from tests.web.judge import Request, Write, judge, seen

ROOT = Path(__file__).parents[3]


CANCELLED = {"cancelled": True}
LATE = {"error": "asyncpg.exceptions._base.InterfaceError: connection has been released back to the pool"}
INTERNAL = {"error": "RuntimeError: readexactly() called while another coroutine is already waiting"}
ROLLED_BACK = "rolled back: ConnectionError: the mail server is down"


WELL = {"answer": 200, "block": "committed", "stored": ["one"]}
TOKEN = "ValueError: <Token> was created in a different Context"
OWN = "ValueError: what was saved does not add up"


@pytest.mark.parametrize(
    ("made", "writes", "verdict", "words"),
    [
        (WELL, {"one": {}}, "safe", "answered 200, and 'one' is stored"),
        ({"answer": 409, "block": "rolled back: HTTPException"}, {"one": {}}, "safe", "answered 409, and nothing"),
        ({"answer": 200, "block": ROLLED_BACK}, {"one": {}}, "lies", "answered 200, and 'one' is not stored"),
        ({**WELL, "answer": 409}, {"one": {}}, "lies", "answered 409, and 'one' is stored"),
        ({**WELL, "stored": []}, {"one": {}}, "lies", "'one' is not stored"),
        # Who has gone was answered nothing that counts: what the block's end gave does.
        ({"left": True, "answer": 200, "block": "rolled back: CancelledError"}, {"one": CANCELLED}, "safe", "had gone"),
        ({"left": True, "block": "committed"}, {"one": {}}, "lies", "was committed, and 'one' is not"),
        ({"left": True, "block": ROLLED_BACK, "stored": ["one"]}, {"one": {}}, "lies", "back, and 'one' is stored"),
        (WELL, {"one": {}, "audit": LATE}, "refuses", "released back"),
        (WELL, {"one": {}, "audit": INTERNAL}, "breaks", "internal error"),
        ({"answer": 200, "raised": [TOKEN]}, {}, "breaks", "Token"),
        ({"answer": 500, "raised": [OWN]}, {"one": {}}, "safe", "answered 500"),
    ],
)
def test_a_word_compares_what_was_answered_with_what_is_stored(made, writes, verdict, words):
    request = Request(**made)
    request.writes = [Write(text, inside=True, **how) for text, how in writes.items()]
    found = judge(request)
    assert (found["verdict"], words in found["reason"]) == (verdict, True), found
    assert found["verdict"] in VERDICTS


def test_what_is_safe_and_may_surprise_is_said_beside_it():
    early = Request(answer=200, block="committed", answered_before_the_end=True, stored=["one", "audit"])
    early.writes = [Write("one", inside=True), Write("audit")]
    assert judge(early)["notes"] == [
        "the answer was sent before the transaction ended",
        "'audit' is written outside of the transaction",
    ]
    half = Request(left=True, block="committed", stored=["one"], writes=[Write("one", inside=True)])
    assert judge(half)["notes"] == ["the stream was cancelled half-way, and what it had written was committed"]


def test_drivers_with_the_same_word_stand_together_the_worst_first():
    found = web.requests(samples.web())
    assert found.releases == ("0.165.0", "0.115.14")
    (line,) = [line for line in found.lines if line.name == "detached"]
    newest, older = line.places
    assert [(shown.word, shown.drivers) for shown in newest] == [("lies", "aiosqlite"), ("refuses", "asyncpg")]
    assert newest[0].sentence == "The client was answered 200, and 'audit' is not stored; sent before the end."
    assert [(shown.word, shown.drivers) for shown in older] == [("safe", "all drivers")]
    assert "Depends(transaction)" in line.code and "async def transaction" in line.code


def test_without_a_document_nothing_is_shown():
    assert web.requests(None) is None


def test_every_request_has_a_title_and_code_and_the_other_way_round():
    code = set(web.functions(ROOT / "docs" / "patterns" / "web.py")) - {"something_slow", "transaction"}
    assert {line.name for line in web.requests(samples.web()).lines} == code


def test_the_page_shows_them_with_their_code(built):
    page = Page(built / "patterns.html")
    text = " ".join(" ".join(page.text).split())
    assert "A request of FastAPI holds the transaction" in text
    assert "FastAPI 0.165.0, aiosqlite: lies The client was answered 200, and 'audit' is not stored" in text
    assert documents.read(built / "web.json", "web") == samples.web()
    assert not (built / "web.html").exists()
    (fact,) = suite.facts({"web": samples.web()})
    assert fact.page == "patterns.html#fastapi"
    assert "requests of FastAPI 0.165.0 and 0.115.14, 1 not safe" in fact.text
    assert "A process forks after the first use: 1 programs, 1 not safe" in fact.text


@pytest.mark.parametrize(
    ("told", "stored", "verdict", "words"),
    [
        ("", True, "safe", "Served"),
        ("", False, "lies", "not stored"),
        ("RuntimeError: No TortoiseContext is currently active", False, "breaks", "No TortoiseContext"),
        ("tortoise.exceptions.DBConnectionError: gone", False, "refuses", "gone"),
        ("tortoise.exceptions.DBConnectionError: gone", True, "lies", "gone; its row is stored"),
        ("tests.web.programs.Wrong: asked for child and was given []", False, "lies", "was given"),
        (None, False, "hangs", "Nothing was told; its row is not stored"),
    ],
)
def test_a_word_compares_what_who_wrote_was_told_with_what_is_stored(told, stored, verdict, words):
    found = seen(told, stored)
    assert (found["verdict"], words in found["reason"]) == (verdict, True), found
    assert found["verdict"] in VERDICTS


def test_programs_stand_by_kind_and_drivers_with_the_same_word_together():
    lifespan, fork = web.programs(samples.web())
    (line,) = lifespan.lines
    assert (line.title, line.packages) == ("Quart, register_tortoise()", "quart 0.23.1")
    assert [[(shown.word, shown.drivers) for shown in place] for place in line.places] == [
        [("breaks", "all drivers")],
        [("safe", "all drivers")],
    ]
    assert fork.places[1] == "Child, first"
    (line,) = fork.lines
    assert [len(place) for place in line.places] == [0, 2, 0, 1, 0]
    assert line.places[3][0].drivers == "asyncpg"  # the other one was asked no more
    assert [(shown.word, shown.drivers) for shown in line.places[1]] == [("hangs", "aiosqlite"), ("safe", "asyncpg")]


def test_what_is_measured_again_takes_the_place_of_what_was_and_the_rest_stays(tmp_path):
    file, (first, second, third, fourth) = tmp_path / "web.json", samples.web()["programs"]
    places.keep(file, "programs", ("name", "driver"), [first, third], 1.0)
    places.keep(file, "programs", ("name", "driver"), [{**first, "seen": []}, second], 2.0)
    assert documents.read(file, "web")["programs"] == [third, {**first, "seen": []}, second]
    documents.write(file, samples.web(programs=[fourth]))
    places.keep(file, "programs", ("name", "driver"), [first], 3.0)
    kept = documents.read(file, "web")
    assert (kept["programs"], kept["runs"]) == ([fourth, first], samples.web()["runs"])


def test_every_program_that_forks_has_a_title_and_so_has_everybody_in_it():
    described = tomllib.loads((ROOT / "docs" / "patterns" / "programs.toml").read_text("utf-8"))["fork"]
    assert set(described["programs"]) == set(forks.ALL)
    told = (forks.BEFORE, forks.CHILD, forks.PARENT, forks.AGAIN, forks.AFTER)
    assert tuple(described["places"]) == told


@pytest.mark.asyncio
async def test_who_is_told_nothing_is_no_longer_asked(monkeypatch):
    monkeypatch.setattr(forks.programs, "PATIENCE", 0.01)
    side, asked = forks.Side(0, 0), []

    async def answers(text):
        asked.append(text)
        if text == "fails":
            raise ValueError("not this one")
        if text == "waits":
            await asyncio.Event().wait()

    monkeypatch.setattr(forks, "write_and_read", answers)
    for place in ("served", "fails", "waits", "later"):
        await side.ask(place)
    assert side.told == {"served": "", "fails": "ValueError: not this one", "waits": None}
    assert asked == ["served", "fails", "waits"]


def test_without_programs_nothing_is_shown_of_them_and_without_requests_nothing_of_those():
    assert web.programs(None) == web.programs(samples.web(programs=[])) == []
    assert web.requests(samples.web(runs=[])) is None
    assert suite.facts({"web": samples.web(runs=[])})[0].text.startswith("Tortoise is initialised")


def test_the_page_shows_programs_and_what_was_told(built):
    text = " ".join(" ".join(Page(built / "patterns.html").text).split())
    assert "A process forks after the first use" in text
    assert "Quart, register_tortoise() . A request, all drivers: breaks RuntimeError: No context." in text.replace(
        "().", "() ."
    )

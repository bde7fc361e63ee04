"""Requests of FastAPI: what is said of one that was measured, and how the page shows them. (tests/web measures.)"""

from __future__ import annotations

from pathlib import Path

import pytest

from matrix.report import suite, web
from matrix.results import documents
from matrix.words import VERDICTS
from tests.unit.report.test_site import Page
from tests.unit.results import samples
from tests.web.judge import Request, Write, judge

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
    found = web.build(samples.web())
    assert found.releases == ("0.165.0", "0.115.14")
    (line,) = [line for line in found.lines if line.name == "detached"]
    newest, older = line.places
    assert [(shown.word, shown.drivers) for shown in newest] == [("lies", "aiosqlite"), ("refuses", "asyncpg")]
    assert newest[0].sentence == "The client was answered 200, and 'audit' is not stored; sent before the end."
    assert [(shown.word, shown.drivers) for shown in older] == [("safe", "all drivers")]
    assert "Depends(transaction)" in line.code and "async def transaction" in line.code


def test_without_a_document_nothing_is_shown():
    assert web.build(None) is None


def test_every_request_has_a_title_and_code_and_the_other_way_round():
    code = set(web.functions(ROOT / "docs" / "patterns" / "web.py")) - {"something_slow", "transaction"}
    assert {line.name for line in web.build(samples.web()).lines} == code


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

"""The sequence diagram: what it shows, what it leaves out, and that nothing from outside breaks out of it."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from matrix.report import pages
from matrix.report.diagram import ROWS, TASKS, diagram
from tests.unit.report.hostile import TEXT
from tests.unit.results.samples import event, evidence, frame, scenario

SVG = "{http://www.w3.org/2000/svg}"


def drawn(line) -> ElementTree.Element:
    return ElementTree.fromstring(diagram(line))


def texts(svg: ElementTree.Element) -> list[str]:
    return [element.text or "" for element in svg.iter(f"{SVG}text")]


def heads(svg: ElementTree.Element) -> list[str]:
    groups = [group for group in svg.iter(f"{SVG}g") if group.get("class") == "sq-head"]
    return [group.find(f"{SVG}text").text for group in groups if group.find(f"{SVG}rect") is not None]


def numbered(frames, history, steps=()):
    """Evidence in the numbering of a run: history and frames share it, steps say when they were taken."""
    return evidence(history=history, frames=frames, steps=list(steps), hang=None)


def delivery(at, *kinds, worker=False, wire=1):
    """The step at which these frames, held before, are let through."""
    fact = {"kind": "deliver", "channel": f"{'worker' if worker else 'connection'} {wire}", "wire": wire}
    fact |= {"worker": worker, "ends": False, "pieces": [{"kind": kind, "text": ""} for kind in kinds]}
    return {"n": 1, "at": at, "action": str(wire), "text": "S1", "fact": fact}


def overlap():
    """Two tasks whose questions overlap on one connection; the second is given the first's answer."""
    history = [
        event(1, "first", "invoke", 1, "read", "read n-1"),
        event(6, "second", "invoke", 2, "read", "read n-2"),
        event(14, "second", "ok", 2, "read", "read n-2", result="n-1", fact={"kind": "read", "row": "n-2"}),
        event(15, "first", "end", None, "", "ends"),
    ]
    frames = [
        frame("->", "COM_QUERY", "SELECT 'n-1'", n=2),
        *(
            frame("<-", kind, "n-1" if kind == "Row" else "", n=n, held=True)
            for n, kind in enumerate(("ResultSet", "Column", "Row"), 3)
        ),
        frame("->", "COM_QUERY", "SELECT 'n-2'", n=7, overlap=True),
        frame("<-", "OK", "", n=8, held=True),
    ]
    steps = [delivery(9, "ResultSet", "Row")]
    return scenario("CON-1", "lies", evidence=numbered(frames, history, steps))


def test_it_has_a_name_a_description_and_a_role():
    svg = drawn(overlap())
    assert svg.get("role") == "img"
    assert svg[0].tag == f"{SVG}title"
    assert svg[0].text == "Sequence diagram of CON-1: lies"
    assert svg[1].tag == f"{SVG}desc"
    assert "OVERLAP" in svg[1].text
    assert "first" in svg[1].text


def test_columns_are_tasks_connections_and_the_database_above_and_below():
    assert heads(drawn(overlap())) == ["first", "second", "connection 1", "database"] * 2


def test_frames_of_one_answer_are_one_arrow_that_says_how_many():
    said = texts(drawn(overlap()))
    assert "held: answer (3 frames): n-1" in said
    assert not any("Column" in text for text in said)


def test_the_overlap_is_marked_in_words_and_by_shape():
    svg = drawn(overlap())
    marked = [group for group in svg.iter(f"{SVG}g") if group.get("class") == "sq-overlap"]
    assert len(marked) == 1
    assert marked[0].find(f"{SVG}rect") is not None
    assert "OVERLAP" in marked[0].find(f"{SVG}text").text


def test_what_a_task_is_told_is_shown_and_another_s_answer_is_marked():
    svg = drawn(overlap())
    bad = [group for group in svg.iter(f"{SVG}g") if "sq-bad" in (group.get("class") or "")]
    assert next(group.find(f"{SVG}text").text for group in bad) == "✖ is given n-1 and had asked for n-2"


def test_a_label_has_a_title_where_it_was_cut_and_only_there():
    long = "a request of which a label has only the beginning, " * 5
    for text, titled in ((long, True), ("SELECT 1", False)):
        frames = [frame("->", "COM_QUERY", text, n=3)]
        svg = drawn(scenario(evidence=numbered(frames, [event(1, "parent", "invoke", 1, "query", "a query")])))
        titles = {each.text for group in svg.iter(f"{SVG}g") for each in group.findall(f"{SVG}title")}
        assert any(text.strip() in each for each in titles) == titled
        assert "a query" not in titles


def test_an_answer_that_was_let_through_at_once_is_not_shown_as_held():
    line = overlap()
    line["evidence"]["steps"] = [delivery(5, "ResultSet", "Row")]
    line["evidence"]["frames"][3]["n"] = 4
    line["evidence"]["frames"][2]["n"] = 4
    said = texts(drawn(line))
    assert "answer (3 frames): n-1" in said
    assert not any(text.startswith("let through") for text in said)


def test_a_delivery_names_the_oldest_held_answer_not_the_newest():
    """What makes CON-1 lie: the second task is given what was held for the first one."""
    assert "let through: answer (3 frames): n-1" in texts(drawn(overlap()))
    assert "held: OK" in texts(drawn(overlap())), "the second answer is still held then"


def test_a_delivery_that_is_not_known_for_certain_keeps_its_own_words():
    line = overlap()
    line["evidence"]["steps"] = [delivery(9, "Something", "Else")]
    assert "let through: Something, Else" in texts(drawn(line))


def test_a_worker_s_requests_that_were_answered_at_once_are_folded():
    history = [event(1, "parent", "invoke", 1, "begin", "begin a transaction")]
    frames, steps = [], []
    for at, request in enumerate(("connector", "execute: PRAGMA a", "close", "execute: BEGIN")):
        n = 2 + 3 * at
        frames += [frame("->", "request", request, n=n), frame("<-", "answer", request, n=n + 1, held=True)]
        steps.append(delivery(n + 2, request, worker=True))
    said = texts(drawn(scenario(evidence=numbered(frames, history, steps))))
    assert "3 requests, each answered: connector … close" in said
    assert "execute: BEGIN" in said
    assert not any(text.startswith(("held", "let through")) for text in said)


def test_final_words_mark_what_contradicts():
    seen = evidence(
        witness={
            "rows": ["w-1"],
            "expected": [],
            "sentences": [
                "child was told that the write failed: row w-1 is stored.",
                "parent was told: row w-2 is not.",
            ],
            "readings": [{"kind": "reading", "row": "w-1", "outcome": "error"}],
        }
    )
    said = texts(drawn(scenario(evidence=seen)))
    assert "≠ child was told that the write failed: row w-1 is stored." in said
    assert "parent was told: row w-2 is not." in said


def test_tasks_that_wait_for_ever_say_so():
    line = scenario(verdict="hangs")
    line["evidence"]["hang"]["waiting"] = [{"task": "child", "where": "pool.py"}]
    assert "∞ child waits for ever" in texts(drawn(line))


def test_a_crowd_shares_a_column_but_for_those_that_the_reason_names():
    history = [event(n, f"reader {n}", "invoke", n, "read", f"read n-{n}") for n in range(1, 33)]
    line = scenario(
        finding={"kind": "wrong_answer", "session": "reader 32", "owner": "reader 1"}, evidence=numbered([], history)
    )
    names = heads(drawn(line))
    assert len(names) // 2 <= TASKS + 1
    assert {"reader 32", "reader 1", "other tasks"} <= set(names)
    assert "reader 3" not in [name for name in names if name == "reader 30"]


def test_a_long_history_is_folded_and_says_so():
    history = [event(n, "parent", "told", None, "", f"line {n}") for n in range(1, 500)]
    history[250] = event(251, "parent", "error", 7, "read", "read n-7", error={"type": "E", "message": "in the middle"})
    line = scenario(evidence=numbered([], history))
    svg = drawn(line)
    said = texts(svg)
    assert any(re.match(r"\d+ rows are left out here", text) for text in said)
    assert "✖ E: in the middle" in said, "what went wrong is kept"
    assert int(svg.get("height")) < (ROWS + 8) * 40
    assert any("line 499" in text for text in said)


def test_of_a_long_run_plain_answers_are_left_out_first():
    history = [event(3 * n, f"task {n % 2}", "invoke", n, "read", f"read n-{n}") for n in range(1, 32)]
    frames = [frame("->", "COM_QUERY", f"SELECT {n}", n=3 * n + 1) for n in range(1, 32)]
    frames += [frame("<-", "OK", "", n=3 * n + 2) for n in range(1, 32)]
    said = texts(drawn(scenario(evidence=numbered(frames, history))))
    assert "31 answers that came at once are left out" in said
    assert "SELECT 15" in said
    assert not any("rows are left out here" in text for text in said)


def test_the_next_user_is_left_out_unless_it_decides():
    history = [
        event(1, "parent", "invoke", 1, "read", "read n-1"),
        event(2, "the next task", "invoke", 2, "read", "read n-2"),
    ]
    frames = [frame("->", "COM_QUERY", "SELECT 'n-2'", n=3)]
    quiet = scenario(finding={"kind": "swallowed", "session": "parent"}, evidence=numbered(frames, history))
    assert "the next task" not in heads(drawn(quiet))
    assert "afterwards: the next task's questions are left out, the history below has them" in texts(drawn(quiet))
    loud = scenario(finding={"kind": "wrong_answer", "session": "the next task"}, evidence=numbered(frames, history))
    assert "the next task" in heads(drawn(loud))


def test_it_is_the_same_every_time():
    assert diagram(overlap()) == diagram(overlap())


def test_two_diagrams_can_stand_on_one_page():
    assert ' id="' not in diagram(overlap()), "ids would be there twice"
    assert "url(" not in diagram(overlap()), "nothing is referred to"


def test_colours_come_from_the_page_or_the_reader():
    rules = [line for line in (pages.HERE / "style.css").read_text("utf-8").splitlines() if ".sq" in line]
    assert any("forced-colors" in rule for rule in rules)
    for text in (diagram(overlap()), *rules):
        assert not re.findall(r"#[0-9a-f]{3,8}\b|rgb\(", text)


@pytest.mark.parametrize(
    "line", [{}, {"evidence": None}, {"evidence": {}}, {"evidence": {"history": "x", "frames": 3}}]
)
def test_without_evidence_there_is_no_drawing(line):
    assert diagram(line) == ""


def test_results_of_an_older_suite_still_draw():
    svg = drawn(scenario())  # the samples' frames have no number, the steps no moment
    assert heads(svg)[:2] == ["parent", "child"]


def test_hostile_texts_stay_text():
    error = {"type": TEXT, "message": TEXT}
    history = [
        event(n, TEXT, kind, 1, TEXT, TEXT, error=error)
        for n, kind in enumerate(("invoke", "error", "told", "note"), 1)
    ]
    history.append(event(9, None, "error", None, TEXT, TEXT))
    seen = evidence(
        history=history,
        frames=[
            frame("->", TEXT, TEXT, overlap=True, n=5, wire=TEXT),
            frame("<-", TEXT, TEXT, held=True, n=6, wire=TEXT),
        ],
        steps=[
            {**delivery(7, TEXT, wire=TEXT), "action": TEXT, "text": TEXT},
            {"at": 8, "fact": {"kind": "deliver", "pieces": [{TEXT: 3}, TEXT, None], "ends": TEXT}},
        ],
        hang={"waiting": [{"task": TEXT, "where": TEXT}], "text": TEXT},
        witness={"rows": [TEXT], "expected": [{TEXT: TEXT}], "sentences": [TEXT, 3, None]},
    )
    svg = drawn(scenario(TEXT, TEXT, title=TEXT, reason=TEXT, evidence=seen))
    allowed = {"svg", "title", "desc", "style", "g", "text", "line", "path", "rect", "circle", "polygon"}
    assert {element.tag.removeprefix(SVG) for element in svg.iter()} <= allowed
    assert all(not name.startswith("on") and "href" not in name for e in svg.iter() for name in e.attrib)
    assert "\x1b" not in diagram(scenario(TEXT, evidence=seen))

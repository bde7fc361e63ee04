"""The text for an upstream issue: complete, and nothing in it breaks out of its place."""

from __future__ import annotations

import re

import pytest

from matrix.report import attachments
from matrix.report.upstream import fenced, issue_text, issue_title
from matrix.results.reproducers import write_index
from tests.unit.report.hostile import TEXT
from tests.unit.results.samples import header, scenario


def outside_of_fences(text: str) -> list[str]:
    """The lines that Markdown reads as prose, by CommonMark's rule for fences."""
    prose, fence = [], ""
    for line in text.splitlines():
        if fence:
            if re.fullmatch(rf" {{0,3}}`{{{len(fence)},}} *", line):
                fence = ""
        elif opened := re.match(r" {0,3}(`{3,})[^`]*$", line):
            fence = opened[1]
        else:
            prose.append(line)
    assert not fence, "a fence is left open"
    return prose


def test_it_says_versions_expected_observed_and_links():
    text = issue_text(scenario(verdict="lies", reason="A got B's row."), header(), None, "driver")
    assert text.startswith("Title: aiomysql 0.3.2: The title of NST-4: A got B's row.\n")
    for part in (
        "- aiomysql: 0.3.2",
        "- Tortoise ORM: 1.1.9",
        "- Python: 3.11.7",
        "- PyMySQL: 1.2.4",
        "- server: mysql 9.7.4",
    ):
        assert part in text
    assert "> A quoted promise." in text
    assert "<https://peps.python.org/pep-0249/>" in text
    assert "**A got B's row.**" in text
    assert "child fails to" in text
    assert "- <https://github.com/tortoise/tortoise-orm/issues/1938>" in text
    assert "The child was told that its block failed, and its row is stored." in text


@pytest.mark.parametrize(
    ("fault", "subject"),
    [
        ("driver", "aiomysql 0.3.2: "),
        ("orm", "Tortoise ORM 1.1.9 with aiomysql 0.3.2: "),
        ("", "Tortoise ORM 1.1.9 with aiomysql 0.3.2: "),
        ("server", "mysql 9.7.4 with aiomysql 0.3.2: "),
    ],
)
def test_its_title_names_whose_it_is(fault, subject):
    assert issue_title(scenario(verdict="lies"), header(), fault).startswith(f"{subject}The title of NST-4")


def test_what_is_so_by_design_is_nobodys_issue():
    line = scenario(verdict="lies")
    assert attachments.upstream_text(line, header(), None, "driver")
    assert attachments.upstream_text(line, header(), None, "by design") == ""


def test_with_a_reproducer_it_holds_the_script_and_without_one_the_program():
    script = "# /// script\nprint('x')\n"
    assert "```python\n# /// script\nprint('x')\n```" in issue_text(scenario(), header(), script, "driver")
    text = issue_text(scenario(), header(), None, "driver")
    assert "async def nst_4(world):" in text
    assert "A the parent asks" in text


def test_links_of_other_projects_stand_apart():
    links = ["https://github.com/aio-libs/aiomysql/issues/1", "https://github.com/MagicStack/asyncpg/issues/2"]
    text = issue_text(scenario(links=links), header(), None, "driver")
    ours, others = text.split("### The same question in other projects")
    assert links[0] in ours
    assert links[1] not in ours
    assert links[1] in others


@pytest.mark.parametrize("inside", ["```", "````\n# Gotcha", "`" * 12, "~~~\n```\n"])
def test_no_text_closes_the_fence(inside):
    block = fenced(f"before\n{inside}\nafter")
    assert outside_of_fences(block) == []


def test_hostile_texts_break_out_of_nothing():
    evil = f"```\n# Owned\n{TEXT}\n```` <details> [x](javascript:alert(1))"
    line = scenario("NST-4", "lies", title=evil, contract=evil, reason=evil)
    line["violations"] = [{"property": evil, "sentence": evil}]
    line["source"] = {"text": evil, "url": "javascript:alert(3)"}
    line["links"] = ["javascript:alert(4)", "https://example.org/> <script>", 7]
    for part in line["evidence"]["history"]:
        part.update(session=evil, text=evil, error={"type": evil, "message": evil})
    line["evidence"] |= {"program": evil, "exceptions": [{"session": evil, "type": evil, "traceback": evil}]}
    line["evidence"]["witness"]["sentences"] = [evil]
    head = header(axes={"driver": evil, "driver_version": evil}, server_string=evil, platform=evil)
    text = issue_text(line, head, evil, "driver")
    prose = outside_of_fences(text)[1:]  # the first line goes where titles go, which are plain text
    assert not any(re.match(r"\s*#+ Owned", each) for each in prose)
    assert not any("<script" in each or "<img" in each for each in prose)
    assert not any(re.search(r"(?<!\\)\]\(", each) for each in prose), "no link is made of foreign text"
    assert not any("javascript:" in each and "<javascript" in each for each in prose)
    assert "\x1b" not in text
    assert "\n" not in issue_title(line, head, "driver")


def test_nobody_is_mentioned_and_no_issue_referred_to():
    """GitHub reads what it has rendered: a backslash does not keep it from that."""
    line = scenario("NST-4", "lies", reason="thanks @maintainer and @org/team, see #1, owner/name#1 and GH-1: a@b")
    prose = "\n".join(outside_of_fences(issue_text(line, header(), None, "driver"))[1:])
    assert "@<!-- -->maintainer and @<!-- -->org/team" in prose
    assert not re.search(r"@\w|#\d|\bGH-\d", prose.replace("\\", ""))


def test_a_line_without_evidence_makes_a_text_too():
    text = issue_text(scenario(evidence=None, source=None, links=None), header(), None, "driver")
    assert "### Observed" in text


def test_no_text_for_others_says_what_this_project_calls_it():
    for verdict in ("lies", "poisons", "breaks"):
        text = issue_text(scenario(verdict=verdict, reason="A got B's row."), header(), None, "driver")
        assert "In one word" not in text
        assert not re.search(rf"\b{verdict}\b", text)


@pytest.mark.parametrize(
    ("index", "words"),
    [
        ({}, "python -m matrix reproduce --cell mysql-aiomysql --scenario NST-4"),
        ({"not_written": [{"why": "no script limits time yet"}]}, "could be written: no script limits time yet."),
        ({"defects": [{"why": "it did not end"}]}, "No script: it did not end."),
        ({"not_written": [{"why": "another's", "scenario": "NST-5"}]}, "python -m matrix reproduce"),
    ],
)
def test_where_there_is_no_script_it_says_why_or_how_to_get_one(tmp_path, index, words):
    own = {"cell": "mysql-aiomysql", "scenario": "NST-4"}
    write_index(tmp_path / "reproducers", {kind: [{**own, **each} for each in found] for kind, found in index.items()})
    line = scenario(verdict="lies")
    absent = attachments.no_script(tmp_path, line, header())
    assert words in absent
    assert absent.split(":")[0] in attachments.upstream_text(line, header(), None, "driver", absent)

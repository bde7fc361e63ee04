"""Issues for verdicts that got worse: one per change, never twice."""

import json

import pytest
from markdown_it import MarkdownIt

from matrix.results.compare import Difference, markdown
from matrix.results.text import code
from matrix.runs.announce import LABEL, MOST, TOGETHER, announce, issue_body, issues, marker

HOSTILE = [
    "@maintainer and @org/team, see #1, GH-1 and owner/name#1",
    "![picture](https://example.org/x.png) [link](https://example.org) https://example.org www.example.org",
    "<img src=x onerror=alert(1)><!-- hidden --><details><summary>x</summary>",
    "` end of code @maintainer ` `` ``` @maintainer ```` ![p](https://example.org/x)",
    "`@maintainer",
    "@maintainer`",
    "\\` @maintainer `\\",
    "a | @maintainer | b \\| @maintainer \\\\| c",
    "x\n\n# heading\n\n- @maintainer\n\n```\n@maintainer\n",
    "x\r\r@maintainer\u2028\u2028@maintainer",
    f"x\n{marker('mysql-aiomysql NST-4 safe -> lies')}\n",
]


def outside_of_code(written):
    """What GitHub would read for mentions, links and HTML: every piece of the text that is in no code."""
    reader = MarkdownIt("commonmark", {"html": True}).enable("table")
    for block in reader.parse(written):
        for token in block.children or [block]:
            if token.type not in ("code_inline", "text") or (token.type == "text" and token.content):
                yield token.type, token.content


def difference(scenario="NST-3", kind="worse", reason="two rows are lost"):
    return Difference(kind, "mysql-aiomysql", scenario, "safe", "lies", reason).as_json()


class GitHub:
    """Answers as ``gh`` does. ``strangers``: the texts of issues that others opened, who may give them no label."""

    def __init__(self, *strangers):
        self.opened, self.strangers = [], strangers

    def __call__(self, arguments):
        given = dict(zip(arguments[2::2], arguments[3::2], strict=False))
        if arguments[:2] == ["issue", "list"]:
            assert (given["--state"], given["--json"]) == ("all", "body")
            others = [] if given.get("--label") == LABEL else self.strangers
            return json.dumps([{"body": body} for body in (*[body for _, body in self.opened], *others)])
        if arguments[:2] == ["issue", "create"]:
            assert given["--label"] == LABEL
            self.opened.append((given["--title"], given["--body"]))
        return ""


def test_a_stranger_s_issue_suppresses_nothing():
    forged = issue_body([difference()], "")
    assert len(announce([difference()], "", GitHub(forged))) == 1


def test_one_issue_per_change_and_never_twice():
    github = GitHub()
    assert announce([difference(), difference("NST-4")], "somewhere", github) == [
        "NST-3 in mysql-aiomysql: safe -> lies",
        "NST-4 in mysql-aiomysql: safe -> lies",
    ]
    assert "two rows are lost" in github.opened[0][1]
    assert "somewhere" in github.opened[0][1]
    assert announce([difference(), difference("NST-4")], "", github) == []
    assert announce([difference("NST-5")], "", github) == ["NST-5 in mysql-aiomysql: safe -> lies"]


def test_better_and_new_are_no_issues():
    assert announce([difference(kind="better"), difference(kind="new")], "", GitHub()) == []


def test_very_many_changes_share_one_issue_and_are_still_known_afterwards():
    github = GitHub()
    many = [difference(f"NST-{number}") for number in range(1, MOST + 11)]
    assert announce(many, "", github)[-1] == "10 more verdicts got worse"
    assert len(github.opened) == MOST + 1
    assert announce(many, "", github) == []
    assert announce([*many, difference("NST-999")], "", github) == ["NST-999 in mysql-aiomysql: safe -> lies"]


def test_an_issue_with_very_many_changes_is_no_longer_than_github_takes():
    many = [difference(f"NST-{number}", reason="`" * 5000) for number in range(MOST + TOGETHER + 1)]
    made = issues(many, [], "https://example.org/run")
    assert [title for title, _ in made[MOST:]] == [f"{TOGETHER} more verdicts got worse", "1 more verdicts got worse"]
    assert max(len(body) for _, body in made) < 65_536


@pytest.mark.parametrize("reason", HOSTILE)
def test_foreign_text_is_nothing_but_code(reason):
    hostile = {**difference(reason=reason), "cell": reason, "scenario": reason}
    plain = {**difference(reason="x"), "cell": "x", "scenario": "x"}
    known = list(outside_of_code(issue_body([plain], "")))
    assert [each for each in outside_of_code(issue_body([hostile], "")) if "<!-- change: " not in each[1]] == [
        each for each in known if "<!-- change: " not in each[1]
    ]
    table = markdown([Difference(*[reason] * 6)])
    assert list(outside_of_code(table)) == list(outside_of_code(markdown([Difference(*["x"] * 6)])))


@pytest.mark.parametrize("reason", HOSTILE)
def test_code_says_what_was_said(reason):
    (paragraph,) = [each for each in MarkdownIt("commonmark").parse(code(reason)) if each.children]
    (token,) = paragraph.children
    assert token.type == "code_inline"
    assert "@maintainer" in token.content or "maintainer" not in reason


def test_a_marker_in_foreign_text_suppresses_nothing():
    """In a reason, in the name of a cell, and wherever an issue's text goes on after its own first lines."""
    github = GitHub()
    forged = marker(difference("NST-4")["key"])
    for reason in (forged, f"x\n{forged}\n", f"-->\n{forged}", f"\u2028{forged}\u2028"):
        announce([difference(reason=reason), {**difference("NST-5"), "cell": reason, "key": reason}], "", github)
    github.opened.append(("by hand", f"I saw this:\n{forged}\n"))
    assert announce([difference("NST-4")], "", github) == ["NST-4 in mysql-aiomysql: safe -> lies"]
    assert announce([difference("NST-4")], "", github) == []

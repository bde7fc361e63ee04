"""Issues for verdicts that got worse: one per change, never twice."""

import json

from matrix.results.compare import Difference
from matrix.runs.announce import MOST, announce


def difference(scenario="NST-3", kind="worse"):
    return Difference(kind, "mysql-aiomysql", scenario, "safe", "lies", "two rows are lost").as_json()


class GitHub:
    """Answers as ``gh`` does."""

    def __init__(self):
        self.opened = []

    def __call__(self, arguments):
        if arguments[:2] == ["issue", "list"]:
            return json.dumps([{"body": body} for _, body in self.opened])
        if arguments[:2] == ["issue", "create"]:
            given = dict(zip(arguments[2::2], arguments[3::2], strict=True))
            self.opened.append((given["--title"], given["--body"]))
        return ""


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

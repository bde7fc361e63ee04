"""``python -m matrix announce``: an issue for each verdict that got worse, one per change and never twice.

It reads what ``diff --json`` wrote and speaks to GitHub through its command-line client, ``gh``. What it tells of a
change comes from drivers and servers, so all of it is shown as code, and a change is known again only by the lines
that an issue of ours begins with, where nothing foreign stands.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import re
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from matrix.results.text import code, one_line, refuse

LABEL = "verdict got worse"
MOST = 20  # a broken release changes many verdicts at once: what is more than this goes into issues together
TOGETHER = 50  # of them in one issue, which GitHub limits to 65,536 characters
LONGEST = 300  # characters of a reason
MARKER = re.compile(r"<!-- change: ([0-9a-f]{64}) -->")
Client = Callable[[Sequence[str]], str]


class AnnounceError(Exception):
    """Issues cannot be opened; the message is one line."""


def marker(key: str) -> str:
    """The line of an issue by which its change is known again."""
    return f"<!-- change: {hashlib.sha256(key.encode()).hexdigest()} -->"


def markers(body: str) -> list[str]:
    """Those of an issue's text: the lines that it begins with."""
    return list(itertools.takewhile(MARKER.fullmatch, body.splitlines()))


def issues(differences: Sequence[dict[str, Any]], known: Sequence[str], link: str = "") -> list[tuple[str, str]]:
    """Title and text of the issues that are missing; ``known`` are the markers of all that were ever opened."""
    worse = [each for each in differences if each["kind"] == "worse" and marker(each["key"]) not in known]
    made = [(title(each), issue_body([each], link)) for each in worse[:MOST]]
    for start in range(MOST, len(worse), TOGETHER):
        rest = worse[start : start + TOGETHER]
        made.append((f"{len(rest)} more verdicts got worse", issue_body(rest, link)))
    return made


def title(difference: dict[str, Any]) -> str:
    what = f"{difference['scenario']} in {difference['cell']}" if difference["scenario"] else difference["cell"]
    return one_line(f"{what}: {difference['before']} -> {difference['after']}")[:200]


def issue_body(differences: Sequence[dict[str, Any]], link: str) -> str:
    changes = [(code(title(each)), code(each["reason"][:LONGEST]) or "no reason given") for each in differences]
    lines = [f"- **{what}**: {why}" for what, why in changes]
    found = "Found by the scheduled run" + (f": {link}" if link else "") + "."
    return "\n".join([*(marker(each["key"]) for each in differences), "", found, "", *lines])


def register(commands: Any) -> None:
    """Adds ``announce``."""
    parser = commands.add_parser("announce", help="open an issue for each verdict that got worse, never twice (CI)")
    parser.add_argument("diff", help="what `diff --json` printed")
    parser.add_argument("--link", default="", help="where the run can be seen")
    parser.set_defaults(handler=_announce)


def _announce(options: argparse.Namespace) -> int:
    try:
        found = announce(json.loads(Path(options.diff).read_text(encoding="utf-8")), options.link, _gh)
    except (OSError, ValueError) as problem:
        return refuse(f"{options.diff} cannot be read: {problem}")
    except (AttributeError, KeyError, TypeError) as problem:
        return refuse(f"{options.diff} is not what `diff --json` prints: {problem!r}")
    except AnnounceError as problem:
        return refuse(problem, 1)
    print(f"{len(found)} issues opened")
    return 0


def announce(differences: Sequence[dict[str, Any]], link: str, client: Client) -> list[str]:
    """Open the missing issues. Returns their titles. Raises AnnounceError."""
    if not any(each["kind"] == "worse" for each in differences):
        return []
    # Only who may triage gives an issue its label, so a stranger's issue is none of these.
    listed = client(["issue", "list", "--label", LABEL, "--state", "all", "--limit", "5000", "--json", "body"])
    known = [each for issue in json.loads(listed) for each in markers(str(issue["body"]))]
    missing = issues(differences, known, link)
    if missing:
        client(["label", "create", LABEL, "--force", "--description", "Opened by the scheduled run"])
    for name, body in missing:
        client(["issue", "create", "--title", name, "--body", body, "--label", LABEL])
    return [name for name, _ in missing]


def _gh(arguments: Sequence[str]) -> str:
    try:
        done = subprocess.run(["gh", *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise AnnounceError("issues are opened with GitHub's client gh, which was not found") from None
    if done.returncode:
        raise AnnounceError(f"gh {arguments[0]} {arguments[1]}: {one_line(done.stderr)[:300]}")
    return done.stdout

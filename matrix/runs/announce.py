"""``python -m matrix announce``: an issue for each verdict that got worse, one per change and never twice.

It reads what ``diff --json`` wrote and speaks to GitHub through its command-line client, ``gh``.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

LABEL = "verdict got worse"
MOST = 20  # a broken release changes many verdicts at once: what is more than this goes into one issue together
Client = Callable[[Sequence[str]], str]


class AnnounceError(Exception):
    """Issues cannot be opened; the message is one line."""


def marker(key: str) -> str:
    """The line of an issue by which its change is known again."""
    return f"<!-- change: {key} -->"


def issues(differences: Sequence[dict[str, Any]], known: str, link: str = "") -> list[tuple[str, str]]:
    """Title and text of the issues that are missing; ``known`` is the text of all issues that were ever opened."""
    worse = [each for each in differences if each["kind"] == "worse" and marker(each["key"]) not in known]
    made = [(title(each), text([each], link)) for each in worse[:MOST]]
    rest = worse[MOST:]
    if rest:
        made.append((f"{len(rest)} more verdicts got worse", text(rest, link)))
    return made


def title(difference: dict[str, Any]) -> str:
    what = f"{difference['scenario']} in {difference['cell']}" if difference["scenario"] else difference["cell"]
    return f"{what}: {difference['before']} -> {difference['after']}"[:200]


def text(differences: Sequence[dict[str, Any]], link: str) -> str:
    lines = [f"- **{title(each)}**: {each['reason'] or 'no reason given'}" for each in differences]
    found = "Found by the scheduled run" + (f": {link}" if link else "") + "."
    return "\n".join([found, "", *lines, "", *(marker(each["key"]) for each in differences)])


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
        print(f"{options.diff} cannot be read: {problem}", file=sys.stderr)
        return 2
    except AnnounceError as problem:
        print(problem, file=sys.stderr)
        return 1
    print(f"{len(found)} issues opened")
    return 0


def announce(differences: Sequence[dict[str, Any]], link: str, client: Client) -> list[str]:
    """Open the missing issues. Returns their titles. Raises AnnounceError."""
    if not any(each["kind"] == "worse" for each in differences):
        return []
    known = client(["issue", "list", "--label", LABEL, "--state", "all", "--limit", "5000", "--json", "body"])
    bodies = "\n".join(str(each["body"]) for each in json.loads(known))
    missing = issues(differences, bodies, link)
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
        raise AnnounceError(f"gh {arguments[0]} {arguments[1]}: {done.stderr.strip()[:300]}")
    return done.stdout

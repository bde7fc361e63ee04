"""The search's index: what a row stands for, and the texts of errors, for the script of the home page.

A file of its own, as a script: pages that are opened from a folder may not read data. Words instead of sentences keep
it small: a row is found by the words of its title, contract, reasons, error texts, issue numbers and those of
docs/search.toml.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from matrix.files import read_toml
from matrix.report.errors import ErrorText
from matrix.report.patterns import Pattern
from matrix.report.view import Table
from matrix.results.text import one_line

WORDS = Path(__file__).parents[2] / "docs" / "search.toml"
TOKEN = re.compile(r"[a-z0-9_]{2,}")  # the same in matrix.js
SHOWN = 3  # scenarios that a card names
SAID = 240  # characters of what an error means


def tokens(*texts: str) -> set[str]:
    """The words of texts, as the search compares them."""
    return {word for text in texts for word in TOKEN.findall(text.lower())}


def issue(link: str) -> str:
    """``https://github.com/tortoise/tortoise-orm/issues/1938`` as people write it: ``tortoise-orm#1938``."""
    found = re.fullmatch(r"https://github\.com/[^/]+/([^/]+)/(?:issues|pull|discussions)/(\d+).*", link)
    return f"{found[1]}#{found[2]} {found[2]}" if found else ""


def index(
    table: Table, errors: Sequence[ErrorText], patterns: Sequence[Pattern], words: Mapping[str, Sequence[str]]
) -> dict[str, Any]:
    """``rows``: scenario -> its words; ``errors``: cards, each with text, key, scenarios, meaning, pattern."""
    named = [(family.name, row) for family in table.families for row in family.rows]
    rows = {row.scenario: tokens(row.scenario, row.title, row.contract, name) for name, row in named}
    for (_, scenario), record in table.expected.items():
        rows.setdefault(scenario, set()).update(tokens(record["reason"] or "", issue(record["link"] or "")))
    said: list[tuple[str, Iterable[str]]] = [
        (line["scenario"], map(issue, line.get("links") or ())) for _, line in table.lines
    ]
    said += [(scenario, (error.text, *error.classes)) for error in errors for scenario in error.scenarios]
    said += [(scenario, (pattern.title, pattern.wrong)) for pattern in patterns for scenario in pattern.scenarios]
    said += [(scenario, (word,)) for word, scenarios in words.items() for scenario in scenarios]
    for scenario, texts in said:
        if scenario in rows:
            rows[scenario] |= tokens(*texts)
    return {
        "rows": {name: " ".join(sorted(found)) for name, found in rows.items()},
        "errors": [_card(error, patterns) for error in errors],
    }


def _card(error: ErrorText, patterns: Iterable[Pattern]) -> dict[str, Any]:
    pattern = pattern_of(error, patterns)
    advice = pattern.advice if pattern else None
    return {
        "text": error.text,
        "classes": " ".join(error.classes),
        "key": error.key,
        "drivers": list(error.drivers),
        "scenarios": [(name, seen[0].title) for name, seen in list(error.scenarios.items())[:SHOWN]],
        "more": max(0, len(error.scenarios) - SHOWN),
        "says": one_line(error.seen[0].reason)[:SAID],
        "instead": [f"{pattern.key}-instead", advice.title, advice.price] if pattern and advice else None,
    }


def pattern_of(error: ErrorText, patterns: Iterable[Pattern]) -> Pattern | None:
    """The pattern as people write it that shows the error: of its first scenario that is one."""
    known = [pattern for pattern in patterns if pattern.seen]
    return next((each for scenario in error.scenarios for each in known if scenario in each.scenarios), None)


def read_words(path: Path = WORDS) -> dict[str, list[str]]:
    """docs/search.toml."""
    return read_toml(path)


def script(found: Mapping[str, Any]) -> bytes:
    """The index as a script."""
    text = json.dumps(found, ensure_ascii=True, separators=(",", ":"))
    return f"window.matrixIndex={text};\n".encode()

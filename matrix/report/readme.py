"""The tables of README.md, docs/errors.md, docs/table.md and docs/findings.md, put in between their markers from
results, and what is on record of errors: ``report --docs``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from matrix import files
from matrix.files import read_toml
from matrix.report import errors, patterns, search
from matrix.report.errors import ErrorText
from matrix.report.markdown import escape, headline_lines, markdown
from matrix.report.summary import by_driver
from matrix.report.view import Table
from matrix.results import messages
from matrix.results.text import code
from matrix.words import ATOMICITY, CONTAINMENT, DURABILITY, GLYPHS, LIES, ROUTING, rank

ROOT = Path(__file__).resolve().parents[2]
KINDS = ROOT / "docs" / "kinds.toml"
WRONG_DATA = (ROUTING, DURABILITY, ATOMICITY, CONTAINMENT)
BLOCK = re.compile(r"(<!-- (?P<name>[a-z]+):start -->\n).*?(<!-- (?P=name):end -->)", re.DOTALL)


def update(table: Table, root: Path) -> list[Path]:
    """Write the blocks of README.md, docs/errors.md and docs/findings.md, docs/table.md and the record of errors, below
    ``root``; returns what was written. Raises OSError, and ValueError for a marker that nothing belongs to."""
    docs, found = root / "docs", errors.collect(table)
    made = {
        root / "README.md": blocks(table),
        docs / "errors.md": {"errors": "\n".join(_errors(table, found))},
        docs / "findings.md": findings(table),
    }
    texts = {page: filled(page.read_text("utf-8"), own) for page, own in made.items()}
    texts[docs / "table.md"] = f"# Every scenario\n\n{markdown(table)}"
    texts[root / messages.FILE.relative_to(ROOT)] = messages.record(errors.known(found))
    for page, text in texts.items():
        files.write(page, text)
    return list(texts)


def filled(text: str, found: Mapping[str, str]) -> str:
    """The text with each block between its markers. Raises ValueError."""

    def block(match: re.Match[str]) -> str:
        name = match["name"]
        if name not in found:
            raise ValueError(f"<!-- {name}:start -->: there is no such block; there are: {', '.join(found)}")
        return f"{match[1]}{found[name]}\n{match[3]}"

    return BLOCK.sub(block, text)


def blocks(table: Table) -> dict[str, str]:
    """The blocks by name, each without an empty line at its end."""
    made = {"headline": headline_lines(table), "patterns": _patterns(table)}
    return {name: "\n".join(lines).strip() for name, lines in made.items()}


def _patterns(table: Table) -> Iterator[str]:
    """A row for each pattern as people write it: its worst word per driver, what to write instead, and its cost."""
    drivers = by_driver(table.groups)
    yield f"| If you write | {' | '.join(map(escape, drivers))} | instead |"
    yield f"|---|{'---|' * (len(drivers) + 1)}"
    for pattern in patterns.build(table):
        words = []
        for own in drivers.values():
            places = [place for group, place in zip(table.groups, pattern.places, strict=True) if group in own]
            words.append(_worst(place.word for place in places))
        advice = "" if not pattern.seen else pattern.advice.sentence if pattern.advice else "nothing holds"
        yield f"| {escape(pattern.title)} | {' | '.join(words)} | {escape(advice)} |"


def _errors(table: Table, found: Iterable[ErrorText]) -> Iterator[str]:
    """A row for each message: who shows it, in which scenarios (three), what people write, and what to do instead."""
    known = patterns.build(table)
    yield "| message | drivers | seen in | if you write this | instead |"
    yield "|---|---|---|---|---|"
    for error in found:
        seen = [f"{name} {_worst(each.word for each in own)}" for name, own in list(error.scenarios.items())[:3]]
        pattern = search.pattern_of(error, known)
        instead = pattern.advice.sentence if pattern and pattern.advice else ""
        cells = (", ".join(error.drivers), ", ".join(seen), pattern.title if pattern else "", instead)
        yield f"| {code(error.text)} | {' | '.join(map(escape, cells))} |"


def findings(table: Table) -> dict[str, str]:
    """The blocks of docs/findings.md: orders by kind of silent loss, and what was told failed and is stored."""
    return {"kinds": "\n".join(_kinds(table)), "told": "\n".join(_told_failed(table))}


def _kinds(table: Table) -> Iterator[str]:
    """A row for each kind: its scenarios, how many orders were run in how many lines, and what was found."""
    yield "| kind | scenarios | orders | found by exploration |"
    yield "|---|---|---|---|"
    for kind in read_toml(KINDS)["kind"]:
        lines = [line for _, line in table.lines if line["scenario"] in kind["scenarios"]]
        explored = [orders["explored"] for line in lines if (orders := line.get("orders")) and orders["explored"]]
        ran = f"{sum(explored):,} in {len(explored)} lines"
        yield f"| {kind['title']} | {', '.join(kind['scenarios'])} | {ran} | {kind['found']} |"


def _told_failed(table: Table) -> Iterator[str]:
    """A row for each scenario that ``lies`` only because what was told to have failed is stored, and where."""
    found: dict[str, dict[str, str]] = {}
    for cell, line in table.lines:
        wrong = [each for each in line["violations"] if each["property"] in WRONG_DATA]
        facts = [each.get("fact") or {} for each in wrong]
        failed = [f.get("kind") == "row_stored" and (f.get("error") or f.get("outcome") == "failed") for f in facts]
        if line["verdict"] == LIES and facts and all(failed):
            error = (facts[0].get("error") or {}).get("type", "")
            found.setdefault(line["scenario"], {})[cell] = error or str(facts[0].get("outcome") or "")
    yield "| scenario | cells | what was told |"
    yield "|---|---|---|"
    for name in (name for name in table.rows if name in found):
        told = ", ".join(dict.fromkeys(f"`{each}`" for each in found[name].values()))
        yield f"| {name} | {', '.join(found[name])} | {told} |"


def _worst(words: Iterable[str]) -> str:
    """The worst of these words, with its glyph."""
    word = max(words, key=rank)
    return f"{GLYPHS[word]} {word}"

"""What changed between two folders of results, and the Atom feed of it. Pure functions of results."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from xml.etree import ElementTree as xml

from matrix.lines import word_of
from matrix.report.junit import xml_text
from matrix.results import compare
from matrix.results.read import CellResult, CellState

ATOM = "http://www.w3.org/2005/Atom"
FEED_ID = "urn:tortoise-driver-compliance-matrix:changes"


@dataclass(frozen=True)
class Change:
    """One word that is another one now. ``before`` or ``after`` is empty where a scenario is new or gone."""

    cell: str
    scenario: str
    title: str
    before: str
    after: str
    versions: tuple[str, ...]
    started: str
    reason: str
    direction: str  # of compare.KINDS

    @property
    def sentence(self) -> str:
        words = f"{self.before or 'not there'} → {self.after or 'not there'}"
        return f"{self.scenario} on {self.cell}: {words} ({self.direction})"


def between(older: Iterable[CellState], newer: Iterable[CellState]) -> tuple[Change, ...]:
    """Every word that differs between the complete runs of the same cell, in the order of cells and scenarios, worse
    ones first. A cell that only one side has is no change."""
    was = {state.cell: state.result for state in older if state.result}
    found: list[Change] = []
    for state in newer:
        old, new = was.get(state.cell), state.result
        if old is not None and new is not None:
            found += _of_cell(old, new)
    return tuple(sorted(found, key=lambda change: compare.KINDS.index(change.direction)))


def _of_cell(old: CellResult, new: CellResult) -> list[Change]:
    moved = [(key.replace("_version", ""), old.axes.get(key), value) for key, value in new.axes.items()]
    versions = tuple(f"{key} {one} → {other}" for key, one, other in moved if one != other)
    found = []
    for name in dict.fromkeys([*old.by_id, *new.by_id]):
        before, after = old.by_id.get(name), new.by_id.get(name)
        was, is_now = (word_of(line) if line else "" for line in (before, after))
        if was != is_now:
            kind = (compare.direction(before, after) if before and after else None) or ("new" if after else "gone")
            line = after or old.by_id[name]
            about = (str(line.get("title") or ""), was, is_now, versions, str(new.header["started"]))
            found.append(Change(new.cell, name, *about, str(line.get("reason") or ""), kind))
    return found


def feed(found: Sequence[Change], newest: str, address: str, page_of: Callable[[str, str], str]) -> bytes:
    """The changes as an Atom feed. ``newest``: the moment of the newest run; ``address``: where the site is published,
    ending in a slash, or empty; ``page_of`` gives the page of a cell and scenario."""
    root = xml.Element("feed", xmlns=ATOM)
    _add(root, "id", FEED_ID)
    _add(root, "title", "Tortoise driver compliance matrix: changes")
    _add(root, "updated", newest)
    xml.SubElement(xml.SubElement(root, "author"), "name").text = "Tortoise driver compliance matrix"
    if address:
        xml.SubElement(root, "link", rel="self", href=xml_text(f"{address}feed.xml"))
        xml.SubElement(root, "link", rel="alternate", href=xml_text(f"{address}changes.html"))
    for change in found:
        entry = xml.SubElement(root, "entry")
        _add(entry, "id", f"{FEED_ID}:{change.cell}:{change.scenario}:{change.started}")
        _add(entry, "title", change.sentence)
        _add(entry, "updated", change.started)
        if change.after:
            xml.SubElement(entry, "link", href=xml_text(address + page_of(change.cell, change.scenario)))
        _add(entry, "summary", f"{change.title}. {'; '.join(change.versions)}. {change.reason}")
    return b'<?xml version="1.0" encoding="utf-8"?>\n' + xml.tostring(root, encoding="utf-8") + b"\n"


def _add(parent: xml.Element, name: str, content: str) -> None:
    xml.SubElement(parent, name).text = xml_text(content)

"""What the report says of the suite itself: faults that were caught, verdicts that came again, what generated programs
found. Pure functions."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from matrix.report import web

PARTS = {"web": "patterns.html#fastapi"}  # documents that are shown as a part of another page


@dataclass(frozen=True)
class Fact:
    """One sentence of the suite, and the page that shows what it stands on."""

    text: str
    page: str


def facts(documents: dict[str, dict[str, Any]]) -> list[Fact]:
    """A sentence for each document of a results folder."""
    counted = {"faults": _faults, "stability": _stability, "web": _web, "finds": _finds}
    return [Fact(counted[kind](document), PARTS.get(kind, f"{kind}.html")) for kind, document in documents.items()]


def seen(kind: str, document: dict[str, Any]) -> dict[str, Any]:
    """What the page of a document shows."""
    shown: dict[str, Any] = {"document": document, "fact": facts({kind: document})[0].text}
    if kind == "faults":
        shown["right"] = [{**each, "counts": dict(Counter(each["verdicts"].values()))} for each in document["right"]]
    return shown


def _faults(document: dict[str, Any]) -> str:
    faults = document["faults"]
    return f"{len(faults)} seeded faults, {sum(bool(fault['caught_by']) for fault in faults)} caught"


def _web(document: dict[str, Any]) -> str:
    found = web.requests(document)
    return "; ".join([*([found.fact] if found else []), *(kind.fact for kind in web.programs(document))])


def _finds(document: dict[str, Any]) -> str:
    finds = document["finds"]
    told = f"{len(finds)} find{'' if len(finds) == 1 else 's'} of generated programs that no scenario had shown"
    return f"{told}; {sum(not find['scenarios'] for find in finds)} for which none stands yet"


def _stability(document: dict[str, Any]) -> str:
    """Cells in which the harness owns the order first; where threads race inside the driver is another matter."""
    owned = [cell["replays"] for cell in document["cells"] if cell["rule"] == "each time"]
    repeats, disagreeing = (sum(cell[key] for cell in owned) for key in ("repeats", "disagreements"))
    sentence = f"{disagreeing} of {repeats} repeats of {len(owned)} cells disagreed"
    for cell in document["cells"]:
        if cell["rule"] != "each time":
            share = f"{cell['replays']['disagreements']} of {cell['replays']['repeats']}"
            sentence += f"; {share} of {cell['cell']}, whose threads race"
    return sentence

"""Badges: an SVG of our own, and the JSON that shields' endpoint badge reads. One word each, never a score."""

from __future__ import annotations

from html import escape
from typing import Any

from matrix.report.marks import glyph
from matrix.results.text import clean

# White text has a contrast of at least 4.5 on each; the style sheet's colours would need its two schemes.
COLOURS = {
    **dict.fromkeys(("safe", "holds", "queues"), "#0a6b31"),
    "refuses": "#0f5aa0",
    **dict.fromkeys(("breaks", "partly"), "#8a4b00"),
    "hangs": "#6a35a8",
    **dict.fromkeys(("poisons", "fails"), "#9c1560"),
    **dict.fromkeys(("lies", "worse", "wrong data"), "#b3201a"),
}
NEUTRAL = "#5a6270"
HEIGHT, PAD = 20, 7
# Widths in 11 px of a common sans serif, in tenths of a pixel; the text is stretched to what is computed here.
NARROW, WIDE, USUAL = "fijlrtI.,:;!'|() ", "mwMW@%&", 66


def width(text: str) -> int:
    """About how wide a text is, in px."""
    return round(sum(36 if sign in NARROW else 99 if sign in WIDE else USUAL for sign in text) / 10)


def message(word: str, versions: str) -> str:
    return f"{word} {versions}".strip()


def endpoint(label: str, word: str, versions: str) -> dict[str, Any]:
    """What shields' endpoint badge reads (schema version 1)."""
    return {
        "schemaVersion": 1,
        "label": clean(label),
        "message": clean(message(word, versions)),
        "color": COLOURS.get(word, NEUTRAL).lstrip("#"),
    }


def svg(label: str, word: str, versions: str) -> str:
    """The badge as a picture: the label on grey, glyph and word on the word's colour; readable as text."""
    left, right = clean(label), f"{glyph(word)} {clean(message(word, versions))}"
    first, second = width(left), width(right)
    split, whole = first + 2 * PAD, first + second + 4 * PAD
    alt = escape(f"{left}: {clean(message(word, versions))}")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{whole}" height="{HEIGHT}" role="img" aria-label="{alt}">'
        f"<title>{alt}</title>"
        f'<clipPath id="round"><rect width="{whole}" height="{HEIGHT}" rx="3"/></clipPath>'
        f'<g clip-path="url(#round)"><rect width="{split}" height="{HEIGHT}" fill="#3d4451"/>'
        f'<rect x="{split}" width="{whole - split}" height="{HEIGHT}" fill="{COLOURS.get(word, NEUTRAL)}"/></g>'
        '<g fill="#fff" font-family="Verdana,DejaVu Sans,Geneva,sans-serif" font-size="11">'
        f'<text x="{PAD}" y="14" textLength="{first}">{escape(left)}</text>'
        f'<text x="{split + PAD}" y="14" textLength="{second}">{escape(right)}</text></g></svg>\n'
    )

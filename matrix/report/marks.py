"""The style class and the terminal colour of each word; glyphs are in ``matrix.results.words``."""

from __future__ import annotations

from matrix.results.words import GLYPHS

TERMINAL = {
    "safe": "green",
    "refuses": "blue",
    "breaks": "yellow",
    "hangs": "cyan",
    "poisons": "magenta",
    "lies": "bold red",
    "n/a": "dim",
    "error": "reverse",
    "not run": "dim",
    "holds": "green",
    "partly": "yellow",
    "fails": "red",
    "worse": "bold red",
}


def glyph(word: str) -> str:
    return GLYPHS.get(word, "?")


def style_class(word: str) -> str:
    """The word as the style sheet names it: ``n/a`` is ``na``, ``not run`` is ``not-run``."""
    return word.replace("/", "").replace(" ", "-") if word in GLYPHS else "unknown"

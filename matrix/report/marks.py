"""Style class, style rule and terminal colour of each word; the glyphs are in ``matrix.words``."""

from __future__ import annotations

from matrix.words import GLYPHS

TERMINAL = {
    **dict.fromkeys(("safe", "holds", "queues"), "green"),
    "refuses": "blue",
    **dict.fromkeys(("breaks", "partly"), "yellow"),
    "hangs": "cyan",
    "poisons": "magenta",
    **dict.fromkeys(("lies", "worse", "wrong data"), "bold red"),
    **dict.fromkeys(("n/a", "not run", "not needed"), "dim"),
    "error": "reverse",
    "fails": "red",
}


def glyph(word: str) -> str:
    return GLYPHS.get(word, "?")


def style_class(word: str) -> str:
    """The word as the style sheet names it: ``n/a`` is ``na``, ``not run`` is ``not-run``."""
    return word.replace("/", "").replace(" ", "-") if word in GLYPHS else "unknown"


def style_rules() -> str:
    """The glyph in front of each word, as rules of the style sheet; the empty text is what a screen reader is told."""
    rules = []
    for word, sign in GLYPHS.items():
        name = f".w-{style_class(word)}::before"
        rules.append(f'{name} {{ content: "{sign}\\FE0E"; content: "{sign}\\FE0E" / ""; }}')
    return "\n/* Written from the table of glyphs. */\n" + "\n".join(rules) + "\n"

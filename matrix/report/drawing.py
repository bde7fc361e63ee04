"""Rows of what happened as a drawing: inline SVG. What the rows are is diagram.py's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import chain
from typing import NamedTuple

from markupsafe import escape

from matrix.results.text import one_line

PITCH, WIDE, LEFT, HEAD, ROW = 172, 360, 96, 56, 34  # pixels: columns, the last gap, left margin, head, a row
LABEL = 420  # pixels that the label of a short arrow may take
CHARACTER, BOLD, CAPITAL = 6.2, 7.0, 1.25  # pixels of one character of a label on average; a capital against it
DATABASE = "database"


class DiagramRow(NamedTuple):
    """One thing that happened. ``left`` and ``right`` are columns; ``right`` is empty for a word on one lifeline.

    ``marks`` are style classes: told, held, overlap, bad, quiet, note, fold.
    """

    left: str
    right: str
    text: str
    marks: tuple[str, ...] = ()
    tag: str = ""  # what stands in words beside the arrow: held, overlap
    after: bool = False
    ends: tuple[str, ...] = ("", "")  # kinds of the first and the last frame
    delivers: bool = False  # a held answer is let through


def draw(columns: list[str], rows: list[DiagramRow], words: list[tuple[str, bool]], name: str) -> str:
    places = {column: LEFT + PITCH * at for at, column in enumerate(columns)}
    if DATABASE in places and len(columns) > 1:
        places[DATABASE] += WIDE - PITCH
    width = max([*places.values(), LEFT]) + LEFT
    width = max(width, int(max((len(text) for text, _ in words), default=0) * BOLD) + 60)
    bottom = HEAD + ROW * len(rows) + 24
    height = bottom + 36 + (26 + 20 * len(words) if words else 0)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="sq" role="img" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}">',
        f"<title>{_escaped(one_line(name))}</title>",
        f"<desc>{escape(_description(columns, rows, words))}</desc>",
    ]
    for x in places.values():
        parts.append(f'<line class="sq-life" x1="{x}" y1="{HEAD - 12}" x2="{x}" y2="{bottom}"/>')
    for at, row in enumerate(rows):
        parts.append(_row(row, places, HEAD + ROW * at + ROW - 8, width))
    for y in (10, bottom):
        parts += [_head(column, x, y) for column, x in places.items()]
    parts += _words(words, bottom + 58)
    return "".join([*parts, "</svg>"])


def _head(column: str, x: int, y: int) -> str:
    wide = PITCH - 16
    return (
        f'<g class="sq-head"><rect x="{x - wide // 2}" y="{y}" width="{wide}" height="26" rx="4"/>'
        f'<text x="{x}" y="{y + 18}" text-anchor="middle">{_cut(column, wide - 12, True)}</text></g>'
    )


def _row(row: DiagramRow, places: Mapping[str, int], y: int, width: int) -> str:
    full = _escaped(f"{row.text}{f' ({row.tag})' if row.tag else ''}")
    marks = _classes(row.marks)
    if "fold" in row.marks:
        zigzag = "".join(f"L{x} {y - 4 + 8 * (at % 2)}" for at, x in enumerate(range(20, width - 10, 16)))
        body = f'<path d="M12 {y + 4}{zigzag}"/><text x="{width // 2}" y="{y - 10}" text-anchor="middle">{full}</text>'
        return f'<g class="sq-quiet">{body}</g>'
    x = places.get(row.left, LEFT)
    if row.right:
        body = _arrow(row, x, places.get(row.right, LEFT), y, width)
    else:
        cross = f'<path d="M{x - 5} {y - 9}L{x + 5} {y + 1}M{x - 5} {y + 1}L{x + 5} {y - 9}"/>'
        body = cross if "bad" in row.marks else f'<circle cx="{x}" cy="{y - 4}" r="4"/>'
        body += _beside(row, x, y, width)
    title = "" if f"{_escaped(row.text)}</text>" in body else f"<title>{full}</title>"  # of a label that was cut
    return f'<g class="{marks}">{title}{body}</g>'


@lru_cache(maxsize=256)
def _classes(marks: tuple[str, ...]) -> str:
    """Apart from the page's own classes."""
    return " ".join(f"sq-{mark}" for mark in marks)


def _beside(row: DiagramRow, x: int, y: int, width: int) -> str:
    """A word on a lifeline, on the side where there is more room."""
    if x <= width // 2:
        return f'<text x="{x + 10}" y="{y}">{_cut(row.text, width - x - 14, _is_bold(row))}</text>'
    return f'<text x="{x - 10}" y="{y}" text-anchor="end">{_cut(row.text, x - 14, _is_bold(row))}</text>'


def _arrow(row: DiagramRow, x: int, to: int, y: int, width: int) -> str:
    step = 1 if to >= x else -1
    start, text = min(x, to) + 8, f"{'✖ ' if 'bad' in row.marks else ''}{row.text}"
    band = ""
    if "overlap" in row.marks:
        band = f'<rect x="{start - 4}" y="{y - 25}" width="{abs(to - x) - 8}" height="31" rx="3"/>'
        text = f"▲ OVERLAP {row.text}"
    elif row.tag:
        text = f"{row.tag}: {row.text}"
    space = abs(to - x) - 16  # beyond the database there is nothing that a label could stand before
    available = space if DATABASE in (row.left, row.right) else min(max(space, LABEL), width - start)
    latch = f'<rect class="sq-latch" x="{to - 5}" y="{y - 5}" width="10" height="10"/>' if "held" in row.marks else ""
    tip = to - step * (6 if latch else 0)
    head = f"{tip},{y} {tip - step * 8},{y - 4} {tip - step * 8},{y + 4}"
    return (
        f'{band}<line x1="{x}" y1="{y}" x2="{tip - step * 6}" y2="{y}"/><polygon points="{head}"/>{latch}'
        f'<text x="{start}" y="{y - 6}">{_cut(text, available, _is_bold(row))}</text>'
    )


def _words(words: list[tuple[str, bool]], y: int) -> Iterator[str]:
    if words:
        yield f'<g class="sq-head"><text x="12" y="{y}">Told and stored</text></g>'
    for at, (text, odd) in enumerate(words, 1):
        sign, marks = ("≠ ", "sq-bad") if odd else ("", "")
        yield f'<g class="{marks}"><text x="12" y="{y + 20 * at}">{_escaped(sign + text)}</text></g>'


def _is_bold(row: DiagramRow) -> bool:
    """Rows that matter are in bold type."""
    return "overlap" in row.marks or "bad" in row.marks


@lru_cache(maxsize=8192)
def _cut(text: str, pixels: float, bold: bool) -> str:
    """The text, escaped, shortened to about so many pixels."""
    available, wide = pixels, BOLD if bold else CHARACTER
    if len(text) * wide * CAPITAL <= available:
        return _escaped(text)
    for at, sign in enumerate(text):
        available -= wide * (CAPITAL if sign.isupper() or sign == "_" else 1)
        if available < 0:
            return _escaped(text[: max(at - 1, 3)].rstrip() + "…")
    return _escaped(text)


def _description(columns: Sequence[str], rows: Sequence[DiagramRow], words: Sequence[tuple[str, bool]]) -> str:
    """The drawing in words, at a length that can be listened to."""
    text = one_line(f"Columns: {', '.join(columns)}. Time goes down.")
    for part in chain(map(_in_words, rows), (text for text, _ in words)):
        text = f"{text} {one_line(part)}"
        if len(text) > 3000:
            return text[:2999] + "…"
    return text


def _in_words(row: DiagramRow) -> str:
    where = f"{row.left} to {row.right}: " if row.right else f"{row.left}: " if row.left else ""
    return f"{where}{row.text}{f' ({row.tag})' if row.tag else ''}."


@lru_cache(maxsize=8192)
def _escaped(text: str) -> str:
    return str(escape(text))

"""Markup of the long lists of an evidence page: the history and the frames. They are most of the site's bytes, so they
are written here in one go and not by a template. Everything from outside is escaped."""

from __future__ import annotations

import html
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from markupsafe import Markup

from matrix.report.evidence import ANSWERS, Lanes, ShownEvent, ShownEvidence, milliseconds

FRAMES_AT_MOST = 300


escape = lru_cache(maxsize=8192)(html.escape)  # names, statements and answers come again and again


def history(seen: ShownEvidence, name: str) -> Markup:
    """The history, part by part: a column per task where they are few, otherwise a list. ``name`` makes ids unique."""
    return Markup("\n".join(_part(part, name, at == 0) for at, part in enumerate(seen.history)))


def frames(seen: ShownEvidence) -> Markup:
    """The rows of the table of frames; past ``FRAMES_AT_MOST`` the page says how many there are in the JSON."""
    rows = [_frame(frame) for frame in seen.frames[:FRAMES_AT_MOST]]
    rest = len(seen.frames) - len(rows)
    if rest > 0:
        rows.append(f'<tr><td class="rest" colspan="6">and {rest} more in the evidence as JSON</td></tr>')
    return Markup("\n".join(rows))


def _part(part: Lanes, name: str, first: bool) -> str:
    if not part.beside:
        rows = (
            f'<tr class="e-{event.style}"><td class="ms">{event.ms}</td><td>{escape(event.session)}</td>'
            f"<td>{_phrase(event)}</td></tr>"
            for event in part.events
        )
        about = "In the order in which it happened." if first else "Afterwards"
        heads = '<th scope="col">task</th><th scope="col">what happened</th>'
        return _table("list", "scroll tall", name, about, heads, rows)
    about = "Time runs down; one column per task. A bar means that the task waits for an answer."
    heads = "".join(f'<th scope="col">{escape(session)}</th>' for session in part.sessions)
    return _table("lanes", "scroll", name, about if first else "Afterwards", heads, _lanes(part))


def _table(style: str, around: str, name: str, about: str, heads: str, rows: Iterator[str]) -> str:
    body = "\n".join(rows)
    return (
        f'<div class="{around}" role="group" aria-labelledby="{escape(name)}history" tabindex="0">\n'
        f'<table class="{style}"><caption><span>{about}</span></caption>\n'
        f'<thead><tr><th scope="col" class="ms">ms</th>{heads}</tr></thead>\n'
        f"<tbody>\n{body}\n</tbody></table></div>"
    )


def _lanes(part: Lanes) -> Iterator[str]:
    for event in part.events:
        row = [f'<tr class="e-{event.style}"><td>{event.ms}</td>']
        if event.lane is None:
            who = f'<span class="said">{escape(event.session)}:</span> ' if event.session else ""
            row.append(f'<td class="everyone" colspan="{len(part.sessions)}">{who}{_phrase(event)}</td>')
        else:
            for lane, session in enumerate(part.sessions):
                if lane == event.lane:
                    bar = " open" if event.waiting[lane] or event.kind in ANSWERS else ""
                    row.append(f'<td class="here{bar}" data-session="{escape(session)}">{_phrase(event)}</td>')
                else:
                    row.append('<td class="open"></td>' if event.waiting[lane] else "<td></td>")
        yield "".join([*row, "</tr>"])


def _phrase(event: ShownEvent) -> str:
    said = (("op", event.operation), ("said", event.verb), ("what", event.what), ("text", event.text))
    parts = [f'<span class="{style}">{escape(text)}</span>' for style, text in said if text]
    if event.result is not None:
        parts.append(f'<code class="result">{escape(event.result)}</code>')
    if event.error:
        kind, message = escape(event.error.get("type", "")), escape(event.error.get("message", ""))
        parts.append(f'<span class="error"><b>{kind}</b> {message}</span>')
    if event.block:
        parts.append(f'<span class="tag quiet">in {escape(event.block)}</span>')
    return " ".join(parts)


def _frame(frame: dict[str, Any]) -> str:
    get = frame.get
    to = "→ server" if get("direction") == "->" else "← driver"
    held = " <i>held</i>" if get("held") else ""
    marked, overlap = (' class="overlap"', ' <span class="tag">overlap</span>') if get("overlap") else ("", "")
    return (
        f"<tr{marked}><td>{milliseconds(get('ms'))}</td><td>{_text(get('wire'))}</td><td>{to}</td>"
        f"<td>{_text(get('kind'))}{held}{overlap}</td><td>{_text(get('length'))}</td><td>{_text(get('text'))}</td></tr>"
    )


def _text(value: Any) -> str:
    if value is None:
        return ""
    return str(value) if isinstance(value, int) else escape(str(value))

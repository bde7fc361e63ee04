"""A text that is ready to be pasted into an upstream issue, made of one result line and its cell's header.

Whatever came from a driver or a server is escaped: in prose as Markdown, in code by a fence that it cannot close.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from matrix.harness.drivers import distribution, drivers
from matrix.lines import Header, ScenarioLine
from matrix.report.loose import items, mapping, objects
from matrix.report.markdown import escape
from matrix.results.text import clean, one_line
from matrix.words import LEVEL_MEANS

LINES = 60  # lines of the history at most
VERBS = {"invoke": "asks to", "ok": "is done:", "error": "fails to", "cancelled": "is cancelled:"}


def issue_title(line: ScenarioLine, header: Header, fault: str) -> str:
    """One plain line: whose it is with its version, what was done, what came of it."""
    axes = mapping(header.get("axes"))
    driver = f"{axes.get('driver', '?')} {axes.get('driver_version', '?')}"
    server = str(header.get("server_string") or f"{axes.get('server', '?')} {axes.get('server_version') or ''}").strip()
    orm = f"Tortoise ORM {axes.get('tortoise') or '?'} with {driver}"
    subject = {"driver": driver, "server": f"{server} with {driver}"}.get(fault, orm)
    return one_line(f"{subject}: {line.get('title', line.get('scenario', '?'))}: {line.get('reason', '')}")[:200]


def issue_text(line: ScenarioLine, header: Header, reproducer: str | None, fault: str, absent: str = "") -> str:
    """The issue as Markdown; its first line is ``Title: …``, to be cut off and put where titles go.

    ``line`` is a scenario line that does not comply, ``header`` the header of its cell, ``reproducer`` the source of
    the script that shows it, or None, then ``absent`` says why; ``fault`` says whose it is: driver, orm or server. Ends
    with a newline.
    """
    return "\n".join(_text(line, header, reproducer, fault, absent)) + "\n"


def fenced(text: object, language: str = "") -> str:
    """A code block whose fence is longer than any run of backticks in the text, so that nothing in it can close it."""
    content = clean(text).rstrip("\n")
    longest = max((len(run) for run in re.findall(r"`+", content)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{content}\n{fence}"


def _text(line: ScenarioLine, header: Header, reproducer: str | None, fault: str, absent: str) -> Iterator[str]:
    yield f"Title: {issue_title(line, header, fault)}"
    yield ""
    yield escape(line.get("contract") or line.get("title") or "")
    versions = (f"- {escape(name)}: {escape(value)}" for name, value in _versions(header))
    yield from _section("### Versions", versions)
    yield from _section("### To reproduce", _reproducer(line, reproducer, absent))
    yield from _section("### Expected", _expected(line))
    yield from _section("### Observed", _observed(line))
    links = [link for link in items(line.get("links")) if _is_link(link)]
    subjects = (str(mapping(header.get("axes")).get("driver")), "tortoise")
    ours = [link for link in links if any(subject in link for subject in subjects)]
    others = [link for link in links if link not in ours]
    for title, some in (("Issues that may be the same", ours), ("The same question in other projects", others)):
        if some:
            yield from _section(f"### {title}", (f"- <{link}>" for link in some))


def _section(title: str, lines: Iterable[str]) -> Iterator[str]:
    """A title, or the words before a block, with empty lines around it; then the lines."""
    yield from ("", title, "")
    yield from lines


def _versions(header: Header) -> Iterator[tuple[str, Any]]:
    axes, packages = mapping(header.get("axes")), mapping(header.get("packages"))
    named = (
        (axes.get("driver"), axes.get("driver_version")),
        ("Tortoise ORM", axes.get("tortoise")),
        ("server", header.get("server_string") or f"{axes.get('server', '')} {axes.get('server_version') or ''}"),
        ("Python", axes.get("python")),
        ("platform", header.get("platform")),
    )
    yield from ((str(name), value) for name, value in named if name and value)
    table = drivers().get(str(axes.get("driver")))
    below = (*table.imports[1:], table.releases.get("wheels", "")) if table else ()
    known = {distribution(name): (name, version) for name, version in packages.items()}
    yield from (known[name] for name in map(distribution, (*below, "pypika-tortoise")) if name in known)


def _reproducer(line: ScenarioLine, reproducer: str | None, absent: str) -> Iterator[str]:
    if reproducer:
        yield "Save it as `repro.py` and run `uv run repro.py ADDRESS`. It says what it expects and what it observes;"
        yield "its exit code is 1 when the symptom shows. The order of the steps is forced, so it shows every time."
        yield ""
        yield fenced(reproducer, "python")
        return
    yield escape(absent)
    yield ""
    yield "The program, with `world` and `session` as a test harness has them, and the order of its steps"
    yield f"({escape(line.get('schedule') or 'not known')}; a letter is a task's step, a number an answer let through):"
    yield ""
    evidence = mapping(line.get("evidence"))
    yield fenced(evidence.get("program") or "", "python")
    steps = objects(evidence.get("steps"))[:LINES]
    if steps:
        yield ""
        yield fenced("\n".join(one_line(f"{step.get('action', '')}  {step.get('text', '')}") for step in steps))


def _expected(line: ScenarioLine) -> Iterator[str]:
    source = mapping(line.get("source"))
    if source.get("text"):
        yield f"> {escape(source['text'])}"
        yield ""
    if _is_link(source.get("url")):
        yield f"(<{source['url']}>)"
        yield ""
    means = LEVEL_MEANS.get(str(line.get("level")))
    yield escape(f"{line.get('contract') or ''}{f' ({means})' if means else ''}".strip() or "Not stated.")


def _observed(line: ScenarioLine) -> Iterator[str]:
    yield f"**{escape(line.get('reason') or 'See below.')}**"
    yield ""
    others = [mapping(each).get("sentence") for each in items(line.get("violations"))]
    yield from (f"- {escape(each)}" for each in others if each and each != line.get("reason"))
    evidence = mapping(line.get("evidence"))
    history = objects(evidence.get("history"))
    if history:
        yield from _section("What happened, in order:", [fenced("\n".join(_history(history)))])
    sentences = [text for text in items(mapping(evidence.get("witness")).get("sentences")) if isinstance(text, str)]
    if sentences:
        found = (f"- {escape(sentence)}" for sentence in sentences[:LINES])
        yield from _section("What another client of the same database found afterwards:", found)
    for seen in [mapping(each) for each in items(evidence.get("exceptions"))][:3]:
        head = f"<details><summary>{escape(seen.get('type'))} in {escape(seen.get('session'))}</summary>"
        yield from _section(head, [fenced(seen.get("traceback") or seen.get("message") or ""), "", "</details>"])


def _history(history: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for event in history[:LINES]:
        kind, who = str(event.get("event")), event.get("session") or ""
        verb = VERBS.get(kind, "") if event.get("operation") is not None else ""
        answer = f": {event['result']}" if event.get("result") is not None else ""
        error = mapping(event.get("error"))
        if error:
            answer = f": {error.get('type')}: {error.get('message')}"
        yield one_line(f"{who} {verb} {event.get('text') or ''}{answer}")
    if len(history) > LINES:
        yield f"({len(history) - LINES} more lines)"


def _is_link(text: Any) -> bool:
    return isinstance(text, str) and re.fullmatch(r"https?://[^\s<>`\"'\\]+", text) is not None

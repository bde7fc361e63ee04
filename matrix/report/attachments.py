"""What else an evidence page shows of a line: its diagram, the script that was seen to show it, the upstream text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from markupsafe import Markup

from matrix.lines import CureLine, Header, ScenarioLine
from matrix.report import upstream
from matrix.report.diagram import diagram as draw
from matrix.report.view import Table
from matrix.results.reproducers import line_of_cure, read_index, source_of, under_loop


def diagram(line: ScenarioLine) -> Markup:
    """The sequence diagram as SVG, empty where nothing was recorded; its rules stand in the site's style sheet."""
    return Markup(draw(line))


def upstream_text(line: ScenarioLine, header: Header, script: str | None, fault: str, absent: str = "") -> str:
    """A text for an upstream issue of whose ``fault`` it is; empty for what complies, for what is so by design, and for
    remedies: nobody can be told of those."""
    fileable = line["complies"] is False and not line.get("remedy") and fault != "by design"
    return upstream.issue_text(line, header, script, fault, absent) if fileable else ""


def reproducers(results: Path, line: ScenarioLine, header: Header) -> dict[str, str]:
    """The stand-alone scripts that showed the findings of this very line: name in the index -> source.

    Those of a remedy have names such as ``FIX-4-NST-4``: each shows a scenario that the remedy does not cure.
    """
    folder = results / "reproducers"
    lines: list[ScenarioLine | CureLine] = [line, *(line_of_cure(line, cured) for cured in line.get("cures") or ())]
    known = [each for each in lines if (header["cell"], each["scenario"]) in _scripts(folder)]
    found = {str(each["scenario"]): source_of(folder, each, header) for each in known}
    return {name: source for name, source in found.items() if source}


def no_script(results: Path, line: ScenarioLine, header: Header) -> str:
    """Why there is no script of a line that does not comply, and what to type for one where nobody has tried."""
    index, key = _index(results / "reproducers"), (header["cell"], line["scenario"])
    for kind, text in (("not_written", "No stand-alone script could be written: {}"), ("defects", "No script: {}")):
        for entry in index.get(kind, []):
            if (entry.get("cell"), entry.get("scenario")) == key:
                return text.format(f"{entry.get('why') or 'the reason is not known'}.")
    command = f"python -m matrix reproduce --cell {key[0]} --scenario {key[1]}"
    return f"A stand-alone script is written, and run, by: {command}"


def loops_of(table: Table, driver: str | None = None, loop: str = "uvloop") -> list[dict[str, Any]]:
    """Of the scripts of each of these cells, how many of ``count`` showed their finding under another event loop too
    (``reproduce --loop``), and the ``others``: scenario, page, and how the script ended."""
    found = []
    for column in table.columns:
        if column.result is None or driver not in (None, column.driver):
            continue
        entries = (e for e in _written(column.result.path.parent / "reproducers") if e.get("cell") == column.cell)
        for shown, others in under_loop(entries, loop).values():
            pages = [table.page_of(column.cell, str(entry.get("remedy") or entry["scenario"])) for entry in others]
            missing = [(e["scenario"], page, e["loops"][loop]["why"]) for e, page in zip(others, pages, strict=True)]
            count = len(shown) + len(others)
            found.append({"cell": column.cell, "shown": len(shown), "count": count, "others": missing})
    return found


@cache
def _scripts(folder: Path) -> frozenset[tuple[Any, Any]]:
    return frozenset((entry.get("cell"), entry.get("scenario")) for entry in _written(folder))


def _written(folder: Path) -> Sequence[Mapping[str, Any]]:
    entries: Sequence[Mapping[str, Any]] = _index(folder).get("reproducers", ())
    return entries


@cache
def _index(folder: Path) -> Mapping[str, Any]:
    return read_index(folder)

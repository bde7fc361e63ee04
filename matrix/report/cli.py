"""``python -m matrix report``: the table in the terminal, the pages, and whether everything is as expected."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import errno
import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matrix.results import cli as results
from matrix.results.expectations import FOLDER, ExpectationError
from matrix.results.read import CellState, ResultError, read_folder
from matrix.results.text import clean, refuse, refusing

ROOT = Path(__file__).resolve().parents[2]


def register(commands: Any) -> None:
    """Adds ``report`` and ``headline``."""
    report = commands.add_parser("report", help="results -> table in the terminal, pages, Markdown, JSON")
    report.add_argument("--results", default="results", metavar="FOLDER", help="folder to read (default: results)")
    report.add_argument("--out", default="build", metavar="FOLDER", help="folder to write (default: build)")
    report.add_argument(
        "--older", nargs="+", default=[], metavar="FOLDER", help="older results, each to be chosen on the site"
    )
    report.add_argument("--address", default="", metavar="URL", help="where the site will be, for badges and the feed")
    about = "where the project is, for links (default: as CI says)"
    report.add_argument("--repository", default=_repository(), metavar="URL", help=about)
    report.add_argument(
        "--docs", action="store_true", help="write the tables of README.md, docs/table.md and docs/findings.md as well"
    )
    results.add_demands(report)
    report.set_defaults(handler=_report)
    found = commands.add_parser("headline", help="results -> the first answer, a row for each question, as Markdown")
    found.add_argument("results", nargs="?", default="results", metavar="FOLDER", help="to read (default: results)")
    found.set_defaults(handler=_headline)
    fixes = commands.add_parser("fixes", help="results with and without candidates -> the tables of docs/fix.md")
    fixes.add_argument("results", nargs="+", metavar="FOLDER", help="the release's cells, and the candidates'")
    fixes.add_argument("--page", default=str(ROOT / "docs" / "fix.md"), metavar="FILE", help="to fill: docs/fix.md")
    fixes.set_defaults(handler=_fixes)


def _repository() -> str:
    """The repository's address where GitHub runs this; empty elsewhere."""
    server, name = (os.environ.get(f"GITHUB_{key}", "") for key in ("SERVER_URL", "REPOSITORY"))
    return f"{server}/{name}" if server and name else ""


@refusing(1, ResultError, ExpectationError)
def _headline(options: argparse.Namespace) -> int:
    from matrix.report import view
    from matrix.report.markdown import headline_lines
    from matrix.report.read import read

    lines = list(headline_lines(view.build(read(options.results), FOLDER)))
    if not lines:
        return refuse(f"{options.results}: no complete result in the folder; run the cells first (tox)", 1)
    print("\n".join(lines))
    return 0


def _fixes(options: argparse.Namespace) -> int:
    from matrix.report.fixes import update

    try:
        states = [state for folder in options.results for state in read_folder(folder)]
        worse = update(states, Path(options.page))
    except (ResultError, ValueError, OSError) as problem:
        return refuse(problem, 1)
    for each in worse:
        print(clean(each))
    print(f"{options.page}: {len(worse)} lines are worse with a candidate")
    return 0


@refusing(1, ResultError, ExpectationError)
def _report(options: argparse.Namespace) -> int:
    from matrix.maker import clean_up_when_told_to_end
    from matrix.report.read import read
    from matrix.results import documents

    for name in ("address", "repository"):
        given = getattr(options, name)
        if given and not given.startswith(("https://", "http://")):
            return refuse(f"--{name} {given}: not an address that begins with https:// or http://", 1)
    clean_up_when_told_to_end()
    states = read(options.results)
    if not states:
        return refuse(f"{options.results}: no result file in the folder; run the cells first (tox)", 1)
    older, problems = [read(folder) for folder in options.older], results.problems(states, options)
    return _publish(states, older, problems, documents.read_folder(options.results), options)


def _publish(
    states: Sequence[CellState],
    older: Sequence[Sequence[CellState]],
    problems: Sequence[str],
    documents: dict[str, Any],
    options: argparse.Namespace,
) -> int:
    from matrix.report import files, pages, readme, runs, site, suite, terminal, view
    from matrix.report.markdown import markdown

    table, out = view.build(states, options.expectations, problems), Path(options.out)
    table = dataclasses.replace(table, documents=documents)
    address = f"{options.address.rstrip('/')}/" if options.address else ""
    before = runs.runs(table, older, options.expectations)
    how = pages.SiteOptions(before, address, repository=options.repository.rstrip("/"))
    _tolerant(sys.stdout)
    terminal.show(table)  # first what people wait for: to build the pages takes longer
    for fact in suite.facts(documents):
        print(fact.text)
    sys.stdout.flush()
    try:
        index = site.build(table, out, how)
        files.write(out / "table.md", markdown(table))
        documents_written = readme.update(table, ROOT) if options.docs else []
    except ValueError as problem:
        return refuse(f"README.md: {problem}", 1)
    except OSError as problem:
        if problem.errno == errno.EMFILE:  # no fault of the folder's
            raise
        return refuse(f"cannot write to {out}: {problem.strerror or problem}", 1)
    terminal.tail(problems, [index, out / "table.md", out / "results.json", *documents_written])
    return 1 if problems else 0


def _tolerant(stream: Any) -> None:
    """A terminal that lacks a glyph shows another character instead of ending the report."""
    if isinstance(stream, io.TextIOWrapper):
        with contextlib.suppress(ValueError, OSError):
            stream.reconfigure(errors="replace")

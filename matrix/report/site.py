"""The static pages: home, patterns, scenarios, drivers, cells, evidence, methods, changes; data beside each of them.

Pages refer to each other relatively, so they work from a folder and wherever the site is published; the one script adds
filters and search, nothing needs it. Evidence is read from the result files page by page, so that its size does not
matter; cells are built in several processes where there are many.
"""

from __future__ import annotations

import lzma
import os
import re
import shlex
from collections.abc import Iterable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from markupsafe import Markup

from matrix.lines import ScenarioLine
from matrix.report import (
    attachments,
    badges,
    errors,
    files,
    headline,
    junit,
    patterns,
    published,
    runs,
    search,
    suite,
    view,
    web,
)
from matrix.report.changes import feed
from matrix.report.coverage import coverage
from matrix.report.marks import style_rules
from matrix.report.pages import HERE, Site, SiteOptions, compile_templates, page, put, templates
from matrix.report.summary import Group, Summary, axis_ranges, by_driver, group, summarise
from matrix.report.workers import Call, each
from matrix.results import schema
from matrix.results.ranges import AXES, version_key
from matrix.results.read import BadLine, CellResult, parse, read_cell
from matrix.words import NOT_APPLICABLE, NOT_RUN, rank

MESSAGES = 4  # of errors that a pattern names
FEW = 4  # cells that are built faster without more processes
# Quick, and with all of a file in view: what scenarios repeat stands far apart.
XZ = [{"id": lzma.FILTER_LZMA2, "preset": 3, "dict_size": 1 << 24}]
METHODS = HERE.parents[1] / "docs" / "methods.md"


def build(table: view.Table, out: str | os.PathLike[str], options: SiteOptions | None = None) -> Path:
    """Writes ``<out>/site`` and ``<out>/results.json``; returns the index page. Raises OSError, and a ResultError when
    a result file has changed since it was read."""
    out, options = Path(out), options or SiteOptions()
    with files.replaced_folder(out / "site") as folder:
        site = Site(table, folder, options, file_names(table.drivers), _releases(table), _programs(table))
        len(site.patterns)  # before there are more processes
        for path in ("cells", "scenarios", "drivers", "badges", "tortoise"):
            (folder / path).mkdir()
        summary = files.as_json_lines(published.summary(site), "cells")
        calls: list[Call] = [(_shared, (site, summary))]
        calls += [(whole, (site,)) for whole in (_patterns_and_errors, _methods, _fix, _changes)]
        calls += [(_run, (site, run)) for run in options.older]
        calls += [(_document, (site, kind)) for kind in table.documents]
        calls += [(_home, (site, release)) for release in ("", *site.releases)]
        calls += [(_driver, (site, driver)) for driver in site.drivers]
        calls += [(_scenario, (site, name)) for name in site.rows]
        calls += [(_cell, (site, column)) for column in table.columns]
        compile_templates()
        each(options.workers if options.workers or len(table.columns) > FEW else 1, calls)
    files.write(out / "results.json", summary)
    return out / "site" / "index.html"


# -- names of files --------------------------------------------------------------------------------------------------


def file_names(names: Iterable[str]) -> dict[str, str]:
    """A file name for each name, without ending: what a path may hold stays, and no two are the same."""
    found: dict[str, str] = {}
    for name in names:
        base = re.sub(r"[^A-Za-z0-9._+-]+", "-", name)[:80].strip(".-") or "unnamed"
        taken, number, one = set(found.values()), 1, base
        while one in taken:
            number += 1
            one = f"{base}-{number}"
        found[name] = one
    return found


def _releases(table: view.Table) -> dict[str, str]:
    """Files of the releases of Tortoise, newest first; none when there is only one."""
    found = {column.tortoise for column in table.columns if column.result and column.tortoise}
    return file_names(sorted(found, key=version_key, reverse=True)) if len(found) > 1 else {}


def _programs(table: view.Table) -> dict[str, str]:
    """The program of each scenario: from the first cells that ran it."""
    wanted = set(table.rows)
    found: dict[str, str] = {}
    for column in table.columns:
        ran = {line["scenario"] for line in column.result.scenarios if _ran(line)} if column.result else set()
        if column.result and wanted & ran:
            for line in read_cell(column.result.path).scenarios:
                program = (line.get("evidence") or {}).get("program") if isinstance(line.get("evidence"), dict) else ""
                found |= {line["scenario"]: str(program)} if program and line["scenario"] in wanted else {}
            wanted -= ran
    return found


def _ran(line: ScenarioLine) -> bool:
    return line["verdict"] not in (NOT_APPLICABLE, NOT_RUN)


# -- what belongs to the whole ---------------------------------------------------------------------------------------


def _shared(site: Site, summary: bytes) -> None:
    put(site, "results.json", summary)
    for path in schema.HERE.glob("*.schema.json"):
        put(site, path.name, path.read_bytes())
    put(site, "style.css", (HERE / "style.css").read_bytes() + files.encode(style_rules()))
    put(site, "matrix.js", (HERE / "matrix.js").read_bytes())
    page(site, "cells/index.html", "cells.html")
    # Every cell has a JUnit file of its own; those of several have the newest, or each word would be there four times.
    put(site, "junit.xml", junit.junit((each.cell, each.scenarios) for each in site.table.newest_runs))


def _home(site: Site, release: str) -> None:
    """The home page, of one release of Tortoise or of all (an empty text)."""
    columns = site.table.columns
    places = [place for place, column in enumerate(columns) if release in ("", column.tortoise)]
    path = f"tortoise/{site.releases[release]}.html" if release else "index.html"
    facts = suite.facts(site.table.documents)
    page(site, path, "home.html", tortoise=release, facts=facts, **home_tables(site, places))


def home_tables(site: Site, places: Iterable[int]) -> dict[str, Any]:
    """The three tables of the home page for some of the cells."""
    table = site.table
    groups = group(table.columns, places)
    drivers = by_driver(groups)
    return {
        "groups": groups,
        "drivers": list(drivers.items()),
        "answers": headline.lines(table, list(drivers.values())),
        "remedies": [(row, _row_places(row, groups)) for row in table.remedies],
        "families": [(family, [(row, _row_places(row, groups)) for row in family.rows]) for family in table.plain],
    }


def _row_places(row: view.Row, groups: Sequence[Group]) -> list[Summary]:
    return [summarise([each], row.marks) for each in groups]


def _patterns_and_errors(site: Site) -> None:
    """The pages of what people write and of error messages, and the search's index, which knows both."""
    known, requests = site.patterns, web.requests(site.table.documents.get("web"))
    found = errors.collect(site.table)
    errors_of = {
        each.key: [error for error in found if not set(each.scenarios).isdisjoint(error.scenarios)][:MESSAGES]
        for each in known
    }
    shown = {"patterns": known, "groups": site.table.groups, "web": requests, "errors_of": errors_of}
    measured = web.programs(site.table.documents.get("web"))
    page(site, "patterns.html", "patterns.html", **shown, programs=measured)
    page(site, "errors.html", "errors.html", errors=found, pattern_of=lambda error: search.pattern_of(error, known))
    put(site, "search.js", search.script(search.index(site.table, found, known, search.read_words())))


def _prose(file: Path) -> dict[str, Any]:
    """A page of docs as HTML: its ``lead``, its ``body`` and the ``heads`` in it."""
    from markdown_it import MarkdownIt

    text = re.sub(r"<!-- .*? -->\n", "\n", file.read_text("utf-8"))
    tokens = MarkdownIt("commonmark", {"html": False}).enable("table")
    body = tokens.render(re.sub(r"\A# .*\n", "", text))
    body = re.sub(r"<(h[2-6])>(.*?)</\1>", _with_id, body).replace("<th>", '<th scope="col">')
    scroll = '<div class="scroll" role="group" aria-label="Rules" tabindex="0">'
    body = body.replace("<table>", f'{scroll}<table><caption class="hidden">Rules</caption>')
    body = body.replace("</table>", "</table></div>")
    body = re.sub(r'<a href="(?!https?:|#)[^"]*">(.*?)</a>', r"\1", body, flags=re.DOTALL)
    lead, _, body = body.partition("</p>")  # the page begins with a paragraph
    heads = [(name, Markup(title)) for name, title in re.findall(r'<h2 id="([^"]*)">(.*?)</h2>', body)]
    return {"lead": Markup(lead.removeprefix("<p>")), "body": Markup(body), "heads": heads}


def _methods(site: Site) -> None:
    facts, cover = suite.facts(site.table.documents), coverage(site.table)
    loops = attachments.loops_of(site.table)
    page(site, "methods.html", "methods.html", **_prose(METHODS), facts=facts, cover=cover, loops=loops)


def _fix(site: Site) -> None:
    page(site, "fix.html", "fix.html", **_prose(METHODS.with_name("fix.md")))


def _document(site: Site, kind: str) -> None:
    """A page of what the suite knows of itself, such as the faults that it caught."""
    document = site.table.documents[kind]
    if kind not in suite.PARTS:
        page(site, f"{kind}.html", f"{kind}.html", **suite.seen(kind, document))
    put(site, f"{kind}.json", files.as_json(document))


def _with_id(match: re.Match[str]) -> str:
    name = re.sub(r"[^a-z0-9]+", "-", re.sub("<[^>]*>", "", match.group(2)).lower()).strip("-")
    return f'<{match.group(1)} id="{name}">{match.group(2)}</{match.group(1)}>'


def _changes(site: Site) -> None:
    table = site.table
    releases = []
    for row in site.rows.values():
        for each_group in table.groups:
            for axis, name in AXES.items():
                found = axis_ranges([each_group], axis, row.marks)
                if len(found) > 1:
                    releases.append((row, each_group, name, found))
    older, address = site.options.older, site.options.address
    page(site, "changes.html", "changes.html", releases=releases, since=older[0] if older else None)
    starts = [run.header["started"] for column in table.columns if (run := column.result or column.state.attempt)]
    newest = max(starts, default="1970-01-01T00:00:00Z")
    put(site, "feed.xml", feed(older[0].changes if older else (), newest, address, table.page_of))
    if address:  # what GitHub shows, at any depth, for what is not there
        page(site, "404.html", "missing.html", root=address)


def _run(site: Site, run: runs.OlderRun) -> None:
    """The table of an older run, and what changed since."""
    page(site, f"runs/{run.name}/changes.html", "changes.html", since=run)
    then = Site(run.table, site.folder, site.options, site.drivers)
    tables = home_tables(then, range(len(run.table.columns)))
    page(then, f"runs/{run.name}/index.html", "run.html", run=run, tortoise="", **tables)


# -- scenarios and drivers -------------------------------------------------------------------------------------------


def _scenario(site: Site, name: str) -> None:
    table, row, names = site.table, site.rows[name], list(site.rows)
    having = [(column.cell, column.result.by_id) for column in table.columns if column.result]
    lines = {cell: by_id[name] for cell, by_id in having if name in by_id}
    newest = (lines.get(run.cell) for run in table.newest_runs)
    at = names.index(name)
    page(
        site,
        f"scenarios/{name}.html",
        "scenario.html",
        row=row,
        line=next((line for line in newest if line), {}),
        lines=lines,
        ran=next((cell for cell, line in lines.items() if _ran(line)), ""),
        places=_row_places(row, table.groups),
        charts=[(of, charts(of, row)) for of in table.groups],
        cures=_cures_of(table, name),
        before=names[at - 1] if at else None,
        after=names[at + 1] if at + 1 < len(names) else None,
    )
    put(site, f"scenarios/{name}.json", files.as_json_lines(published.scenario(site, row), "cells"))
    shown = [(run.cell, [run.by_id[name]]) for run in table.newest_runs if name in run.by_id]
    put(site, f"scenarios/{name}.xml", junit.junit(shown))


def charts(of: Group, row: view.Row) -> list[dict[str, Any]]:
    """The timeline of a row in a group: per axis with several versions its ranges, with how many versions each has."""
    found = []
    for axis, name in AXES.items():
        places = [place for place in of.along[axis] if rank(row.marks[place].word) >= 0]
        if len({of.axes[place].get(axis) for place in places}) < 2:
            continue
        parts = []
        for span in axis_ranges([of], axis, row.marks):
            low, high = version_key(span.low), version_key(span.high)
            own = [place for place in places if low <= version_key(str(of.axes[place].get(axis) or "")) <= high]
            link = next((row.marks[place].href for place in reversed(own) if row.marks[place].word == span.word), None)
            versions = [str(of.axes[place].get(axis) or "") for place in own]
            parts.append({"range": span, "versions": versions, "href": link})
        found.append({"axis": name, "parts": parts})
    return found


def _cures_of(table: view.Table, name: str) -> list[tuple[view.Row, list[view.Mark]]]:
    """The remedies that are run over a scenario, with its word under each in the newest cell of every group."""
    found = []
    for row in table.remedies:
        marks = [patterns.cured(table.columns[each.newest], row.scenario, [name]) for each in table.groups]
        if any(rank(mark.word) >= 0 for mark in marks):
            found.append((row, marks))
    return found


def _driver(site: Site, driver: str) -> None:
    table, name = site.table, site.drivers[driver]
    own = [each for each in table.groups if each.driver == driver]
    places = [place for place, column in enumerate(table.columns) if column.driver == driver]
    answers = headline.lines(table, [own])
    # The badge answers the question of the table's first row in its words; there is no overall score.
    shown = [_badge(site, name, driver, line.places[0]) for line in answers if line.kind == "sharing"]
    page(
        site,
        f"drivers/{name}.html",
        "driver.html",
        driver=driver,
        name=name,
        groups=own,
        places=places,
        answers=answers,
        badges=shown,
        loops=attachments.loops_of(table, driver),
        rows=[(family, [(row, _row_places(row, own)) for row in family.rows]) for family in table.families],
    )
    put(site, f"drivers/{name}.json", files.as_json_lines(published.driver(site, driver), "cells"))
    runs_of = (run for run in table.newest_runs if run.axes["driver"] == driver)
    put(site, f"drivers/{name}.xml", junit.junit((run.cell, run.scenarios) for run in runs_of))


def _badge(site: Site, name: str, driver: str, place: Summary) -> dict[str, Any]:
    label = f"{driver} coroutine-safe"
    message = badges.message(f"({place.detail})" if place.detail else "", place.versions)
    put(site, f"badges/{name}.svg", files.encode(badges.svg(label, place.word, message)))
    put(site, f"badges/{name}.json", files.as_json(badges.endpoint(label, place.word, message)))
    alt = f"{label}: {badges.message(place.word, message)}"
    return {"file": f"badges/{name}", "label": label, "alt": alt, "word": place.word}


# -- cells and evidence ----------------------------------------------------------------------------------------------


def _cell(site: Site, column: view.Column) -> None:
    """All pages of one cell, with their data."""
    run = column.result
    values: dict[str, Any] = {"run": run or column.state.attempt}
    if run is not None:
        values |= {"stamp": runs.stamp(run), "earlier": runs.otherwise(site.options.older, run)}
    page(site, f"cells/{column.cell}/index.html", "cell.html", column=column, **values)
    put(site, f"cells/{column.cell}.json", files.as_json_lines(published.cell(site.table, column), "scenarios"))
    put(site, f"cells/{column.cell}.xml", junit.junit([(column.cell, run.scenarios if run else ())]))
    if run is None:
        return
    whole = run.path.read_bytes()
    raw = BytesIO(whole).readlines()[1:-1]  # between header and footer: a line for each scenario
    if len(raw) != len(run.scenarios):
        raise BadLine(run.path, "the file has changed since it was read: build the report again", 1)
    put(site, f"cells/{column.cell}.jsonl.xz", lzma.compress(whole, filters=XZ))
    versions = Markup(templates().get_template("versions.html").render(header=run.header))
    for text, short in zip(raw, run.scenarios, strict=True):
        if site.table.pages[column.cell, short["scenario"]] == column.cell:
            _evidence(site, column, run, parse(text), versions)


def _evidence(site: Site, column: view.Column, run: CellResult, line: ScenarioLine, versions: Markup) -> None:
    name, cell = line["scenario"], column.cell
    row = site.rows[name]
    place = site.table.columns.index(column)
    of_group = next(group.newest for group in site.table.groups if place in group.places)
    # Whose page shows all there is, and is what can be taken upstream; empty of that one.
    newest = site.table.columns[of_group].cell if of_group != place else ""
    fault = site.table.faults.get((cell, name), "")
    scripts = attachments.reproducers(run.path.parent, line, run.header)
    lacks = line["complies"] is False and name not in scripts
    absent = attachments.no_script(run.path.parent, line, run.header) if lacks else ""
    for scenario, script in scripts.items():
        put(site, f"cells/{cell}/{scenario}.py", files.encode(script))
    page(
        site,
        f"cells/{cell}/{name}.html",
        "evidence.html",
        column=column,
        row=row,
        line=line,
        mark=row.marks[place],
        newest=newest,
        same=site.table.same(cell, name),
        earlier=runs.said_of(site.options.older, run, name),
        expectation=site.table.expected.get((cell, name)),
        versions=versions,
        stamp=runs.stamp(run),
        replay=replay_command(cell, name, line.get("schedule")),
        absent=absent,
        upstream="" if newest else attachments.upstream_text(line, run.header, scripts.get(name), fault, absent),
        reproducers={scenario: f"{scenario}.py" for scenario in scripts},
    )


def replay_command(cell: str, scenario: str, schedule: Any) -> str:
    """What to type to see the deciding schedule again; empty where there is none."""
    if not schedule:
        return ""
    return shlex.join(["python", "-m", "matrix", "replay", cell, scenario, str(schedule)])

"""What all pages share: the site that they are of, the templates, and how a page is written into it.

Every value in a template is escaped; harmful characters are spelled out on the whole page.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import jinja2

from matrix.harness.drivers import drivers
from matrix.report import attachments, evidence, files, headline, listing, patterns, view
from matrix.report.marks import glyph, style_class
from matrix.report.patterns import Pattern
from matrix.report.runs import OlderRun
from matrix.results.text import clean
from matrix.words import LEVEL_MEANS, LEVEL_NAMES, NOT_VERDICTS, REMEDY_MEANS, VERDICT_MEANS, VERDICTS, rank

HERE = Path(__file__).parent
STOOD_ON = ("tortoise/tortoise-orm", "python/cpython")  # projects whose threads are about what every cell runs
RAISED = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True)
class SiteOptions:
    """How a site is built. ``older``: the runs before, newest first. ``address``: where the site will be, for what
    cannot be relative. ``workers``: processes, None for as many as make sense. ``repository``: its address, without an
    ending."""

    older: tuple[OlderRun, ...] = ()
    address: str = ""
    workers: int | None = None
    repository: str = ""

    @property
    def checkout(self) -> str:
        """What to type before anything can be run; empty where the repository's address is not known."""
        name = self.repository.rpartition("/")[2]
        return f"git clone {self.repository} && cd {name} && " if name else ""


@dataclass(frozen=True)
class Site:
    """What all pages share."""

    table: view.Table
    folder: Path
    options: SiteOptions = field(default_factory=SiteOptions)
    drivers: dict[str, str] = field(default_factory=dict)  # name -> file name without its ending
    releases: dict[str, str] = field(default_factory=dict)  # of Tortoise, newest first -> the same
    programs: dict[str, str] = field(default_factory=dict)

    @cached_property
    def patterns(self) -> tuple[Pattern, ...]:
        """What people write, with what the results say of it."""
        return patterns.build(self.table)

    def patterns_of(self, scenario: str) -> list[Pattern]:
        """Those that a scenario measures, or that a remedy was run over."""
        named = [(each, {*each.scenarios, *(cure.scenario for cure in each.cures)}) for each in self.patterns]
        return [pattern for pattern, scenarios in named if scenario in scenarios]

    @property
    def rows(self) -> dict[str, view.Row]:
        return self.table.rows


@cache
def templates() -> jinja2.Environment:
    """Templates in which every value is escaped; keys that a result line may lack are empty."""
    pages = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=jinja2.ChainableUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: "" if value is None else value,
        auto_reload=False,
    )
    pages.globals |= {
        "headline": headline,
        "glyph": glyph,
        "style_class": style_class,
        "means": {**VERDICT_MEANS, **REMEDY_MEANS},
        "verdict_means": {word: VERDICT_MEANS[word] for word in VERDICTS},
        "other_means": {word: VERDICT_MEANS[word] for word in NOT_VERDICTS},
        "remedy_means": REMEDY_MEANS,
        "level_means": LEVEL_MEANS,
        "level_names": LEVEL_NAMES,
        "counts": view.counts,
        "read_evidence": evidence.read,
        "history_of": listing.history,
        "frames_of": listing.frames,
        "diagram_of": attachments.diagram,
        "orders_in_words": orders_in_words,
        "is_link": is_link,
        "other_project": other_project,
        "natural": view.natural,
    }
    return pages


def compile_templates() -> None:
    """All of them, so that processes that are forked from this one have them already."""
    for name in templates().list_templates():
        templates().get_template(name)


def is_link(text: Any) -> bool:
    """Whether a text from outside may become a link: http and https only."""
    return isinstance(text, str) and text.startswith(("https://", "http://"))


def other_project(link: str, driver: str) -> str:
    """The project on GitHub of whose thread a link is, where it is neither the driver's nor what both stand on: there
    stands the same, found by others. Empty for what is its own."""
    found = re.match(r"https://github\.com/(?P<repository>[^/]+/(?P<name>[^/]+))/", link)
    releases = drivers()[driver].releases if driver in drivers() else {}
    own = (*STOOD_ON, *(str(address).removeprefix("https://github.com/") for address in releases.values()))
    return found["name"] if found and not any(f"{each}/".startswith(f"{found['repository']}/") for each in own) else ""


def orders_in_words(orders: Any) -> str:
    """``10 of about 420 orders explored: 7 hangs, 2 safe, 1 lies``."""
    if not isinstance(orders, Mapping) or not orders.get("explored"):
        return ""
    explored, possible, estimate = orders["explored"], orders.get("possible"), orders.get("estimate")
    about = f" of about {_about(estimate)}" if isinstance(estimate, (int, float)) else ""
    many = f" of {possible}" if possible is not None else about
    verdicts = orders.get("verdicts")
    pairs = sorted(verdicts.items(), key=lambda pair: -rank(pair[0])) if isinstance(verdicts, Mapping) else ()
    which = ", ".join(f"{count} {word}" for word, count in pairs)
    apart = orders.get("situation_not_met")
    which += f"{', ' if which else ''}{apart} without the situation, not judged" if apart else ""
    if again := orders.get("made_again"):
        times = "once" if len(again) == 1 else f"{len(again)} times"
        which += f"; {times} the process of a run failed, and the run was not judged but made again ({again[0]})"
    rest = "" if many else ", more are possible"
    if orders.get("on_record") is not None:
        rest = ", known schedules first, which gave the same verdict before"
    text = f"{explored}{many} order{'' if (possible or explored) == 1 else 's'} explored{rest}"
    return f"{text}: {which}" if which else text


def _about(estimate: float) -> str:
    """``420``, ``184,756`` or ``6.7·10⁴²``: of a large estimate more digits would say what nobody knows."""
    if estimate < 1e9:
        return f"{estimate:,}"
    first, _, power = f"{estimate:.1e}".partition("e")
    return f"{first}·10{str(int(power)).translate(RAISED)}"


def render(site: Site, path: str, template: str, **values: Any) -> str:
    """A page; ``path`` is from the root of the site. Harmful characters are spelled out on the whole page."""
    shared = {"site": site, "table": site.table, "path": path, "root": "../" * path.count("/")}
    shared["checkout"] = site.options.checkout
    return clean(templates().get_template(template).render(**{**shared, **values}))


def page(site: Site, path: str, template: str, **values: Any) -> None:
    files.put(site.folder / path, files.encode(render(site, path, template, **values)))


def put(site: Site, path: str, content: bytes) -> None:
    files.put(site.folder / path, content)

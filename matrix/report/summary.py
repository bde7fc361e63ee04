"""Many cells in few columns: one per driver and kind of server, with the verdict of its newest cell, and what older or
other releases give as ranges. Pure functions of the columns and marks of ``view``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matrix.report.marks import glyph
from matrix.results.ranges import AXES, Range, along, newest, ranges, version_key
from matrix.words import rank

Marks = Mapping[int, Any] | Sequence[Any]  # the mark (``view.Mark``) of each column


@dataclass(frozen=True)
class Group:
    """The cells of one driver on one kind of server. ``places`` and the values of ``along`` are columns of the table;
    ``along`` holds, per axis, the cells that show how things change along it, oldest version first."""

    key: str
    driver: str
    server_kind: str
    server: str
    places: tuple[int, ...]
    newest: int
    along: Mapping[str, tuple[int, ...]]
    axes: Mapping[int, Mapping[str, Any]]

    def versions(self, axis: str) -> tuple[str, ...]:
        """All tested versions on an axis, oldest first; cells that have none there are passed over."""
        found = {str(self.axes[place].get(axis) or "") for place in self.places} - {""}
        return tuple(sorted(found, key=version_key))

    def span(self, axis: str) -> str:
        """``0.2.0 – 0.3.2``, or the only version."""
        found = self.versions(axis)
        return f"{found[0]} – {found[-1]}" if len(found) > 1 else "".join(found)


@dataclass(frozen=True)
class Span:
    """A word on a range of versions; ``axis`` is empty for versions of the driver."""

    word: str
    versions: str
    axis: str
    href: str | None


@dataclass(frozen=True)
class Summary:
    """What stands in one place of the table: the newest word, its range, the other ranges, and on which axes the word
    changes. ``count``: how many of a question's scenarios comply. ``elsewhere``: a word worse than all these, how many
    other cells have it, and where one is."""

    word: str
    href: str | None = None
    versions: str = ""
    spans: tuple[Span, ...] = ()
    changed: tuple[str, ...] = ()
    detail: str = ""
    reason: str = ""
    unexpected: bool = False
    count: str = ""
    racing: str = ""
    elsewhere: tuple[str, int, str | None] | None = None

    @property
    def glyph(self) -> str:
        return glyph(self.word)

    @property
    def words(self) -> tuple[str, ...]:
        """Every word that is shown here, for filters."""
        found = [self.word, *(span.word for span in self.spans), *([self.elsewhere[0]] if self.elsewhere else [])]
        return tuple(dict.fromkeys(found))


def group(columns: Sequence[Any], places: Iterable[int]) -> tuple[Group, ...]:
    """The groups of these columns, in the order of the columns; only cells with a complete result count."""
    found: dict[tuple[str, str], list[int]] = {}
    for place in places:
        if columns[place].result is not None:
            found.setdefault((columns[place].server_kind, columns[place].driver), []).append(place)
    return tuple(_group(columns, own) for own in found.values())


def by_driver(groups: Iterable[Group]) -> dict[str, list[Group]]:
    """The groups of each driver, by its name."""
    found: dict[str, list[Group]] = {}
    for each in sorted(groups, key=lambda group: group.driver):
        found.setdefault(each.driver, []).append(each)
    return found


def _group(columns: Sequence[Any], places: Sequence[int]) -> Group:
    first = columns[places[0]]
    axes = [columns[place].result.header["axes"] for place in places]
    return Group(
        key=f"{first.server_kind}-{first.driver}",
        driver=first.driver,
        server_kind=first.server_kind,
        server=first.server,
        places=tuple(places),
        newest=places[newest(axes)],
        along={axis: tuple(places[at] for at in along(axes, axis)) for axis in AXES},
        axes=dict(zip(places, axes, strict=True)),
    )


def summarise(groups: Sequence[Group], marks: Marks) -> Summary:
    """One place of the table, for the groups of one driver."""
    shown = max((marks[group.newest] for group in groups), key=lambda mark: rank(mark.word))
    spans: list[Span] = []
    changed, versions = [], ""
    for axis, name in AXES.items():
        found = axis_ranges(groups, axis, marks)
        if len(found) < 2:
            continue
        changed.append(name)
        others = list(found)
        if found[-1].word == shown.word:
            others.pop()
            versions = found[-1].versions if name == "driver" else versions
        for each in reversed(others):
            href = _shows(groups, axis, marks, each)
            spans.append(Span(each.word, each.versions, "" if name == "driver" else name, href))
    return Summary(
        word=shown.word,
        href=shown.href,
        versions=versions,
        spans=tuple(spans),
        changed=tuple(changed),
        detail=shown.detail,
        reason=shown.reason,
        racing=shown.racing,
        unexpected=any(marks[place].note == "unexpected" for each in groups for place in each.places),
        elsewhere=_elsewhere(groups, marks, [shown.word, *(span.word for span in spans)]),
    )


def axis_ranges(groups: Sequence[Group], axis: str, marks: Marks) -> tuple[Range, ...]:
    """The words of these groups along an axis. Versions of several kinds of servers are not one axis: no range."""
    if axis == "server_version" and len({each.server_kind for each in groups}) > 1:
        return ()
    places = [(each.axes[place], place) for each in groups for place in each.along[axis]]
    return ranges((str(axes.get(axis) or ""), marks[place].word) for axes, place in places)


def _shows(groups: Sequence[Group], axis: str, marks: Marks, wanted: Range) -> str | None:
    """The evidence of the newest cell in a range that has its word."""
    low, high = version_key(wanted.low), version_key(wanted.high)
    for each in groups:
        for place in reversed(each.along[axis]):
            if low <= version_key(str(each.axes[place].get(axis) or "")) <= high and marks[place].word == wanted.word:
                return str(marks[place].href) if marks[place].href else None
    return None


def _elsewhere(groups: Sequence[Group], marks: Marks, shown: Sequence[str]) -> tuple[str, int, str | None] | None:
    most = max(rank(word) for word in shown)
    worse = [marks[place] for each in groups for place in each.places if rank(marks[place].word) > max(most, 0)]
    if not worse:
        return None
    word = max((mark.word for mark in worse), key=rank)
    own = [mark for mark in worse if mark.word == word]
    return word, len(own), own[0].href

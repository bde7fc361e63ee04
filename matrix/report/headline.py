"""The first answer: a row for each question that readers ask, and in words whether a connection may be shared.

A question's word is the worst over its scenarios of ordinary and shared use; misuse has rows of its own, and so have
programs that were made at random. Level ``info`` is not judged and does not count. Pure functions of the rows and marks
of ``view``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from matrix.report.summary import Group, Summary, summarise
from matrix.report.view import Column, Mark, Row, Section, Table, fewest_and_most, span
from matrix.results.questions import BY_DESIGN, DRIVER, MISUSE, SERVER, questions, questions_asked
from matrix.words import (
    ANSWERS,
    BREAKS,
    ERROR,
    HANGS,
    LIES,
    NOT_APPLICABLE,
    POISONS,
    QUEUES,
    REFUSES,
    SAFE,
    VERDICTS,
    WRONG_DATA,
    rank,
)

CAPTION = (
    "A row for each question: the worst word over its scenarios of ordinary and shared use, and how many of them "
    "comply. The first row says in words what happens when several tasks query on one connection. In rows on drivers, "
    "what is the server's doing or so by design does not count. Programs made at random have rows of their own: what "
    "one of them shows may be known from another row."
)
SHORT = "The answer: the worst word for each question, and how many scenarios comply."
MISUSED = "Below the line: what nobody would defend, reported all the same."
SHARING = "Coroutine-safe per connection?"
UNJUDGED = "No scenario of this question has a verdict here."
KIND = {SAFE: QUEUES, REFUSES: REFUSES, BREAKS: BREAKS, HANGS: BREAKS, POISONS: WRONG_DATA, LIES: WRONG_DATA}


class HeadlineRow(NamedTuple):
    """A row of the headline: a place for each driver. ``kind``: ``sharing``, ``question`` or ``misuse``; ``short``: its
    title in few letters."""

    key: str
    short: str
    title: str
    kind: str
    places: list[Summary]


def by_question(families: Iterable[Section]) -> tuple[tuple[Section, ...], tuple[Section, ...]]:
    """The scenarios by question: those of ordinary and shared use, and those of misuse; in the headline's order."""
    asked = questions_asked()
    known = [(asked[row.scenario], row) for family in families for row in family.rows if row.scenario in asked]
    kinds: list[tuple[Section, ...]] = []
    for misuse in (False, True):
        own = {key: [r for a, r in known if a.question == key and (a.use == MISUSE) is misuse] for key in questions()}
        kinds.append(tuple(Section(key, questions()[key].title, tuple(of)) for key, of in own.items() if of))
    return kinds[0], kinds[1]


def worst_of(question: Section, columns: Sequence[Column], places: Sequence[int]) -> Mark:
    """The worst word of a question's judged scenarios in some cells, linked to the evidence, with how many comply. In a
    question on drivers what is the server's or so by design is named apart, unless nothing else is judged."""
    judged = _judged(question.rows, places)
    if not judged:
        words = {row.marks[place].word for row in question.rows for place in places}
        return Mark(ERROR if ERROR in words else NOT_APPLICABLE, reason=UNJUDGED)
    of_each = {name: max(own, key=_badness) for name, own in judged.items()}
    decides = _deciding(question.key, of_each)
    faults = dict.fromkeys(mark.fault for name, mark in of_each.items() if name not in decides)
    apart = [f"{each}: {', '.join(n for n, mark in of_each.items() if mark.fault == each)}" for each in faults]
    scenario, shown = max(decides.items(), key=lambda each: _badness(each[1]))
    complying = sum(all(mark.complies for mark in judged[name]) for name in decides)
    detail = ""
    if not shown.complies:
        where = [place for place in places if any(row.marks[place].word == shown.word for row in question.rows)]
        servers = sorted({columns[place].server for place in where})
        on = f" on {', '.join(servers)}" if len(where) < len(places) else ""
        detail = ", ".join(filter(None, (f"{scenario}{on}", shown.fault, shown.racing and "races")))
    detail = "; ".join(filter(None, (detail, *apart)))
    whole = complying == len(decides)
    return Mark(shown.word, shown.href, whole, "", shown.reason, detail, shown.fault, f"{complying}/{len(decides)}")


def _deciding(question: str, marks: dict[str, Mark]) -> dict[str, Mark]:
    """Those that decide a question; all where nothing else is judged. Where a driver's conduct is asked for, what does
    not comply and is the server's or so by design decides nothing."""
    if questions()[question].of != DRIVER:
        return marks
    others = (SERVER, BY_DESIGN)
    own = {name: mark for name, mark in marks.items() if mark.complies is not False or mark.fault not in others}
    return own or marks


def sharing(question: Section, places: Sequence[int]) -> Mark:
    """In words what a driver does with queries of several tasks on one connection, in some cells.

    What most scenarios of the question show; of equals the worse. One scenario with wrong data takes the 'yes' away.
    Each scenario that shows something worse is named beside it, as refused where that is all that it does. What is the
    server's or by design decides no more here than in the questions' own rows.
    """
    judged = {name: max(own, key=_badness) for name, own in _judged(question.rows, places).items()}
    if not judged:
        return Mark(NOT_APPLICABLE, reason=UNJUDGED)
    judged = _deciding(question.key, judged)
    shown = [KIND[mark.word] for mark in judged.values()]
    word = max(ANSWERS, key=lambda kind: (shown.count(kind), rank(kind)))
    if word == QUEUES and WRONG_DATA in shown:
        word = WRONG_DATA
    own = next(mark for mark in judged.values() if KIND[mark.word] == word)
    beside: dict[str, list[str]] = {}
    for name, mark in judged.items():
        if rank(KIND[mark.word]) > rank(word):
            how = "refuses in" if mark.complies else "not in"
            beside.setdefault(how, []).append(f"{name} (races)" if mark.racing else name)
    detail = "; ".join([ANSWERS[word], *(f"{how} {', '.join(names)}" for how, names in beside.items())])
    return Mark(word, own.href, None, "", own.reason, detail)


def _judged(rows: Iterable[Row], places: Sequence[int]) -> dict[str, list[Mark]]:
    """The marks of each scenario that is judged in some of these cells."""
    found = {}
    for row in rows:
        own = [row.marks[p] for p in places if row.marks[p].word in VERDICTS and row.marks[p].complies is not None]
        if own:
            found[row.scenario] = own
    return found


def _badness(mark: Mark) -> tuple[bool, int]:
    """What does not comply comes first: a refusal that was promised is nothing against anybody."""
    return mark.complies is False, rank(mark.word)


def summary(of: Callable[[Sequence[int]], Mark], groups: Sequence[Group]) -> Summary:
    """One driver's place in a row: ``of`` its newest cells, and what other releases give."""
    marks = {place: of([place]) for each in groups for place in each.places}
    newest = of([each.newest for each in groups])
    # What newest cells of several servers say together has no place of its own in ``summarise``.
    said = {key: getattr(newest, key) for key in ("word", "detail", "count", "href", "reason")}
    return replace(summarise(groups, marks), **said, unexpected=False)


def lines(table: Table, drivers: Sequence[Sequence[Group]]) -> list[HeadlineRow]:
    """The headline of a table: its title, whether it is below the line, and a place for each driver's groups.

    First the answer in words, then the questions, then the misuse. A line is there when the results ask its question.
    """
    used, misused = by_question(table.families)
    found: list[HeadlineRow] = []
    if used and used[0].key == next(iter(questions())):
        places = [summary(partial(sharing, used[0]), own) for own in drivers]
        found.append(HeadlineRow("shared?", "Coroutine-safe?", SHARING, "sharing", places))
    for kind, some in (("question", used), ("misuse", misused)):
        for each in some:
            title = f"Misuse: {questions()[each.key].misuse}" if kind == "misuse" else each.name
            if made := fewest_and_most(count for row in each.rows for count in row.programs):
                title += f", {span(made)} a line"
            key = f"{each.key}, misuse" if kind == "misuse" else each.key
            short = f"{'Misuse: ' * (kind == 'misuse')}{questions()[each.key].short}"
            places = [summary(partial(worst_of, each, table.columns), own) for own in drivers]
            found.append(HeadlineRow(key, short, title, kind, places))
    return found

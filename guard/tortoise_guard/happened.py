"""What tasks did with one transaction, as plain data, and the rules that read it. Nothing here touches asyncio or
Tortoise: guard.py records, report.py words.

The rules are those of Eraser's locksets: two tasks are in each other's way when they live at the same time, one of them
opens a block or they use two clients of one connection, and no lock is held by both. Whether they really met in this
run does not matter, so no unlucky order and no server is needed to see it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

clock = itertools.count(1)  # an order of events, no time


class Place(NamedTuple):
    """A line of the user's code."""

    file: str
    line: int


NOWHERE = Place("", 0)


class Life:
    """A task: when it was born and died (ticks of ``clock``; None: it lives), who started it, and where."""

    __slots__ = ("born", "cancelled", "died", "failed", "group", "late", "name", "own", "parent", "place", "watched")

    def __init__(self, name: str, born: int, parent: Life | None, place: Place) -> None:
        self.name, self.born, self.parent, self.place = name, born, parent, place
        self.died: int | None = None
        self.late = False  # it used a transaction after its end
        self.watched = False  # its end is being told
        self.cancelled = self.failed = False  # how it ended
        self.own = False  # it runs a coroutine function of the user's
        self.group: Any = None  # the asyncio.TaskGroup that it is of

    def ancestors(self) -> Iterator[Life]:
        life = self.parent
        while life is not None:
            yield life
            life = life.parent

    def lives_at(self, tick: int) -> bool:
        return self.born < tick and (self.died is None or tick < self.died)


@dataclass(frozen=True)
class Use:
    """A task asks something of a transaction: a query, or the begin or end of a block in it."""

    life: Life
    block: bool
    client: int  # which client of the transaction: each has a lock of its own for the one connection
    place: Place
    locks: frozenset[int]
    inside: bool  # of a block that this very task opened: the pair of blocks is what counts then
    tick: int


@dataclass
class Savepoint:
    """A nested block while it is open."""

    life: Life
    client: int
    place: Place
    inserted: list[int] = field(default_factory=list)  # ids of model objects whose rows were inserted in it


@dataclass(eq=False)
class Transaction:
    """An outermost block, from its begin on."""

    alias: str
    owner: Life
    place: Place
    plain: Any  # the client that it was begun from
    loop: Any
    token: Any = None
    ended: bool = False
    alone: bool = True  # only its owner has used it, and nobody was started in it
    statements: int = 0
    elsewhere: Place | None = None  # a statement in this innermost block that went to another connection
    uses: dict[tuple[Any, ...], Use] = field(default_factory=dict)
    open: list[Savepoint] = field(default_factory=list)
    children: list[tuple[Any, Life]] = field(default_factory=list)  # (weak reference to the task, its life)
    askers: set[Life] = field(default_factory=set)
    caught: list[Place] = field(default_factory=list)  # statements that failed outside of a nested block
    inserted: list[int] = field(default_factory=list)
    told: set[tuple[str, Place, Place]] = field(default_factory=set)  # conflicts that are known
    epoch: int = 0  # of births and deaths in it: between two of them one use stands for all of its kind

    def add(self, life: Life, block: bool, client: int, place: Place, locks: frozenset[int], inside: bool) -> None:
        key = (life, block, client, place, locks, inside, self.epoch)
        if key not in self.uses:
            self.uses[key] = Use(life, block, client, place, locks, inside, next(clock))

    def conflicts(self) -> Iterator[tuple[str, Use, Use]]:
        """(rule, one use, the other), each pair of lines once."""
        uses, seen = list(self.uses.values()), self.told
        if len({use.client for use in uses}) < 2 and not any(use.block for use in uses):
            return
        for one, other in itertools.combinations(uses, 2):
            if (rule := _conflict(one, other)) is None:
                continue
            one, other = sorted((one, other), key=lambda use: (not use.block, use.place))
            if (rule, one.place, other.place) not in seen:
                seen.add((rule, one.place, other.place))
                yield rule, one, other

    def failures(self) -> Iterator[tuple[Life, Use]]:
        """A task of a TaskGroup that failed, and a query of another one that might have been cancelled for it."""
        failed = [life for _, life in self.children if life.failed and life.group is not None]
        for life in failed:
            for use in self.uses.values():
                if use.life is not life and use.life.group is life.group and _both_live(use.life, life):
                    yield life, use
                    break


def _conflict(one: Use, other: Use) -> str | None:
    """The rule that two uses break, if any."""
    if one.life is other.life or one.locks & other.locks:
        return None
    if (one.inside and not one.block) or (other.inside and not other.block):
        return None
    if one.block and other.block:
        rule = "sibling-blocks"
    elif one.block or other.block:
        rule = "block-beside-query"
    elif one.client != other.client:
        rule = "two-clients"
    else:
        return None  # plain queries wait for each other at the client's own lock
    return rule if _at_once(one, other) else None


def _at_once(one: Use, other: Use) -> bool:
    """Whether nothing but luck orders the two. What a task does before it starts another, or after that one has ended,
    is ordered; tasks of which neither started the other are not as long as both live, whoever came first this time."""
    if one.life in other.life.ancestors():
        return other.life.lives_at(one.tick)
    if other.life in one.life.ancestors():
        return one.life.lives_at(other.tick)
    return _both_live(one.life, other.life)


def _both_live(a: Life, b: Life) -> bool:
    return (b.died is None or a.born < b.died) and (a.died is None or b.born < a.died)


@dataclass(frozen=True)
class Finding:
    """A rule that was broken: what happened in one sentence, with the lines (``places``) that it names."""

    rule: str
    sentence: str
    places: tuple[Place, ...]

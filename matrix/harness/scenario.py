"""What a scenario is, and the catalogue of all that were declared. Plain data and one decorator."""

from __future__ import annotations

import functools
import importlib
import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from matrix.files import read_toml
from matrix.words import FAMILIES, INFO

from .situations import Situation

SUITE = "tests.compliance"  # the package that declares the scenarios, a module per family
PROMISES = Path(__file__).resolve().parents[2] / "tests" / "compliance" / "promises.toml"


@dataclass(frozen=True)
class OrmSetup:
    """How Tortoise is initialised for a run: the pools' ``maxsize``, a further setting of theirs, the names of the
    connections, and whether a router sends reads to the last of them, as to a replica."""

    size: int = 2
    setting: str = ""  # one of the adapter's ``pool_settings``
    aliases: tuple[str, ...] = ("default",)
    fallback: bool = False
    reads_elsewhere: bool = False


def _with_helpers(program: Any) -> list[Any]:
    """A function, and those of its module that it names, and so on; each once, in the order in which they are met."""
    found = [program]
    for function in filter(inspect.isfunction, found):
        codes = [function.__code__]
        for code in codes:
            codes += [const for const in code.co_consts if inspect.iscode(const)]
            for name in code.co_names:
                named = function.__globals__.get(name)
                if inspect.isfunction(named) and named.__module__ == program.__module__ and named not in found:
                    found.append(named)
    return found


@dataclass(frozen=True)
class Scenario:
    """One test. ``program`` takes the world, and the remedy if it is one that remedies claim to cure, or a
    generated program."""

    id: str
    title: str
    contract: str
    level: str
    needs: tuple[str, ...]
    orm: OrmSetup | None
    hold_login: bool
    python: tuple[int, int]
    program: Callable[..., Any]
    quote: str
    url: str
    links: tuple[str, ...]
    cancels: str = ""  # the session whose moments of cancellation are swept; answers then come frame by frame
    during: tuple[str, ...] = ()  # ... only while it is in operations of these kinds
    abandons: bool = False  # its only block is in a generator that is given up
    fresh_connections: bool = False  # it asks how a session of the server begins, or what it keeps
    situation: Situation | None = None  # what must happen in an order for it to count
    remedy: Any = None  # how it does what the cured scenarios do
    cures: tuple[str, ...] = ()

    @property
    def family(self) -> str:
        return FAMILIES[self.id.split("-")[0]].key

    @property
    def needs_fresh_connections(self) -> bool:
        """Whether its connections must be new ones of the server, not such as were reset (warm.py): it is about logging
        in, about a server that ends connections or refuses them, or about what a session keeps."""
        return self.hold_login or self.fresh_connections or not {"server", "network"}.isdisjoint(self.needs)

    @functools.cached_property
    def curable(self) -> bool:
        """Whether the program takes a remedy."""
        return not self.cures and "remedy" in inspect.signature(self.program).parameters

    @functools.cached_property
    def source(self) -> str:
        """The program's source text with the helpers of its module that it calls, as the evidence shows it. A generated
        program brings its own."""
        return getattr(self.program, "source", None) or "\n\n".join(map(inspect.getsource, _with_helpers(self.program)))

    def bound(self, driver: str) -> Scenario:
        """The scenario as it binds a driver: by that driver's own promise and its level, where it has made one."""
        promised = promise(self.id)
        name = promised.get("by", {}).get(driver)
        if name is None:
            return self
        text = promise("texts")[name]
        return replace(self, quote=text["quote"], url=text["url"], level=text.get("level", self.level))

    def declared(self, remedy: Any = None) -> dict[str, Any]:
        """What it and a remedy say of themselves: JSON data, for whoever unfolds a run into a program."""
        return {
            "cancels": self.cancels,
            "during": list(self.during),
            "hold_login": self.hold_login,
            "abandons": self.abandons,
            "context": remedy.child_context if remedy is not None else "",
            "lock": remedy is not None and remedy.one_lock,
        }

    @property
    def generated(self) -> bool:
        """Whether this is a line of many programs (matrix/generated), each of which is given to ``program``."""
        return "program" in inspect.signature(self.program).parameters

    def unmet(self, capabilities: frozenset[str], reasons: dict[str, str]) -> str | None:
        """Why it does not apply in a cell with these capabilities; None if it does."""
        if sys.version_info < self.python:
            return f"needs Python {self.python[0]}.{self.python[1]}"
        return next((reasons[need] for need in self.needs if need not in capabilities), None)


_declared: dict[str, Scenario] = {}
_promises: dict[str, Any] = {}


def promise(identifier: str) -> dict[str, Any]:
    """The quotation, its address and the upstream threads of a scenario, from compliance/promises.toml."""
    if not _promises:
        _promises.update(read_toml(PROMISES))
    return dict(_promises.get(identifier, {}))


def scenario(
    identifier: str,
    title: str,
    *,
    level: str,
    needs: tuple[str, ...],
    orm: OrmSetup | None = None,
    hold_login: bool = False,
    python: tuple[int, int] = (3, 10),
    cancels: str = "",
    during: tuple[str, ...] = (),
    abandons: bool = False,
    fresh_connections: bool = False,
    situation: Situation | None = None,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Declare a scenario; the function's docstring is its contract in one sentence. ``cancels``: this session is
    cancelled, once at each moment at which it waits (``during``: in operations of these kinds only); answers come frame
    by frame. ``abandons``: its only block is in a generator that is given up, which no history shows.
    ``fresh_connections``: it asks how a session of the server begins, or what it keeps. ``situation``: orders in which
    it does not come to it count for no word."""

    def declare(program: Callable[..., Any]) -> Callable[..., Any]:
        swept = cancels, during, abandons, fresh_connections, situation
        _declare(identifier, title, program, program.__doc__, level, needs, orm, hold_login, python, *swept)
        return program

    return declare


def remedy(identifier: str, title: str, *, cures: tuple[str, ...], needs: tuple[str, ...] = ("tortoise",)) -> Any:
    """Declare a remedy: a class whose instance is given to each cured scenario's program as its ``remedy``."""

    def declare(made: Any) -> Any:
        setup = made.setup
        swept = "", (), False, False, None
        _declare(identifier, title, made, made.__doc__, INFO, needs, setup, False, made.python, *swept, made(), cures)
        return made

    return declare


def _declare(
    identifier: str,
    title: str,
    program: Any,
    contract: str | None,
    level: str,
    needs: tuple[str, ...],
    orm: OrmSetup | None,
    hold_login: bool,
    python: tuple[int, int],
    cancels: str,
    during: tuple[str, ...],
    abandons: bool,
    fresh_connections: bool,
    situation: Situation | None,
    remedy: Any = None,
    cures: tuple[str, ...] = (),
) -> None:
    if identifier in _declared:
        raise ValueError(f"two scenarios are called {identifier}")
    if not contract:
        raise ValueError(f"{identifier} has no contract: its docstring is missing")
    promised = promise(identifier)
    _declared[identifier] = Scenario(
        identifier,
        title,
        " ".join(contract.split()),
        level,
        needs,
        orm,
        hold_login,
        python,
        program,
        promised.get("quote", ""),
        promised.get("url", ""),
        tuple(promised.get("links", ())),
        cancels,
        during,
        abandons,
        fresh_connections,
        situation,
        remedy,
        cures,
    )


def chosen(words: str) -> list[str]:
    """The ids that words name, in the catalogue's order: ``NST-4``, a family, ``NST``, or a pattern, ``NST-1*``;
    separated by commas or spaces (or ``or``), in any case. Raises LookupError with what there is."""
    known = catalogue()
    asked = [word for word in words.upper().replace(",", " ").split() if word != "OR"]
    of = {w: [name for name in known if fnmatchcase(name.upper(), w) or name.partition("-")[0] == w] for w in asked}
    unknown = next((word for word in asked if not of[word]), None)
    if unknown is not None or not asked:
        family = (unknown or "").partition("-")[0]
        shown = [each for each in known.values() if each.id.partition("-")[0] == family] or list(known.values())
        columns = "\n".join(f"  {each.id:<8} {each.title}" for each in shown)
        what = f"there is no scenario {unknown}" if unknown else "no scenario is named"
        raise LookupError(f"{what}; there are (or a family: {', '.join(FAMILIES)}):\n{columns}")
    wanted = {name for names in of.values() for name in names}
    return [name for name in known if name in wanted]


def one(text: str) -> str:
    """The id of one scenario, in any case. Raises LookupError with what there is."""
    names = chosen(text)
    if len(names) == 1 and names[0].upper() == text.strip().upper():
        return names[0]
    raise LookupError(f"{text}: give one scenario, such as {names[0]}; python -m matrix scenarios {text} lists them")


def catalogue(driver: str = "") -> dict[str, Scenario]:
    """All scenarios in the order of their families, then of their numbers; as they bind this driver."""
    for family in FAMILIES.values():
        importlib.import_module(f"{SUITE}.{family.key}")
    order = list(FAMILIES)

    def place(identifier: str) -> tuple[int, int, str]:
        prefix, number = identifier.split("-")
        digits = "".join(character for character in number if character.isdigit())
        return order.index(prefix), int(digits), number

    return {identifier: _declared[identifier].bound(driver) for identifier in sorted(_declared, key=place)}

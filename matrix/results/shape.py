"""Whether a result's line has the shape that its type says (matrix/lines.py), by the standard library alone.

For readers that go without the published schema: a line of the wrong shape is told as such, and breaks nobody later.
"""

from __future__ import annotations

import typing
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from types import UnionType
from typing import Any

from matrix.lines import Evidence, Footer, Header, ScenarioLine

# Of a value: where it is wrong, from the outside in, and last what is wrong there; None where nothing is.
Wrong = Callable[[Any], "tuple[str, ...] | None"]
KINDS = {"header": Header, "scenario": ScenarioLine, "footer": Footer}
WORDS = {type(None): "null", dict: "an object", list: "a list", str: "a text", bool: "a truth value"}
PLAIN: dict[Any, tuple[type, ...]] = {int: (int,), float: (int, float), str: (str,), bool: (bool,)}


def wrong(line: Mapping[str, Any]) -> str | None:
    """What in a line is not as its type says, in one sentence such as 'planned/0: a list'; None for nothing. Evidence
    is not looked into: it is most of a line, and few read it."""
    return _in_words(_checker(KINDS[line["type"]])(line))


def _in_words(found: tuple[str, ...] | None) -> str | None:
    if found is None:
        return None
    *places, what = found
    return f"{'/'.join(places)}: {what}" if places else what


@cache
def _checker(kind: Any) -> Wrong:
    if kind is Evidence:
        return lambda value: None if isinstance(value, Mapping) else _misplaced(value)
    return _of_type(kind)


@cache
def _of_type(kind: Any) -> Wrong:
    if typing.is_typeddict(kind):
        return _typed(kind)
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return lambda value: None
    if origin in (UnionType, typing.Union):
        return _one_of([part for part in parts if part is not type(None)], optional=type(None) in parts)
    if origin is list:
        return _all(list, enumerate, _checker(parts[0]))
    if origin in (dict, Mapping):
        return _all(Mapping, lambda value: value.items(), _checker(parts[1]))
    allowed = PLAIN[kind]
    return lambda value: (
        None
        if isinstance(value, allowed) and (kind is bool or (value is not True and value is not False))
        else _misplaced(value)
    )


def _typed(kind: Any) -> Wrong:
    fields = {name: _checker(hint) for name, hint in typing.get_type_hints(kind).items()}
    needed = kind.__required_keys__

    def check(value: Any) -> tuple[str, ...] | None:
        if not isinstance(value, Mapping):
            return _misplaced(value)
        if lacking := needed - value.keys():
            return (f"lacks {min(lacking)!r}",)
        return _first((name, fields[name](value[name])) for name in fields if name in value)

    return check


def _one_of(parts: list[Any], *, optional: bool) -> Wrong:
    checks = [_checker(part) for part in parts]

    def check(value: Any) -> tuple[str, ...] | None:
        if value is None and optional:
            return None
        found = [each(value) for each in checks]
        return None if None in found else found[0]

    return check


def _all(kind: type, items: Callable[[Any], Any], check: Wrong) -> Wrong:
    return lambda value: (
        _first((name, check(item)) for name, item in items(value)) if isinstance(value, kind) else _misplaced(value)
    )


def _first(found: Iterator[tuple[Any, tuple[str, ...] | None]]) -> tuple[str, ...] | None:
    return next(((str(name), *wrong) for name, wrong in found if wrong is not None), None)


def _misplaced(value: Any) -> tuple[str]:
    return (f"{next((word for kind, word in WORDS.items() if type(value) is kind), 'a number')} does not belong there",)

"""The types of the result lines (matrix/lines.py) and the published schema have the same fields of the same types."""

from __future__ import annotations

import copy
import types
import typing
from collections.abc import Mapping

import pytest

from matrix import lines
from matrix.results import schema

KINDS = {"header": lines.Header, "scenario": lines.ScenarioLine, "footer": lines.Footer}
PARTS = {"axes": lines.Axes, "cure": lines.Cure, "evidence": lines.Evidence, "event": lines.Event}
PARTS |= {"frame": lines.Frame, "violation": lines.Violation, "orders": lines.Orders, "generated": lines.Generated}
PARTS |= {"expectation": lines.Expectation}
NAMES = {"string": "str", "integer": "int", "number": "float", "boolean": "bool", "null": "None"}
OF_VALUES = {str: "str", int: "int", bool: "bool", type(None): "None"}


def of_schema(part, defs):
    """What a part of a schema allows, in the words of ``of_type``."""
    if "$ref" in part:
        return of_schema(defs[part["$ref"].rpartition("/")[2]], defs)
    if alternatives := part.get("anyOf") or part.get("oneOf"):
        return _joined(each for one in alternatives for each in of_schema(one, defs).split(" | "))
    if "const" in part or "enum" in part:
        return _joined(OF_VALUES[type(value)] for value in part.get("enum", [part.get("const")]))
    kinds = part.get("type", [])
    return _joined(_of_kind(kind, part, defs) for kind in ([kinds] if isinstance(kinds, str) else kinds)) or "Any"


def _of_kind(kind, part, defs):
    if kind == "array":
        return f"list[{of_schema(part.get('items', {}), defs)}]"
    if kind != "object":
        return NAMES[kind]
    if "properties" not in part:
        return f"dict[{of_schema(part.get('additionalProperties', {}), defs)}]"
    needed = part.get("required", [])
    fields = {name: of_schema(each, defs) for name, each in part["properties"].items()}
    assert {*needed} <= {*fields}, "required, and no property"
    return _fields(fields, needed)


def of_type(kind):
    """What a type allows, as text: ``dict[int] | None``, ``{met: bool, reason?: None | str}``."""
    if typing.is_typeddict(kind):
        hints = typing.get_type_hints(kind)
        return _fields({name: of_type(each) for name, each in hints.items()}, kind.__required_keys__)
    if typing.get_origin(kind) in (types.UnionType, typing.Union):
        return _joined(of_type(each) for each in typing.get_args(kind))
    if typing.get_origin(kind) is list:
        return f"list[{of_type(typing.get_args(kind)[0])}]"
    if typing.get_origin(kind) in (dict, Mapping):
        return f"dict[{of_type(typing.get_args(kind)[1])}]"
    return {typing.Any: "Any", type(None): "None"}.get(kind) or kind.__name__


def _fields(fields, needed):
    told = (f"{name}{'' if name in needed else '?'}: {fields[name]}" for name in sorted(fields))
    return "{" + ", ".join(told) + "}"


def _joined(alternatives):
    return " | ".join(sorted(set(alternatives)))


def differences(kind, part, defs):
    """The fields in which a type and an object of the schema differ."""
    hints, needed = typing.get_type_hints(kind), part.get("required", [])
    found = {name: (of_schema(each, defs), name in needed) for name, each in part["properties"].items()}
    made = {name: (of_type(each), name in kind.__required_keys__) for name, each in hints.items()}
    return {name: (found.get(name), made.get(name)) for name in {*found, *made} if found.get(name) != made.get(name)}


@pytest.mark.parametrize("name", [*KINDS, *PARTS])
def test_a_type_has_the_fields_of_the_schema(name):
    defs = schema.load()["$defs"]
    assert differences({**KINDS, **PARTS}[name], defs[name], defs) == {}


def test_every_object_of_the_schema_has_a_type():
    defs = schema.load()["$defs"]
    objects = {name for name, part in defs.items() if "properties" in part}
    assert objects == {*KINDS, *PARTS, "error"}  # inside an event


@pytest.mark.parametrize(
    ("where", "changed", "found"),
    [
        (("scenario", "properties"), {"new": {"type": "string"}}, "new"),
        (("scenario", "properties", "seconds"), {"type": "integer"}, "seconds"),
        (("scenario",), {"required": []}, "level"),
        (("violation", "properties", "sentence"), {"type": ["string", "null"]}, "violations"),
        (("evidence", "properties", "steps", "items", "properties"), {"new": {}}, "evidence"),
        (("cure", "properties"), {"seconds": {"type": "number"}}, "cures"),
    ],
)
def test_a_difference_is_seen(where, changed, found):
    defs = copy.deepcopy(schema.load()["$defs"])
    part = defs
    for name in where:
        part = part[name]
    part.update(changed)
    assert found in differences(lines.ScenarioLine, defs["scenario"], defs)

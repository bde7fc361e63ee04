"""The published schemas, with nothing allowed that they do not name: what is written has to be in them."""

from __future__ import annotations

import jsonschema
import jsonschema_rs
from referencing import Registry
from referencing.jsonschema import DRAFT202012

from matrix.results import schema


def strict(part):
    """A schema that allows no other properties than those that it names."""
    if isinstance(part, list):
        return [strict(each) for each in part]
    if not isinstance(part, dict):
        return part
    closed = {"additionalProperties": False} if isinstance(part.get("properties"), dict) else {}
    return {**closed, **{key: value if key in ("const", "enum") else strict(value) for key, value in part.items()}}


def validators():
    """What checks a document by the strict schema of a kind."""
    whole = {kind: strict(schema.load(kind)) for kind in ("results", *schema.PUBLISHED.values())}
    found = [(each["$id"], DRAFT202012.create_resource(each)) for each in whole.values()]
    registry = Registry().with_resources(found)
    return {kind: jsonschema.Draft202012Validator(each, registry=registry) for kind, each in whole.items()}


def of_a_line():
    """A function that says what is wrong with a scenario's line of a result file: jsonschema puts in words what the
    other one, which takes a fiftieth of the time, does not accept."""
    defined = strict(schema.load())["$defs"]
    line = {**defined["scenario"], "$defs": defined}
    quick, told = jsonschema_rs.Draft202012Validator(line), jsonschema.Draft202012Validator(line)
    return lambda found: [] if quick.is_valid(found) else [error.message for error in told.iter_errors(found)]

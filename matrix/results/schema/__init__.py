"""The published JSON Schemas: of the result lines, of the documents beside them, and of the JSON that the site has.

Only the checks need ``jsonschema``. Schemas refer to each other by their ``$id``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from matrix.results.read import without_evidence

HERE = Path(__file__).parent
DOCUMENTS = {kind: HERE / f"{kind}-1.schema.json" for kind in ("faults", "stability", "web", "finds")}
# The site's files, by what they are called from its root.
PUBLISHED = {
    "results.json": "summary",
    "drivers/*.json": "driver",
    "scenarios/*.json": "scenario",
    "cells/*.json": "cell",
    "badges/*.json": "badge",
    **{f"{kind}.json": kind for kind in DOCUMENTS},
}


def load(kind: str = "results") -> dict[str, Any]:
    """A schema, by the name of its file."""
    schema: dict[str, Any] = json.loads((HERE / f"{kind}-1.schema.json").read_text("utf-8"))
    return schema


def checker(evidence: bool = True) -> Callable[[Mapping[str, Any]], str | None]:
    """A function that says what is wrong with a line, in one sentence, or None. Raises ImportError.

    Checking ``evidence`` takes most of the time; who reads evidence leniently, as the report does, may go without.
    """
    import jsonschema

    schema = load()
    parts = {kind: {**schema["$defs"][kind], "$defs": schema["$defs"]} for kind in ("header", "scenario", "footer")}
    kinds = {kind: jsonschema.Draft202012Validator(part) for kind, part in parts.items()}
    quick: dict[str, Callable[[Any], bool]] = {}
    with suppress(ImportError):  # fifty times as fast; what it does not accept, jsonschema puts in words
        import jsonschema_rs

        quick = {kind: jsonschema_rs.Draft202012Validator(part).is_valid for kind, part in parts.items()}

    def check(line: Any) -> str | None:
        checked = line if evidence else without_evidence(line)
        with suppress(UnicodeEncodeError):  # lone surrogates, which a result may hold
            if quick and quick[line["type"]](checked):
                return None
        return _wrong(jsonschema.exceptions.best_match(kinds[line["type"]].iter_errors(checked)), line["type"])

    return check


def document_checker(kind: str) -> Callable[[Mapping[str, Any]], str | None]:
    """The same for a whole document, of DOCUMENTS or of PUBLISHED. Raises ImportError."""
    import jsonschema

    validator = jsonschema.Draft202012Validator(load(kind), registry=_registry())
    return lambda document: _wrong(jsonschema.exceptions.best_match(validator.iter_errors(document)), kind)


@cache
def _registry() -> Any:
    """All schemas, for those that refer to others."""
    from referencing import Registry
    from referencing.jsonschema import DRAFT202012

    kinds = ("results", *PUBLISHED.values())
    found = [DRAFT202012.create_resource(load(kind)) for kind in kinds]
    return Registry().with_resources((resource.contents["$id"], resource) for resource in found)


def _wrong(error: Any, whole: str) -> str | None:
    """What is wrong where, in one sentence."""
    if error is None:
        return None
    where = "/".join(str(part) for part in error.absolute_path) or whole
    return f"{where}: {error.message[:200]}"

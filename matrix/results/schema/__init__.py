"""The published JSON Schemas of the result lines and of the documents beside them, and checks against them.

Only the checks need ``jsonschema``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from matrix.results.read import without_evidence

PATH = Path(__file__).parent / "results-1.schema.json"
DOCUMENTS = {kind: PATH.with_name(f"{kind}-1.schema.json") for kind in ("faults", "stability")}


def load() -> dict[str, Any]:
    """The schema itself."""
    schema: dict[str, Any] = json.loads(PATH.read_text("utf-8"))
    return schema


def checker(evidence: bool = True) -> Callable[[Mapping[str, Any]], str | None]:
    """A function that says what is wrong with a line, in one sentence, or None. Raises ImportError.

    Checking ``evidence`` takes most of the time; who reads evidence leniently, as the report does, may go without.
    """
    import jsonschema

    schema = load()
    parts = {kind: {**schema["$defs"][kind], "$defs": schema["$defs"]} for kind in ("header", "scenario", "footer")}
    kinds = {kind: jsonschema.Draft202012Validator(part) for kind, part in parts.items()}
    try:  # fifty times as fast; what it does not accept, jsonschema puts in words
        import jsonschema_rs

        quick = {kind: jsonschema_rs.Draft202012Validator(part).is_valid for kind, part in parts.items()}
    except ImportError:
        quick = {kind: lambda _line: False for kind in parts}

    def check(line: Any) -> str | None:
        checked = line if evidence else without_evidence(line)
        if quick[line["type"]](checked):
            return None
        return _told(jsonschema.exceptions.best_match(kinds[line["type"]].iter_errors(checked)), line["type"])

    return check


def document_checker(kind: str) -> Callable[[Mapping[str, Any]], str | None]:
    """The same for a whole document of DOCUMENTS. Raises ImportError."""
    import jsonschema

    validator = jsonschema.Draft202012Validator(json.loads(DOCUMENTS[kind].read_text("utf-8")))
    return lambda document: _told(jsonschema.exceptions.best_match(validator.iter_errors(document)), kind)


def _told(error: Any, whole: str) -> str | None:
    """What is wrong where, in one sentence."""
    if error is None:
        return None
    where = "/".join(str(part) for part in error.absolute_path) or whole
    return f"{where}: {error.message[:200]}"

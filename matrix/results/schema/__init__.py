"""The published JSON Schema of the result lines and a check against it (only the check needs ``jsonschema``)."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from matrix.results.read import without_evidence

PATH = Path(__file__).parent / "results-1.schema.json"


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

    def check(line: Mapping[str, Any]) -> str | None:
        checked = line if evidence else without_evidence(line)
        if quick[line["type"]](checked):
            return None
        error = jsonschema.exceptions.best_match(kinds[line["type"]].iter_errors(checked))
        if error is None:
            return None
        where = "/".join(str(part) for part in error.absolute_path) or line["type"]
        return f"{where}: {error.message[:200]}"

    return check

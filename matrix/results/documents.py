"""What is known of the suite itself, beside the cells' results: ``faults.json``, ``stability.json`` and ``web.json`` of
a folder.

Each is one JSON document with a published schema of its own. Writing needs the standard library only.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matrix import files
from matrix.results import schema
from matrix.results.read import BadLine, CannotRead, ResultError
from matrix.results.write import plain

KINDS = tuple(schema.DOCUMENTS)
VERSION = 1


def write(path: str | os.PathLike[str], document: Mapping[str, Any]) -> None:
    """Write a document whole, under its final name only when it is. Raises OSError."""
    text = json.dumps(plain(document), ensure_ascii=False, allow_nan=False, indent=1) + "\n"
    files.write(Path(path), text, durable=True)


def read(path: str | os.PathLike[str], kind: str) -> dict[str, Any]:
    """A document that fits its schema. Raises ResultError; ImportError without jsonschema."""
    path = Path(path)
    try:
        document = json.loads(path.read_text("utf-8"))
    except OSError as problem:
        raise CannotRead(path, f"cannot be read: {problem.strerror}") from problem
    except (ValueError, RecursionError) as problem:
        raise BadLine(path, f"not JSON: {problem}") from problem
    if not isinstance(document, dict) or document.get("type") != kind:
        raise BadLine(path, f"not a document of type {kind!r}")
    if document.get("schema") != VERSION:
        what = f"schema {document.get('schema')!r} is unknown, this program reads {VERSION}"
        raise ResultError(path, f"{what}: use a newer version of it")
    wrong = schema.document_checker(kind)(document)
    if wrong:
        raise BadLine(path, wrong)
    return document


def read_folder(folder: str | os.PathLike[str]) -> dict[str, dict[str, Any]]:
    """The documents of a folder by their kind; what is not there is left out. Raises as ``read`` does."""
    paths = {kind: Path(folder) / f"{kind}.json" for kind in KINDS}
    return {kind: read(path, kind) for kind, path in paths.items() if os.path.lexists(path)}

"""Writing the report's files: JSON, and a folder that appears whole or not at all."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from matrix import maker
from matrix.files import write as write


def encode(text: str) -> bytes:
    """UTF-8; what no file can hold (lone surrogates) is spelled out."""
    return text.encode("utf-8", "backslashreplace")


def json_text(value: Any) -> str:
    """JSON on one line; the order of the keys is that of the results."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def as_json(value: Any) -> bytes:
    """A file of JSON on one line."""
    return encode(json_text(value) + "\n")


def as_json_lines(value: Mapping[str, Any], key: str) -> bytes:
    """A file with an object, with a line for each entry of the list or object under ``key``: it diffs well."""
    lines = []
    for name, item in value.items():
        if name == key and isinstance(item, dict):
            entries = [f"{json.dumps(one)}: {json_text(each)}" for one, each in item.items()]
            text = "{\n" + ",\n".join(entries) + "\n}"
        elif name == key:
            text = "[\n" + ",\n".join(map(json_text, item)) + "\n]"
        else:
            text = json_text(item)
        lines.append(f"{json.dumps(name)}: {text}")
    return encode("{\n" + ",\n".join(lines) + "\n}\n")


def put(path: Path, content: bytes) -> None:
    """Writes a file of a folder that is still in the making (see ``replaced_folder``). Raises OSError."""
    try:
        path.write_bytes(content)
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


@contextmanager
def replaced_folder(target: Path) -> Iterator[Path]:
    """A temporary folder beside the target that takes its place when the block ends well, and is removed when not.
    What a killed one left beside the target is removed as well."""
    target.parent.mkdir(parents=True, exist_ok=True)
    workspace = Path(maker.folder(f".{target.name}-", target.parent))
    try:
        new = workspace / "new"
        new.mkdir()
        yield new
        if target.exists():
            target.rename(workspace / "old")
        new.rename(target)
    finally:
        shutil.rmtree(workspace, ignore_errors=True)

"""The index of reproducers (``results/reproducers/index.json``): written by ``reproduce``, read by the report."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from matrix import files
from matrix.lines import CureLine, Header, ScenarioLine

INDEX = "index.json"
SCHEMA = 1
KINDS = ("reproducers", "defects", "not_written")


def read_index(folder: str | Path) -> dict[str, Any]:
    """The index in a folder; empty when there is none, it cannot be read, or it is of another version. What
    is no entry is left out."""
    try:
        found = json.loads((Path(folder) / INDEX).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(found, dict) or found.get("schema") != SCHEMA:
        return {}
    return {kind: list(filter(_is_entry, found[kind])) for kind in KINDS if isinstance(found.get(kind), list)}


def _is_entry(entry: Any) -> bool:
    return isinstance(entry, dict) and all(isinstance(entry.get(key), str) for key in ("cell", "scenario"))


def write_index(folder: str | Path, index: Mapping[str, Any]) -> Path:
    """Writes the index whole or not at all. Raises OSError."""
    path = Path(folder) / INDEX
    text = json.dumps({"schema": SCHEMA, **index}, ensure_ascii=False, indent=1)
    files.write(path, text + "\n", durable=True)
    return path


def line_of_cure(line: ScenarioLine, cured: str) -> CureLine:
    """What a remedy's line says of one scenario that it claims to cure, as a line of its own.

    Its ``scenario`` is ``FIX-4-NST-4``, as in the index; ``remedy_id`` and ``cured`` are its two parts. With this line
    ``source_of`` finds the script.
    """
    cure, remedy = (line["cures"] or {})[cured], line["scenario"]
    title = f"{line.get('title')} ({cured}: {cure.get('title')})"
    about: Any = {"scenario": f"{remedy}-{cured}", "title": title, "contract": line.get("contract")}
    return {**cure, **about, "remedy_id": remedy, "cured": cured}


def source_of(folder: str | Path, line: ScenarioLine | CureLine, header: Header) -> str | None:
    """The script that showed the finding of this very line, or None.

    ``line`` is a scenario line, ``header`` its cell's. A script that was made for another run's line of other words
    (verdict or schedule), or whose bytes are not those that were executed, does not count.
    """
    for entry in read_index(folder).get("reproducers", []):
        same = all(entry.get(key) == line.get(key) for key in ("scenario", "verdict", "schedule"))
        if same and entry.get("cell") == header.get("cell"):
            return kept(folder, entry)
    return None


def kept(folder: str | Path, entry: Mapping[str, Any]) -> str | None:
    """The script of an entry, None where it is not the one that was executed."""
    try:
        content = (Path(folder) / str(entry["path"])).read_bytes()
    except (OSError, KeyError, ValueError):
        return None
    return content.decode("utf-8") if hashlib.sha256(content).hexdigest() == entry.get("sha256") else None


Entries = list[Mapping[str, Any]]


def under_loop(entries: Iterable[Mapping[str, Any]], loop: str) -> dict[str, tuple[Entries, Entries]]:
    """By cell: the entries whose scripts showed their finding in each run under another event loop, and the others that
    were run under it."""
    found: dict[str, tuple[Entries, Entries]] = {}
    for entry in entries:
        if facts := entry.get("loops", {}).get(loop):
            shown, others = found.setdefault(entry["cell"], ([], []))
            (shown if facts["shown"] == facts["runs"] else others).append(entry)
    return found

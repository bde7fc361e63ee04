"""The texts of errors: without what is of one run only, those on record, and which of them somebody has pasted.

``report --docs`` writes the record (``matrix/axes/errors.json``) beside docs/errors.md.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

FILE = Path(__file__).resolve().parents[1] / "axes" / "errors.json"
LONGEST = 160  # characters of a text
LEAST = 4  # characters of a line that may stand in a text
CLASS = re.compile(r"^[\w.]+: ")  # of an exception, before what it says
VARYING = (  # what is of one run only, or of one schema
    (r"\s*\[?\b(?:repro_)?matrix_[0-9a-f_]+\b\]?\.?", " "),
    (r"\b(tortoise_savepoint|__asyncpg_savepoint)_[0-9a-f]+_*", r"\1_…"),
    (r"\\[nt]", " "),
    (r"\b(pool|Task)-\d+", r"\1-…"),
    (r"'(?:host|port|user|db|password)': ('[^']*'|\d+),? ?", ""),
    (r"\bport \d+", "port …"),
    (r"\b(got|expected) \d+\b", r"\1 …"),
    (r"\bPK: \d+", "PK: …"),
    (r"0x[0-9a-f]+", "0x…"),
    (r"\bstate \d+; another operation \(\d+\)", "state …; another operation (…)"),
    (r"\b(table|relation|constraint) ([\"'])[^\"']+\2", r"\1 \2…\2"),
    (r"/\S+/(\S+\.py)", r"\1"),
    (r"\s+", " "),
)


@dataclass(frozen=True)
class Known:
    """A text on record: who shows it, and scenario -> the worst word of it there, worst for an application first."""

    text: str
    drivers: tuple[str, ...]
    seen: dict[str, str]


def plain(message: str) -> str:
    """A message without what is of one run only, on one line, cut to a length."""
    text = _whole(re.split(r"\n(?:DETAIL|CONTEXT|HINT):|\nLINE ", message, maxsplit=1)[0])
    return text if len(text) <= LONGEST else text[:LONGEST].rsplit(" ", 1)[0] + " …"


def _whole(message: str) -> str:
    text, changed = message, 1
    while changed:  # objects, which may hold others
        text, changed = re.subn(r"<[^<>]*>", "…", text)
    for pattern, instead in VARYING:
        text = re.sub(pattern, instead, text)
    return text.strip()


def on_record(file: Path = FILE) -> tuple[Known, ...]:
    """The texts on record."""
    return tuple(
        Known(each["text"], tuple(each["drivers"]), each["seen"]) for each in json.loads(file.read_text("utf-8"))
    )


def record(known: Sequence[Known]) -> str:
    """The file's content, a line for each text: a diff then shows which changed."""
    return "[\n" + ",\n".join(json.dumps(asdict(each), ensure_ascii=False) for each in known) + "\n]\n"


def pasted(text: str, known: Sequence[Known]) -> list[Known]:
    """The known texts that stand in a pasted one, such as a traceback, with their longest part that is of every run, or
    in which its last line stands; those that tell most come first, and none that is a part of another one."""
    asked = _whole(text).casefold()
    last = _whole(CLASS.sub("", text.strip().rpartition("\n")[2])).casefold()
    tells = len(last) >= LEAST and not last.isalpha()  # a single word, such as "error", stands in any text
    found = [each for each in known if _told(each.text) in asked or (tells and last in each.text.casefold())]
    found.sort(key=lambda each: -len(each.text))
    return [each for n, each in enumerate(found) if not any(each.text in longer.text for longer in found[:n])]


def _told(text: str) -> str:
    return max((piece.strip() for piece in text.casefold().split("…")), key=len)

"""Names in a script: of functions, operations, rows; and Python literals."""

from __future__ import annotations

import ast
import json
import keyword
import re
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from matrix.harness.sentences import sentence
from matrix.results.text import clean, one_line

NONCE = re.compile(r"\bn-[a-z]+-(\d+)\b")
TOKEN = re.compile(r"\b([wc])-[0-9a-z]+-(\d+)\b")
OURS = re.compile(r"\bmatrix_[0-9a-f]{12}[0-9a-f_]*")  # a run's own database, whose name says who made it
# Several tasks may do the same.
UNNAMED = ("acquire", "release", "close", "set", "probe", "put", "script", "orphan", "ping", "look")
# Names that the rest of a script has.
TAKEN = {"main", "start", "do", "go", "turn", "quiet", "conduct", "relay", "cut", "connect", "sql", "read", "write"}
TAKEN |= {"fail", "block", "transaction", "rows", "acquire", "release", "look", "well", "failed", "swept", "connection"}
TAKEN |= {"script", "orphan", "count_up", "implicit", "by_hand", "copied", "copy_in", "write_many", "save", "entry"}
TAKEN |= {"hear", "mode", "undo"}


def identifier(name: str) -> str:
    """A task's name as that of a function; no other function of a script has it."""
    made = re.sub(r"\W+", "_", name).strip("_").lower() or "task"
    return f"task_{made}" if keyword.iskeyword(made) or made[0].isdigit() or made in TAKEN else made


def quoted(text: str) -> str:
    """A Python literal, in double quotes where that is plain."""
    return json.dumps(text) if text.isascii() and text.isprintable() else repr(text)


def quoted_list(texts: Sequence[str]) -> str:
    """A Python list of literals."""
    return f"[{', '.join(map(quoted, texts))}]"


def short(value: Any) -> Any:
    """Rows and values by their short names, wherever they stand in a fact: ``n-seed-3`` is ``n-3``, ``w-0db41fx6-1`` is
    ``w-1``; and a run's own database, which errors name, by none."""
    if isinstance(value, Mapping):
        return {key: short(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [short(each) for each in value]
    if isinstance(value, str):
        return OURS.sub("database", TOKEN.sub(r"\1-\2", NONCE.sub(r"n-\1", value)))
    return value


def in_words(fact: Mapping[str, Any]) -> str:
    """A fact as a script says it: with short names, and without how late it came."""
    return sentence(short({**fact, "late": False}))


def name_of(operation: Mapping[str, Any]) -> str:
    """The name of an operation in a script, by which it keeps what was told; each has its own."""
    text = in_words(operation["fact"])
    if operation["what"] in UNNAMED:
        return f"{text} ({operation['session']}, operation {operation['operation']})"
    return text


def names(code: str) -> set[str]:
    """The names that Python code uses or looks up in something, such as ``asyncio`` and ``sleep``."""
    nodes = list(ast.walk(ast.parse(code)))
    own = {node.id for node in nodes if isinstance(node, ast.Name)}
    return own | {node.attr for node in nodes if isinstance(node, ast.Attribute)}


def wrapped(text: str) -> list[str]:
    """Foreign text in lines of a comment or docstring."""
    return textwrap.wrap(one_line(text), 116)


def harmless(text: str) -> str:
    """Foreign text inside a docstring."""
    return clean(text).replace("\\", "\\\\").replace('"""', "'''")

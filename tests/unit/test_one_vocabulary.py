"""One place defines the words of the project: no second definition of them, or of a pattern of ids, is elsewhere."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from matrix import words

ROOT = Path(__file__).parents[2]
GROUND = ROOT / "matrix" / "words.py"
CODE = [path for folder in ("matrix", "ci") for path in sorted((ROOT / folder).rglob("*.py")) if path != GROUND]
FILES = [ROOT / "conftest.py", *CODE]
NAMED = ("VERDICTS", "NOT_VERDICTS", "REMEDIES", "LEVELS", "CATEGORIES", "PROOFS", "PROPERTIES", "SERVERS", "LOOPS")
GROUPS = {name: frozenset(getattr(words, name)) for name in (*NAMED, "FAMILIES")}
GROUPS["FAMILY_KEYS"] = frozenset(family.key for family in words.FAMILIES.values())
GROUPS["NAMES_OF_SERVERS"] = frozenset(words.SERVER_NAMES.values())
PATTERNS = [value.pattern for value in vars(words).values() if isinstance(value, re.Pattern)]
FUNCTIONS = ("badness", "rank", "worst", "complies", "family_of")
SCHEMA = ROOT / "matrix" / "results" / "schema" / "results-1.schema.json"


def seconds(tree: ast.AST) -> Iterator[str]:
    """What of a module defines a group of words, the letters, a pattern of ids or an order of words once more."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.Tuple, ast.List, ast.Set)):
            told = [each.value for each in node.elts if isinstance(each, ast.Constant)]
            for name, group in GROUPS.items():
                if len(told) == len(node.elts) and group <= {str(each) for each in told}:
                    yield f"line {node.lineno}: {name}"
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            if node.value == words.LETTERS:
                yield f"line {node.lineno}: LETTERS"
            for pattern in PATTERNS:
                if _plain(pattern) in _plain(node.value):
                    yield f"line {node.lineno}: {pattern}"
        elif isinstance(node, ast.FunctionDef) and node.name in FUNCTIONS:
            yield f"line {node.lineno}: {node.name}"


def _plain(pattern: str) -> str:
    """A pattern without the names of its groups, so that other names do not make it another one."""
    return re.sub(r"\?P<\w+>", "", pattern)


@pytest.mark.parametrize(
    "path", [path for path in FILES if path != GROUND], ids=lambda path: str(path.relative_to(ROOT))
)
def test_the_words_are_defined_once(path):
    assert list(seconds(ast.parse(path.read_text("utf-8")))) == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ('VERDICTS = ("safe", "refuses", "breaks", "hangs", "poisons", "lies")', "VERDICTS"),
        ('if word in ("n/a", "error", "not run"): pass', "NOT_VERDICTS"),
        ('order = [*VERDICTS, "n/a"]\nOTHER = ["not needed", "holds", "partly", "fails", "worse"]', "REMEDIES"),
        ('KINDS = {"sqlite", "postgres", "mysql", "mariadb", "odbc", "mssql", "oracle", "tds"}', "SERVERS"),
        ('LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"', "LETTERS"),
        ('ID = re.compile(r"^[A-Z]{2,8}-[0-9]{1,4}[a-z]?$")', "[A-Z]{2,8}-[0-9]{1,4}[a-z]?"),
        ('M = re.compile(r"(?P<who>[A-Za-z])@(?P<wait>[1-9][0-9]*)(?P<ends>\\+?)")', words.CANCEL_POINT.pattern),
        ("def badness(verdict):\n    return -1", "badness"),
    ],
)
def test_a_second_definition_is_seen(source, found):
    assert [each.partition(": ")[2] for each in seconds(ast.parse(source))] == [found]


def test_a_few_of_the_words_are_no_definition():
    assert not list(seconds(ast.parse('if word in ("n/a", "not run"): pass\nDATA = ("safe", "refuses")')))


def test_the_schema_has_the_same_words():
    parts = json.loads(SCHEMA.read_text("utf-8"))["$defs"]
    line = parts["scenario"]["properties"]
    assert tuple(parts["verdict"]["enum"]) == words.VERDICTS
    assert tuple(parts["word"]["enum"]) == words.VERDICTS + words.NOT_VERDICTS
    assert tuple(line["level"]["enum"]) == words.LEVELS
    assert {*line["remedy"]["enum"]} == {*words.REMEDIES, None}
    assert {*line["proof"]["enum"]} == {*words.PROOFS, None}
    assert parts["scenario-id"]["pattern"] == f"^{words.SCENARIO_ID.pattern}$"
    assert parts["header"]["properties"]["cell"]["pattern"] == f"^{words.CELL_ID.pattern}$"
    assert parts["axes"]["properties"]["driver"]["pattern"] == f"^{words.DRIVER_NAME.pattern}$"
    assert parts["header"]["properties"]["schema"] == {**parts["footer"]["properties"]["schema"], "const": words.SCHEMA}


def test_every_word_has_its_glyph_and_its_sentence():
    shown = (*words.VERDICTS, *words.NOT_VERDICTS, *words.REMEDIES)
    assert tuple(words.GLYPHS) == (*shown, words.QUEUES, words.WRONG_DATA)
    assert (*words.VERDICT_MEANS, *words.REMEDY_MEANS) == shown
    assert tuple(words.LEVEL_MEANS) == words.LEVELS

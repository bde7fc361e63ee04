"""Facts before sentences: what programs make of a result does not hang on one word of ours in it."""

from __future__ import annotations

import ast
import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from matrix.harness import sentences
from matrix.harness.loop import MatrixLoop
from matrix.harness.runner import Runner
from matrix.report.diagram import diagram
from matrix.reproduce import NotWritten
from matrix.reproduce.script import script
from tests.unit.harness.test_order import Backing, catalogue
from tests.unit.miniatures.driver import Queueing, Refusing
from tests.unit.miniatures.faults import LeavesAnswerOnWire, LosesReleaseOnCancel
from tests.unit.reproduce import recorded

ROOT = Path(__file__).parents[3]
SAID = ("text", "sentence", "sentences", "reason")  # where a result has our sentences
SHAPES = {"line", "path", "rect", "circle", "polygon"}
# What reads results. Words of foreign programs are matched in the harness: statements, frames, error messages.
READERS = [*ROOT.glob("matrix/reproduce/*.py"), *ROOT.glob("matrix/report/*.py"), *ROOT.glob("matrix/results/*.py")]


def reworded(line: Any, counted: Iterator[int]) -> Any:
    """A result as a renderer would have left it that prints S1, S2 and so on; the facts are as they were."""
    if isinstance(line, list):
        return [reworded(each, counted) for each in line]
    if not isinstance(line, dict):
        return line
    made = {}
    for key, value in line.items():
        if key in ("fact", "finding", "readings", "declared"):
            made[key] = value
        elif key in SAID and isinstance(value, str):
            made[key] = f"S{next(counted)}"
        elif key in SAID and isinstance(value, list):
            made[key] = [f"S{next(counted)}" for _ in value]
        else:
            made[key] = reworded(value, counted)
    return made


def without_words(name: str) -> dict[str, Any]:
    line = recorded.line(name)
    made = reworded(line, itertools.count(1))
    made |= {key: line[key] for key in ("source",) if key in line}  # a promise, quoted
    if "frames" in made["evidence"]:
        made["evidence"]["frames"] = line["evidence"]["frames"]  # what was said on the wire
    return made


def written(line: dict[str, Any], name: str) -> str:
    try:
        return script(line, recorded.header(name))
    except NotWritten as why:
        return f"not written: {why}"


@pytest.mark.parametrize("name", recorded.names())
def test_a_reproducer_does_not_hang_on_our_words(name):
    changed = without_words(name)
    assert re.fullmatch(r"S\d+", changed["reason"])
    assert written(changed, name) == written(recorded.line(name), name)


def shapes(line: dict[str, Any]) -> list[tuple[str, dict[str, str]]]:
    """What is drawn, without the words and without what is as long as these are."""
    drawn = diagram(line)
    if not drawn:
        return []
    nodes = (each for each in ElementTree.fromstring(drawn).iter())
    kinds = [(each.tag.rpartition("}")[2], dict(each.attrib)) for each in nodes]
    folds = ("path", "M12 ")  # from one side to the other, as wide as the longest word is
    shown = [(kind, attributes) for kind, attributes in kinds if kind in SHAPES or kind == "g"]
    return [each for each in shown if (each[0], each[1].get("d", "")[:4]) != folds]


@pytest.mark.parametrize("name", recorded.names())
def test_a_diagram_has_the_same_shapes_whatever_our_words_are(name):
    assert shapes(without_words(name)) == shapes(recorded.line(name))


@pytest.mark.parametrize(
    ("miniature", "scenario"),
    [(LeavesAnswerOnWire, "CAN-1"), (LosesReleaseOnCancel, "POOL-20"), (Refusing, "NST-3"), (Queueing, "TXN-5")],
)
def test_verdicts_and_schedules_are_the_same_whatever_our_words_are(monkeypatch, miniature, scenario):
    def explored() -> list[Any]:
        loop = MatrixLoop()
        try:
            made = loop.run_until_complete(Runner(Backing(miniature()), 8).explore(catalogue()[scenario]))
        finally:
            loop.close()
        assert made.error == ""
        reasons.append(made.deciding.reason)
        return [(each.verdict, each.signature, each.schedule, each.finding["kind"]) for each in made.outcomes]

    reasons: list[str] = []
    before, counted = explored(), itertools.count(1)
    for kind in sentences.kinds():
        monkeypatch.setitem(sentences._KINDS, kind, lambda _fact: f"S{next(counted)}")
    assert explored() == before
    assert not reasons[0].startswith("S")
    assert re.fullmatch(r"S\d+", reasons[1]), "the renderer was replaced"


# -- no regular expression over our own sentences --------------------------------------------------------------------


NAMES = ("the next task", "event loop")  # of who acts, not sentences


def fragments() -> set[str]:
    """What the renderer writes itself: every piece of text in it of two words and more."""
    tree = ast.parse(Path(sentences.__file__).read_text(encoding="utf-8"))
    constants = [
        node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    docs = {
        ast.get_docstring(node, clean=False)
        for node in ast.walk(tree)
        if isinstance(node, (ast.Module, ast.FunctionDef))
    }
    pieces = {piece.strip(" .,;:'") for text in constants if text not in docs for piece in re.split(r"\{[^}]*\}", text)}
    return {piece for piece in pieces if " " in piece and piece not in NAMES}


MATCHING = {"search", "match", "fullmatch", "sub", "split", "compile", "findall", "finditer"}
MATCHING |= {"startswith", "endswith", "removeprefix", "removesuffix", "partition", "rpartition"}
MATCHING |= {"index", "find", "replace"}


def matched(source: str) -> list[str]:
    """Literals that a program looks for in a text: arguments of what searches, and what stands before ``in``."""
    found: list[str] = []
    for node in ast.walk(ast.parse(source)):
        looked: list[ast.expr] = []
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in MATCHING:
            looked = node.args
        elif isinstance(node, ast.Compare) and isinstance(node.ops[0], (ast.In, ast.NotIn, ast.Eq, ast.NotEq)):
            looked = [node.left, *node.comparators]
        constants = (each for expression in looked for each in ast.walk(expression) if isinstance(each, ast.Constant))
        found += [each.value for each in constants if isinstance(each.value, str)]
    return found


def of_ours(source: str) -> list[str]:
    """Those literals that are a part of our sentences, or have one in them."""
    plain = ((text, re.sub(r"\\(.)", r"\1", text).strip(" .,;:'")) for text in matched(source))
    known = fragments()
    return [
        text
        for text, bare in plain
        if " " in bare and bare not in NAMES and any(bare in part or part in bare for part in known)
    ]


@pytest.mark.parametrize("path", READERS, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_matches_our_own_sentences(path):
    assert of_ours(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "fault",
    [
        'name = text.removeprefix("starts the end of ")',
        'settles = text.startswith("waits for the end of ")',
        're.search(r"^(?P<who>.+) asked for (?P<nonce>\\S+) and was given", sentence)',
        'limited = "are over: TimeoutError" in str(entry["text"])',
        'again = event.get("text") == "can be reached again"',
    ],
)
def test_who_matches_them_again_is_found(fault):
    assert of_ours(fault)


def test_no_source_of_a_scenario_is_parsed():
    """naming.py asks which names the script uses that is being written: for its imports and its helpers."""
    parsing = [path.name for path in ROOT.glob("matrix/reproduce/*.py") if "import ast" in path.read_text("utf-8")]
    assert parsing == ["naming.py"]

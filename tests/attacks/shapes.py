"""Result files of the wrong shape: each value in turn is another one, and each command that reads results is run."""

from __future__ import annotations

import contextlib
import copy
import io
import itertools
import json
import shutil
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

from matrix import __main__ as command_line
from matrix.runs import RunError, announce, plan, replay
from tests.attacks import Tried
from tests.unit.results.samples import faults, header, remedy, scenario, stability, write_cell

CELL = "mysql-aiomysql"
OTHERS: tuple[Any, ...] = (None, 5, -1, 1e300, 10**40, True, "", "x", "\ud800\x1b[2J", [], [[]], [{}], {}, {"x": {}})
GONE = object()
# What is run, in a folder with ``results`` (the changed ones), ``good`` and ``out``; those of LONG take a second.
QUICK = (
    "results check results --expectations none",
    "results merge out good results",
    "results trim out results",
    "results trim out results --drop-older 1",
    "diff good results",
    "diff results good --json",
    "diff good results --markdown",
    f"diff good/{CELL}.jsonl results/{CELL}.jsonl",
    f"replay {CELL} NST-3 --results results",
    f"replay {CELL} NST-4 --remedy FIX-1a --results results",
    "plan --measure results",
    "reproduce --results results --out out",
)
LONG = ("report --results results --out out", "report --results good --older results --out out")
TOLD_AGAIN = QUICK[-1]
SPOILED = {
    "empty": b"",
    "zeros": bytes(5000),
    "no text": b"\xff\xfe\x00{",
    "no JSON": b"{\n",
    "deep": b"[" * 100_000,
    "half a line": b'{"type": "header", "schema": 1, "cell": "mysql',
    "numbers that JSON lacks": b'{"type": "header", "schema": NaN}\n',
}
LONGEST = 5  # lines that bad input is told in, for each file

Where = tuple[Any, ...]


def places(value: Any, where: Where = ()) -> Iterator[Where]:
    """Where in a document something stands, the document itself first."""
    yield where
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in inner:
        yield from places(each, (*where, key))


def changed(document: Any, where: Where, other: Any) -> Any:
    """The document with something else in that place; what is not on the way there is the same."""
    if not where:
        return other
    made = copy.copy(document)
    key, *way = where
    if way or other is not GONE:
        made[key] = changed(document[key], tuple(way), other) if way else other
    else:
        del made[key]
    return made


def good(folder: Path) -> Path:
    """A complete result with a line of every kind."""
    lines = [scenario("NST-3", "lies"), scenario("NST-4"), remedy("FIX-1a")]
    return write_cell(folder, header(planned=["NST-3", "NST-4", "FIX-1a"]), lines)


def variations(document: list[Any]) -> Iterator[tuple[str, list[Any]]]:
    """The document with one thing changed, and what that is; ``document`` is the list of a file's lines."""
    for where in places(document):
        if where:
            for other in (*OTHERS, GONE):
                told = "nothing" if other is GONE else repr(other)
                yield f"{'/'.join(map(str, where))} is {told}", changed(document, where, other)


def told(folder: Path, words: Sequence[str]) -> str:
    """What is wrong with how a command took it; empty when it ended with an exit code and few lines."""
    said = io.StringIO()
    try:
        with contextlib.chdir(folder), contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
            code = command_line.main(list(words))
    except SystemExit as end:
        code = end.code
    except BaseException:
        return traceback.format_exc(limit=-2)
    lines = said.getvalue().count("\n")
    return f"{lines} lines" if code and lines > LONGEST else "Traceback" if "Traceback" in said.getvalue() else ""


@contextlib.contextmanager
def harmless(folder: Path) -> Iterator[None]:
    """What commands would make in the project goes into the folder, and no environment is made."""
    with contextlib.ExitStack() as stack:
        none = RunError("no environment is made here")
        stack.enter_context(mock.patch.object(replay, "cell_python", mock.Mock(side_effect=none)))
        (folder / "none").mkdir()
        for name in ("COSTS", "VARIANTS"):
            stack.enter_context(mock.patch.object(plan, name, folder / name))
        stack.enter_context(mock.patch.object(plan.known_schedules, "FILE", folder / "schedules.json"))
        stack.enter_context(mock.patch.object(announce, "_gh", lambda arguments: "[]"))
        yield


def targets(folder: Path) -> dict[str, tuple[Any, tuple[str, ...]]]:
    """The files that are changed: what they hold (a result's lines are a list), and the commands that read them."""
    lines = [json.loads(line) for line in good(folder / "good").read_bytes().splitlines()]
    entry = {"cell": CELL, "scenario": "NST-3", "verdict": "lies", "schedule": "AB", "path": "x.py", "sha256": "0"}
    differing = {"kind": "worse", "cell": CELL, "scenario": "NST-3", "before": "safe", "after": "lies", "reason": "so"}
    return {
        f"{CELL}.jsonl": (lines, (*QUICK, *LONG)),
        "faults.json": (faults(), (LONG[0], QUICK[1])),
        "stability.json": (stability(), (LONG[0], QUICK[1])),
        "reproducers/index.json": ({"schema": 1, "reproducers": [entry], "defects": [entry]}, (LONG[0], TOLD_AGAIN)),
        "diff.json": ([differing | {"key": "x"}], ("announce results/diff.json",)),
    }


def attack(folder: Path, step: int = 3, slow: int = 20) -> Iterator[Tried]:
    """Every ``step``-th change, each by another command; those that take long run for one in ``slow`` of them."""
    with harmless(folder):
        for name, (document, commands) in targets(folder).items():
            quick = [each for each in commands if each not in LONG]
            turns = itertools.cycle([*commands, *quick * slow])
            for what, made in itertools.islice(variations(document), 0, None, step):
                words = next(turns).split()
                yield Tried(f"{' '.join(words)}: {name}: {what}", tried(folder, name, made, words))
        for what, content in SPOILED.items():
            for words in map(str.split, (*QUICK, *LONG)):
                yield Tried(f"{' '.join(words)}: {what}", tried(folder, f"{CELL}.jsonl", content, words))


def tried(folder: Path, name: str, made: Any, words: Sequence[str]) -> str:
    """What is wrong with how a command takes a file that holds this."""
    for each in ("results", "out"):
        shutil.rmtree(folder / each, ignore_errors=True)
    shutil.copytree(folder / "good", folder / "results")
    file = folder / "results" / name
    file.parent.mkdir(exist_ok=True)
    if isinstance(made, bytes):
        file.write_bytes(made)
    elif name.endswith(".jsonl"):
        file.write_text("\n".join(json.dumps(line) for line in made) + "\n")
    else:
        file.write_text(json.dumps(made))
    return told(folder, words)

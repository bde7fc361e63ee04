"""What the explorer (``python -m matrix check``) makes of the guard's corpus: ``python guard/explore.py [CELL ...]``
runs each wrong program on the cells (all that Tortoise has a client for), and writes explored.json for RULES.md.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE), str(HERE / "tests")]

from matrix import files  # noqa: E402
from matrix.harness.cell_name import parse  # noqa: E402
from matrix.harness.drivers import bases  # noqa: E402
from matrix.runs.check import NotChecked, checked  # noqa: E402
from matrix.words import ERROR, REFUSES, SAFE, rank  # noqa: E402

EXPLORED = HERE / "explored.json"
ORDERS = "15"
# Those that end a task at a chosen moment: the explorer is given the program without, and ends its tasks itself.
CANCELLED = {
    **dict.fromkeys(("TXN-5", "TXN-6", "TXN-16", "TXN-20", "TXN-37"), "corpus:save"),
    "NST-14": "corpus:save_in_inner_block",
    "NST-10": "docs.patterns.patterns:gather_transactions",
}
# Where the explorer does not look, or has nothing to judge by.
WHY_NOT = {
    "gather_queries": "it is safe",
    **dict.fromkeys(
        ("CTX-1", "background_write", "asks_before_and_after"),
        "alone it complies, as CTX-1 does: what is late is stored by itself, or refused; with a stranger it is CTX-3",
    ),
    "worker_without_a_job": "the worker is given nothing to do: nothing happens that could be judged",
    "schema_inside": "the tables that it makes are there in the next order: no order of it can be owned",
    "commit_by_sql": "COMMIT as a statement: it knows Tortoise's calls, not what own SQL means",
    "lock_values": "one request alone loses nothing: with another one it is TXN-46",
    "object_rolled_back": "what an object of the program still says is no answer of the database",
    "object_of_inner_block_rolled_back": "what an object of the program still says is no answer of the database",
    "saved_once_more": "what an object of the program still says is no answer of the database",
    "TXN-39": "it is timeout_around_a_transaction",
    "CTX-5": "a thread with a loop of its own: nobody can own its order",
    "CTX-13": "it gives the function one named connection",
    "FIX-1a": "it gives the function one named connection",
    "TXN-41": "it ends no connections",
    "ORM-14": "it ends no connections",
    "ORM-15": "it ends no connections",
    **dict.fromkeys(
        ("TXN-23", "TXN-24", "TXN-25", "TXN-42"),
        "a deadlock between transactions counts as a failed statement: it knows no locks of the user's rows",
    ),
}


def programs() -> Iterator[tuple[str, str, bool]]:
    """Name in the corpus, ``MODULE:FUNCTION``, and whether its tasks are to be cancelled."""
    from corpus import NOT_SEEN, WRONG

    from docs.patterns import patterns

    for name, program in {**WRONG, **{each: getattr(patterns, each, None) for each in NOT_SEEN}}.items():
        if name in CANCELLED:
            yield name, CANCELLED[name], True
        elif program is not None:
            yield name, f"{program.__module__}:{program.__name__}", False


def explored(cell: str, function: str, cancel: bool) -> dict[str, Any]:
    """Word and reason. Raises SystemExit where it could not be asked at all."""
    folder = HERE / "tests" if function.startswith("corpus:") else HERE.parent
    words = ["--orders", ORDERS, "--models", "docs.patterns.models", *["--cancel"] * cancel]
    try:
        told = checked(cell, function, folder, *words, path=(HERE, HERE.parent))
    except NotChecked as problem:
        raise SystemExit(str(problem)) from None
    return {key: told[key] for key in ("verdict", "reason")}


def on_record() -> dict[str, dict[str, Any]]:
    """cell -> name in the corpus -> what was found."""
    found: dict[str, dict[str, Any]] = json.loads(EXPLORED.read_text("utf-8")) if EXPLORED.exists() else {}
    return found


def told(name: str, record: Mapping[str, Mapping[str, Any]]) -> str:
    """The cell of a table: with which drivers it is found, worst first, or why not. Raises SystemExit for a program
    that is found nowhere, where nobody has said why."""
    if name in WHY_NOT:
        return f"not seen: {WHY_NOT[name]}"
    words: dict[str, list[str]] = {}
    for cell, found in record.items():
        word = found.get(name, {}).get("verdict", SAFE)
        if word not in (SAFE, REFUSES, ERROR):
            own = words.setdefault(word, [])
            own += [driver] if (driver := parse(cell).driver) not in own else []
    if not words:
        raise SystemExit(f"{name}: the explorer finds it nowhere; say in guard/explore.py why")
    return "; ".join(f"{word} with {', '.join(words[word])}" for word in sorted(words, key=rank, reverse=True))


def main() -> int:
    able = bases(orm=True)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cells", nargs="*", metavar="CELL", help=f"of {', '.join(able)} (all)")
    parser.add_argument("--only", metavar="NAME", help="one program; the others stay as on record")
    options = parser.parse_args()
    if unknown := set(options.cells) - set(able):
        parser.error(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(able)}")
    asked = [program for program in programs() if options.only in (None, program[0])]
    if not asked:
        parser.error(f"there is no program {options.only}")
    record = on_record()
    for cell in options.cells or able:
        record[cell] = {name: found for name, found in record.get(cell, {}).items() if options.only}
        for name, function, cancel in asked:
            record[cell][name] = explored(cell, function, cancel)
            print(f"{cell:<20}{name:<36}{record[cell][name]['verdict']}", flush=True)
        ordered = {each: record[each] for each in able if each in record}
        files.write(EXPLORED, json.dumps(ordered, indent=1, ensure_ascii=False) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

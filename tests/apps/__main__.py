"""``python -m tests.apps``: checks the applications on the cells, and writes found.json and README.md's table.

Exit code 1 when a fault is not found where the scenario of its kind does not comply, or when a mended version does not
comply; 2 when something could not be run. A function leaves free what a scenario fixes, so that its fault may be found
where the scenario complies.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import tomllib

from matrix import files
from matrix.harness.drivers import bases
from matrix.report.markdown import escape
from matrix.report.readme import filled
from matrix.results.read import ResultError, read_cell
from matrix.runs.check import NotChecked, checked
from matrix.words import ERROR, GLYPHS

HERE = Path(__file__).parent
FOUND = HERE / "found.json"
README = HERE / "README.md"
MENDED = "_mended"


def faults() -> list[dict[str, str]]:
    """The entries of apps.toml."""
    found: list[dict[str, str]] = tomllib.loads((HERE / "apps.toml").read_text("utf-8"))["fault"]
    return found


def options_of(fault: Mapping[str, str]) -> list[str]:
    """What its functions are checked with."""
    return [word for name in ("setup", "invariant") if name in fault for word in (f"--{name}", fault[name])]


def check(cell: str, fault: Mapping[str, str], function: str) -> dict[str, Any]:
    """What ``python -m matrix check`` makes of a function. Raises NotChecked where it could not run."""
    told = checked(cell, function, HERE, *options_of(fault))
    if told["verdict"] == ERROR:
        raise NotChecked(f"{cell} {function}: {told['reason']}")
    return told


def of_cell(cell: str, results: Path) -> dict[str, dict[str, Any]]:
    """By function: the word, and the words of its mended version and of its scenario. Raises ResultError or
    NotChecked."""
    lines, found = read_cell(results / f"{cell}.jsonl").by_id, {}
    for fault in faults():
        function = fault["function"]
        shown, mended = check(cell, fault, function), check(cell, fault, function + MENDED)
        scenario = lines[fault["scenario"]] if "scenario" in fault else None
        found[function] = {
            **{key: shown[key] for key in ("verdict", "complies", "reason", "schedule")},
            "mended": mended["verdict"],
            "mended_complies": mended["complies"],
            "scenario": scenario and {key: scenario[key] for key in ("scenario", "verdict", "complies")},
        }
        print(f"{cell:<20} {function:<30} {found[function]['verdict']:<8} mended: {mended['verdict']}", flush=True)
    return found


def wrong(found: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """What is not as the matrix says."""
    for cell, functions in found.items():
        for function, each in functions.items():
            if each["complies"] is not False and not (each["scenario"] and each["scenario"]["complies"]):
                yield f"{cell} {function}: {each['verdict']}, its scenario: {each['scenario']}"
            if each["mended_complies"] is not True:
                yield f"{cell} {function}{MENDED}: {each['mended']}"


def table(found: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """A row for each fault: its word and that of its mended version on each cell."""
    yield f"| application | function | of the kind of | {' | '.join(found)} |"
    yield f"|---|---|---|{'---|' * len(found)}"
    for fault in faults():
        places = []
        for functions in found.values():
            each = functions[fault["function"]]
            places.append(" → ".join(f"{GLYPHS[each[key]]} {each[key]}" for key in ("verdict", "mended")))
        kind = fault.get("scenario", "the program's own")
        yield f"| {escape(fault['app'])} | `{fault['function']}` | {kind} | {' | '.join(places)} |"


def fill(found: Mapping[str, Mapping[str, Any]]) -> str:
    """README.md with its table."""
    return filled(README.read_text("utf-8"), {"found": "\n".join(table(found))})


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.apps", description=__doc__)
    parser.add_argument("cells", nargs="*", metavar="CELL", help="of the newest releases (all)")
    parser.add_argument("--results", type=Path, default=Path("results"), help="what the matrix says (results)")
    options = parser.parse_args(arguments)
    able = bases(orm=True)
    if unknown := set(options.cells) - set(able):
        parser.error(f"there is no cell {', '.join(sorted(unknown))}; there are {', '.join(able)}")
    try:
        found = {cell: of_cell(cell, options.results) for cell in options.cells or able}
    except (ResultError, NotChecked) as problem:
        print(problem, file=sys.stderr)
        return 2
    if not options.cells:
        files.write(FOUND, json.dumps(found, indent=1, ensure_ascii=False) + "\n")
        files.write(README, fill(found))
    unmet = list(wrong(found))
    for each in unmet:
        print(each, file=sys.stderr)
    return 1 if unmet else 0


if __name__ == "__main__":
    sys.exit(main())

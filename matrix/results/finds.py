"""Finds: anomalies of generated programs that no scenario shows, kept with their programs until one does.

``python -m matrix results finds GENERATED RESULTS --kept FILE``: GENERATED are results of lines of generated programs,
with whatever budget and seed; RESULTS those of the scenarios of the same cells.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from matrix.files import write
from matrix.results.read import CellResult
from matrix.results.text import code, one_line
from matrix.words import complies, made_of

SCHEMA = 1
Find = dict[str, Any]
Known = dict[tuple[str, tuple[str, ...]], list[str]]


class FindsError(Exception):
    """A file of finds cannot be used; the message is one line."""


def known_of(result: CellResult) -> Known:
    """What the scenarios of a cell show: (verdict, properties) -> scenarios."""
    known: Known = {}
    for line in result.scenarios:
        orders = line.get("orders")
        for each in orders.get("anomalies", ()) if orders and not line.get("generated") else ():
            known.setdefault((each["verdict"], tuple(each["properties"])), []).append(line["scenario"])
    return known


def finds_of(result: CellResult, known: Known) -> Iterator[Find]:
    """The anomalies of a cell's generated programs that none of its scenarios shows, nor several together."""
    for line in result.scenarios:
        generated = line.get("generated")
        if not generated:
            continue
        for each in generated["anomalies"]:
            if not complies(line["level"], each["verdict"]) and not stands(each, known):
                yield {
                    "cell": result.cell,
                    "line": line["scenario"],
                    "verdict": each["verdict"],
                    "properties": each["properties"],
                    "reason": one_line(each["reason"] or ""),
                    "program": each["program"],
                    "schedule": each["schedule"],
                    "seed": generated["seed"],
                    "budget": generated["programs"],
                    "showed": each["programs"],
                    "first": str(result.header["started"])[:10],
                }


def stands(find: Mapping[str, Any], known: Known) -> list[str]:
    """The scenarios that show what was found."""
    signature = find["verdict"], tuple(find["properties"])
    return known.get(signature) or made_of(known, *signature)


def merged(
    kept: Sequence[Find], new: Iterable[Find], known: Mapping[str, Known]
) -> tuple[list[Find], list[Find], list[tuple[Find, list[str]]]]:
    """What is kept now, what of it is new, and what goes with the scenarios that stand for it. ``known``: by cell; a
    find of a cell that was not run stays."""
    gone = [(find, shown) for find in kept if (shown := stands(find, known.get(find["cell"], {})))]
    stays = {_key(find): find for find in kept if not any(find is each for each, _ in gone)}
    fresh = {_key(find): find for find in new if _key(find) not in stays}
    return [*stays.values(), *fresh.values()], list(fresh.values()), gone


def _key(find: Find) -> tuple[str, ...]:
    return find["cell"], find["line"], find["verdict"], *find["properties"]


def read_finds(path: Path) -> list[Find]:
    """Those of a file; none without it. Raises FindsError."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        finds = [dict(each) for each in data["finds"]]
        for each in finds:
            _key(each)
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise FindsError(f"{path}: no file of finds ({type(problem).__name__}); remove it to begin anew") from None
    return finds


def write_finds(path: Path, finds: Sequence[Find]) -> None:
    text = json.dumps({"schema": SCHEMA, "finds": sorted(finds, key=_key)}, ensure_ascii=False, indent=1)
    write(path, text + "\n")


def markdown(kept: Sequence[Find], new: Sequence[Find], gone: Sequence[tuple[Find, list[str]]]) -> Iterator[str]:
    """What was found, for a job's summary or an issue."""
    yield f"## Generated programs: {len(new)} new finds, {len(kept)} kept"
    for find, scenarios in gone:
        yield f"- {_name(find)}: {', '.join(scenarios)} stand{'s' * (len(scenarios) == 1)} for it now"
    for find in kept:
        fresh = "**new**, " if any(find is each for each in new) else ""
        times = f"{find['showed']} of {find['budget']} programs of seed {find['seed']}"
        yield f"\n### {_name(find)}\n\n{fresh}{times}, {find['first']}. {code(find['reason'])}, order {code(find['schedule'])}"
        yield "\n".join(["", *(f"    {text}" for text in str(find["program"]).splitlines())])


def _name(find: Find) -> str:
    return f"{find['line']} on {find['cell']}: {find['verdict']} ({', '.join(find['properties']) or 'refused'})"

"""Finds: anomalies of generated programs that no scenario shows, kept with their programs, also when one does by now.

``python -m matrix results finds GENERATED RESULTS --kept FILE``: GENERATED are results of lines of generated programs,
with whatever budget and seed; RESULTS those of the scenarios of the same cells.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from matrix.results import documents
from matrix.results.read import CellResult
from matrix.results.text import code, one_line
from matrix.results.write import utc_now
from matrix.words import REFUSES, complies, made_of

Find = dict[str, Any]
Known = dict[tuple[str, tuple[str, ...]], list[str]]


class FindsError(Exception):
    """A file of finds cannot be used; the message is one line."""


def known_of(result: CellResult) -> Known:
    """What the scenarios of a cell show: (verdict, properties) -> scenarios. To be refused is something where that was
    promised not to be."""
    known: Known = {}
    for line in result.scenarios:
        orders = line.get("orders")
        if not orders or line.get("generated"):
            continue
        for each in orders.get("anomalies", ()):
            known.setdefault((each["verdict"], tuple(each["properties"])), []).append(line["scenario"])
        if (orders.get("verdicts") or {}).get(REFUSES) and not complies(line["level"], REFUSES):
            known.setdefault((REFUSES, ()), []).append(line["scenario"])
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
                    "reason": one_line(each["reason"] or ""),
                    **{key: each[key] for key in ("verdict", "properties", "program", "schedule")},
                    "seed": generated["seed"],
                    "budget": generated["programs"],
                    "showed": each["programs"],
                    "first": str(result.header["started"])[:10],
                    "scenarios": [],
                }


def stands(find: Mapping[str, Any], known: Known) -> list[str]:
    """The scenarios that show what was found."""
    signature = find["verdict"], tuple(find["properties"])
    return known.get(signature) or made_of(known, *signature)


def merged(
    kept: Sequence[Find], new: Iterable[Find], known: Mapping[str, Known]
) -> tuple[list[Find], list[Find], list[tuple[Find, list[str]]]]:
    """All finds now, what of it is new, and those for which scenarios stand since, with these. ``known``: by cell; a
    find of a cell that was not run stays as it is."""
    now = [{**find, "scenarios": stands(find, known[find["cell"]])} if find["cell"] in known else find for find in kept]
    pairs = zip(kept, now, strict=True)
    settled = [(each, each["scenarios"]) for old, each in pairs if each["scenarios"] != old["scenarios"]]
    fresh = {_key(find): find for find in new if _key(find) not in {_key(each) for each in kept}}
    return [*now, *fresh.values()], list(fresh.values()), [each for each in settled if each[1]]


def _key(find: Find) -> tuple[str, ...]:
    return find["cell"], find["line"], find["verdict"], *find["properties"]


def read_finds(path: Path) -> list[Find]:
    """Those of a file; none without it. Raises FindsError."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        finds = [{"scenarios": [], **each} for each in data["finds"]]
        for each in finds:
            _key(each)
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise FindsError(f"{path}: no file of finds ({type(problem).__name__}); remove it to begin anew") from None
    return finds


def write_finds(path: Path, finds: Sequence[Find]) -> None:
    """As the report reads it (matrix/results/schema/finds-1.schema.json). Raises OSError."""
    head = {"type": "finds", "schema": documents.VERSION, "finished": utc_now()}
    documents.write(path, {**head, "finds": sorted(finds, key=_key)})


def markdown(kept: Sequence[Find], new: Sequence[Find], gone: Sequence[tuple[Find, list[str]]]) -> Iterator[str]:
    """What was found, for a job's summary or an issue."""
    kept = [find for find in kept if not find["scenarios"]]
    yield f"## Generated programs: {len(new)} new finds, {len(kept)} kept"
    for find, scenarios in gone:
        yield f"- {_name(find)}: {', '.join(scenarios)} stand{'s' * (len(scenarios) == 1)} for it now"
    for find in kept:
        fresh = "**new**, " if any(find is each for each in new) else ""
        times = f"{find['showed']} of {find['budget']} programs of seed {find['seed']}"
        yield f"\n### {_name(find)}\n\n{fresh}{times}, {find['first']}."
        yield f"{code(find['reason'])}, order {code(find['schedule'])}"
        yield "\n".join(["", *(f"    {text}" for text in str(find["program"]).splitlines())])


def _name(find: Find) -> str:
    return f"{find['line']} on {find['cell']}: {find['verdict']} ({', '.join(find['properties']) or 'refused'})"

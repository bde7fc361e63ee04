"""What each remedy keeps and costs, in words: docs/patterns/patterns.toml has it as data, and tests measure it
(tests/unit/report/test_keeps.py)."""

from __future__ import annotations

import functools
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from matrix import files

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "patterns"
# What a remedy gives up, said where the code as written was to have it ...
IF_MEANT = {
    "together": "parent and child are two transactions, what one has stored stays when the other fails",
    "sees": "the child does not see the parent's rows",
    "undone": "the child's rows stay when the parent fails afterwards",
}
# ... and what it costs in any case.
ALWAYS = {
    "alone": "a child that fails cannot be rolled back by itself",
    "stops": "the work goes on when its caller is cancelled, and is stored if it comes to its end",
}
CONNECTIONS = {
    "1": "",
    "2": "a request takes two connections",
    "1 per child": "each child takes a connection",
    "1 and 1 per child": "each child takes a connection beside the parent's",
}


@functools.cache
def patterns(folder: Path = FOLDER) -> dict[str, Any]:
    """patterns.toml as it is."""
    return files.read_toml(folder / "patterns.toml")


def has(keeps: Mapping[str, Any], word: str) -> bool:
    """Whether what is meant by a word of ``meant`` is kept."""
    return keeps.get(word) not in (None, False, "no", "stay")


def cost(keeps: Mapping[str, Any], meant: Sequence[str]) -> str:
    """What a remedy gives up of what was meant, and takes; empty when that is nothing."""
    if not keeps:
        return "what it keeps was not measured"
    lost = [word for word in meant if word in IF_MEANT and not has(keeps, word)]
    if "together" in lost and "undone" in lost:
        lost.remove("undone")  # said by the other
    parts = [IF_MEANT[word] for word in lost]
    parts += [text for word, text in ALWAYS.items() if not keeps.get(word, True)]
    parts += ["the children work one after another"] if keeps.get("in_turn") else []
    return "; ".join(filter(None, (*parts, CONNECTIONS[keeps["connections"]], keeps.get("but"))))


def price(keeps: Mapping[str, Any], meant: Sequence[str]) -> str:
    """What follows a remedy's title wherever it is recommended, in the same sentence."""
    given_up = cost(keeps, meant)
    return f"; its cost: {given_up}" if given_up else "; it costs nothing that was meant"


def price_over(remedy: str, scenarios: Collection[str]) -> str:
    """The same for a remedy over scenarios: what was meant is what the patterns that they measure mean. Empty for a
    remedy that is not there as code."""
    keeps = patterns()["keeps"].get(patterns()["remedies"].get(remedy))
    return price(keeps, _meant(scenarios)) if keeps else ""


def code_over(remedy: str, scenarios: Collection[str]) -> str:
    """Where a remedy's code stands, as FILE:FUNCTION, for a pattern that the scenarios measure if that has its own.
    Empty for a remedy that is not there as code."""
    own = [each["code_of"][remedy] for each in _patterns_of(scenarios) if remedy in each.get("code_of", {})]
    name = own[0] if own else patterns()["remedies"].get(remedy)
    return f"docs/patterns/remedies.py:{name}" if name else ""


def preference(remedy: str, kept: int, holds: int, tried: int) -> tuple[int, ...]:
    """Where it is recommended, among others; the smallest comes first. Of those that hold wherever they were run, the
    one that keeps most of what was meant, then the one that holds in most places, then as patterns.toml has them. One
    that holds in some places only comes after them, whatever it keeps: elsewhere it keeps nothing."""
    whole, liked = holds == tried, list(patterns()["remedies"])
    place = liked.index(remedy) if remedy in liked else len(liked)
    return not whole, -kept * whole, -holds, -kept, place


def preference_over(remedy: str, scenarios: Collection[str], holds: int, tried: int) -> tuple[int, ...]:
    """The same for a remedy over scenarios, where those that are there as code come first."""
    keeps = patterns()["keeps"].get(patterns()["remedies"].get(remedy), {})
    kept = sum(has(keeps, word) for word in _meant(scenarios))
    return not keeps, *preference(remedy, kept, holds, tried)


def _patterns_of(scenarios: Collection[str]) -> list[dict[str, Any]]:
    return [each for each in patterns()["pattern"] if not set(scenarios).isdisjoint(each["scenarios"])]


def _meant(scenarios: Collection[str]) -> list[str]:
    return list(dict.fromkeys(word for each in _patterns_of(scenarios) for word in each["meant"]))

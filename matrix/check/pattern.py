"""Which scenario of the suite a run of a user's function looks like, and the remedies that hold for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

MEASURED = Path(__file__).resolve().parents[2] / "guard" / "tortoise_guard" / "measured.json"


def scenario_of(evidence: Any) -> str | None:
    """The id of the scenario, by what stands in the history; None where none of the known ones fits. ``evidence`` as in
    matrix/lines.py."""
    lines = evidence["history"]
    asked = [line for line in lines if line["event"] == "invoke"]
    late = {line["what"] for line in asked if line["fact"].get("late")}
    if late:
        return "CTX-2" if "begin" in late else "CTX-1"
    owners = {line["block"]: line["session"] for line in asked if line["what"] == "begin"}
    names = {block["number"]: block["name"] for block in evidence["blocks"]}
    in_others = {
        owners.get(block["name"])
        for block in evidence["blocks"]
        if block["parent"] and owners.get(block["name"]) != owners.get(names[block["parent"]])
    }
    if in_others:
        return "NST-3" if len(in_others) > 1 else "NST-4"
    ending = {line["block"]: line["n"] for line in asked if line["what"] == "commit"}
    of_others = [line for line in lines if line["block"] in ending and line["session"] != owners.get(line["block"])]
    if any(line["n"] > ending[line["block"]] for line in of_others if line["event"] in ("ok", "error")):
        return "CTX-1"  # a query of another task was under way when the block ended
    return None


def like(evidence: Any) -> dict[str, Any] | None:
    """That scenario with its title, and the remedies that were measured to hold, with the drivers that they hold with;
    None where no scenario is known."""
    found = scenario_of(evidence)
    for rule in json.loads(MEASURED.read_text("utf-8"))["rules"].values():
        if found in rule["scenarios"]:
            return {"scenario": found, "title": rule["scenarios"][found], "remedies": rule["remedies"]}
    return None


def rows(evidence: Any) -> dict[str, str]:
    """For each row of the suite's own that stands behind a statement of the user's: whose, and at which line."""
    steps = [fact for each in evidence["steps"] if (fact := each["fact"] or {}).get("kind") == "step"]
    return {
        fact["step"]["row"]: f"{fact['session']}, {fact['step']['at']}"
        for fact in steps
        if fact["step"]["kind"] == "write" and fact["step"].get("at")
    }

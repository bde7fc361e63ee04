"""Which scenario of the suite a run of a user's function looks like, and the remedies that hold for it.

Each rule reads the facts of the run's evidence (as in matrix/lines.py) and knows nothing of the user's text but the
first word of an SQL statement. The first one that fits names the scenario; where none does, the run is like none of
ours.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

MEASURED = Path(__file__).resolve().parents[2] / "guard" / "tortoise_guard" / "measured.json"
COMMITS = re.compile(r"\s*(CREATE|DROP|ALTER|TRUNCATE|RENAME|BEGIN|COMMIT|ROLLBACK|START)\b", re.IGNORECASE)
LOCKED = r"deadlock|lock wait timeout|could not obtain lock|database is locked|\b1213\b|\b1205\b"
LOCKS = re.compile(LOCKED, re.IGNORECASE)
# Titles of scenarios that no rule of the guard has (the rest stand in its data, with the remedies).
TITLES = {
    "NST-17": "A deadlock inside an inner block is caught outside of it",
    "TXN-12": "get_or_create and update_or_create are raced",
    "TXN-23": "Two transactions lock two rows in opposite order",
}
ENDS = ("commit", "rollback", "leave")


class Facts:
    """What the rules ask of a run. ``found``: the kinds of what was found wrong in it."""

    def __init__(self, evidence: Any, found: frozenset[str] = frozenset()) -> None:
        self.found = found
        self.lines = evidence["history"]
        self.blocks = evidence["blocks"]
        self.asked = [line for line in self.lines if line["event"] == "invoke"]
        self.failed = [line for line in self.lines if line["event"] == "error" and line["error"]]
        self.owners = {line["block"]: line["session"] for line in self.asked if line["what"] == "begin"}
        self.nested = {block["name"] for block in self.blocks if block["parent"]}
        names = {block["number"]: block["name"] for block in self.blocks}
        # Nested blocks that another task has opened than the one around them.
        self.of_others = {
            block["name"]: self.owners.get(block["name"])
            for block in self.blocks
            if block["parent"] and self.owners.get(block["name"]) != self.owners.get(names[block["parent"]])
        }
        # When which task raised an error of the program's own.
        steps = [step for step in evidence["steps"] if (step["fact"] or {}).get("kind") == "raised"]
        self.raised = [(step["at"], step["fact"]["session"]) for step in steps]
        ended = [line for line in self.asked if line["what"] == "rollback" and not line["fact"].get("by_hand")]
        self.rolled_back = {line["block"]: line["n"] for line in ended}
        self.begun = {line["block"]: line["n"] for line in self.asked if line["what"] == "begin"}

    def left_by_own_error(self, block: str) -> bool:
        """Whether the program raised an error in a block, in the task that has opened it, and that ended it."""
        end = self.rolled_back.get(block, 0)
        return any(self.begun[block] < at < end and who == self.owners[block] for at, who in self.raised)

    def under_way(self, cancelled: Any) -> Any:
        """What a task was in when it was cancelled (that line of the history); None outside of an operation."""
        before = [line for line in self.lines if line["n"] < cancelled["n"] and line["session"] == cancelled["session"]]
        asked = [line for line in before if line["event"] == "invoke"]
        over = {line["operation"] for line in before if line["event"] in ("ok", "error", "cancelled")}
        return next((line for line in reversed(asked) if line["operation"] not in over), None)


def _late(facts: Facts) -> str | None:
    late = {line["what"] for line in facts.asked if line["fact"].get("late")}
    if not late:
        return None
    return "CTX-2" if "begin" in late else "CTX-3" if "travelled" in facts.found else "CTX-1"


def _ended_beside(facts: Facts) -> str | None:
    """A task fails, by its own error or with a row that is not to be stored, and its parent's block rolls back while
    another one's query is under way there, or yet to be asked."""
    of_rows = [(line["n"], line["session"]) for line in facts.failed if line["error"]["type"] == "IntegrityError"]
    for block, end in {} if facts.of_others else facts.rolled_back.items():
        owner, before = facts.owners.get(block), [line for line in facts.lines if line["n"] < end]
        failed = {who for at, who in (*facts.raised, *of_rows) if facts.begun.get(block, end) < at < end}
        over = {line["operation"] for line in before if line["event"] in ("ok", "error")}
        there = [line for line in facts.asked if line["block"] == block or line["fact"].get("late")]
        left = {line["session"] for line in there if line["operation"] not in over}
        cancelled = {line["session"] for line in before if line["event"] == "cancelled"}
        if failed - {owner} and left - failed - cancelled - {owner}:
            return "CTX-14"
    return None


def _script(facts: Facts) -> str | None:
    inside = [line for line in facts.asked if line["block"] and line["what"] == "query"]
    texts = [line for line in inside if line["fact"].get("script") or COMMITS.match(line["fact"].get("text", ""))]
    return ("NST-19" if texts[0]["block"] in facts.nested else "TXN-26") if texts else None


def _blocks_in_others(facts: Facts) -> str | None:
    if len(set(facts.of_others.values())) > 1:
        return "NST-5" if any(map(facts.left_by_own_error, facts.of_others)) else "NST-3"
    return "NST-4" if facts.of_others else None


def _cancelled(facts: Facts) -> str | None:
    for line in facts.lines:
        asked = facts.under_way(line) if line["event"] == "cancelled" and line["operation"] is None else None
        if asked is None or not asked["block"]:
            continue
        if asked["what"] == "begin":
            return "TXN-20"
        if asked["what"] in ENDS:
            return "NST-14" if asked["block"] in facts.nested else "TXN-6"
        return "TXN-5" if line["session"] == facts.owners.get(asked["block"]) else "CTX-4"
    return None


def _left_elsewhere(facts: Facts) -> str | None:
    ends = [line for line in facts.asked if line["what"] in ENDS and not line["fact"].get("by_hand")]
    return "CTX-6" if any(line["session"] != facts.owners.get(line["block"]) for line in ends) else None


def _under_way_at_the_end(facts: Facts) -> str | None:
    ending = {line["block"]: line["n"] for line in facts.asked if line["what"] == "commit"}
    ended = [line for line in facts.lines if line["block"] in ending and line["event"] in ("ok", "error")]
    of_others = [line for line in ended if line["session"] != facts.owners.get(line["block"])]
    return "CTX-1" if any(line["n"] > ending[line["block"]] for line in of_others) else None


def _by_hand(facts: Facts) -> str | None:
    by_hand = [line for line in facts.asked if line["fact"].get("by_hand") and line["block"] in facts.nested]
    return "NST-9" if by_hand else None


def _locks(facts: Facts) -> str | None:
    waited = [line for line in facts.failed if LOCKS.search(f"{line['error']['type']} {line['error']['message']}")]
    return ("NST-17" if waited[0]["block"] in facts.nested else "TXN-23") if waited else None


def _caught(facts: Facts) -> str | None:
    """A statement failed in a block, and the block was to be committed all the same."""
    for failed in facts.failed:
        later = [line for line in facts.asked if line["n"] > failed["n"] and line["block"] == failed["block"]]
        if failed["block"] and failed["what"] not in (*ENDS, "begin") and any(x["what"] == "commit" for x in later):
            return "TXN-13"
    return None


def _outside(facts: Facts) -> str | None:
    """A statement was given to the plain connection, inside a block."""
    return "TXN-14" if any(line["fact"].get("plain") for line in facts.asked) else None


def _made_twice(facts: Facts) -> str | None:
    """Two tasks made one row, behind one call that had looked for it: get_or_create."""
    asked = {line["operation"]: line["fact"] for line in facts.asked}
    for line in facts.failed:
        made, at = asked[line["operation"]].get("text", ""), asked[line["operation"]].get("at")
        own = [each for each in facts.asked if each["session"] == line["session"] and each["n"] < line["n"]]
        selects = [each for each in own if each["fact"].get("text", "").startswith("SELECT")]
        looked = any(each["fact"].get("at") == at for each in selects)
        made_by = {each["session"] for each in facts.asked if each["fact"].get("text") == made}
        if line["error"]["type"] == "IntegrityError" and looked and made_by - {line["session"]}:
            return "TXN-12"
    return None


RULES: tuple[Callable[[Facts], str | None], ...] = (
    _ended_beside,
    _late,
    _script,
    _outside,
    _blocks_in_others,
    _cancelled,
    _left_elsewhere,
    _under_way_at_the_end,
    _by_hand,
    _locks,
    _caught,
    _made_twice,
)


def scenario_of(evidence: Any, found: frozenset[str] = frozenset()) -> str | None:
    """The id of the scenario; None where no rule fits."""
    facts = Facts(evidence, found)
    return next((scenario for rule in RULES if (scenario := rule(facts))), None)


def like(evidence: Any, found: frozenset[str], driver: str) -> dict[str, Any] | None:
    """That scenario with its title, and the remedies that were measured to hold with this driver; None where no
    scenario is known."""
    scenario = scenario_of(evidence, found)
    if scenario is None:
        return None
    for rule in json.loads(MEASURED.read_text("utf-8"))["rules"].values():
        if scenario in rule["scenarios"]:
            remedies = {name: text for name, text in rule["remedies"].items() if driver in rule["holds"][name]}
            code = {name: rule["code"][name] for name in remedies if name in rule["code"]}
            return {"scenario": scenario, "title": rule["scenarios"][scenario], "remedies": remedies, "code": code}
    return {"scenario": scenario, "title": TITLES[scenario], "remedies": {}, "code": {}}


def rows(evidence: Any) -> dict[str, str]:
    """For each row of the suite's own that stands behind a statement of the user's: whose, and at which line."""
    steps = [fact for each in evidence["steps"] if (fact := each["fact"] or {}).get("kind") == "step"]
    writes = [fact for fact in steps if fact["step"]["kind"] == "write" and fact["step"].get("at")]
    return {fact["step"]["row"]: f"{fact['session']}, {fact['step']['at']}" for fact in writes}

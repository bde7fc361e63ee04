"""The result of a check in words: all of it is in the data that ``--json`` prints."""

from __future__ import annotations

import argparse
import itertools
import json
import re
import sys
from collections.abc import Mapping
from typing import Any

from matrix.words import ERROR, GLYPHS

# Why a task is not cancelled unless it is named.
WHY = {
    "shielded": "it is waited for through asyncio.shield",
    "behind": "only tasks that are not cancelled wait for it",
    "kept": "no task that waits for it passes a cancellation on to it",
}
NOTES = {
    "nothing_asked": "the function asked nothing of Tortoise: nothing was judged",
    "empty_tables": "your tables are empty when it begins: --setup MODULE:FUNCTION fills them before each order",
    "rest_chosen": "the schedule that was given ends after {given} of {taken} steps; the rest was chosen",
}


def plain(name: str) -> str:
    """A task's name as it is written behind ``--cancel=``: without blanks."""
    return name.replace(" ", "_")


def not_run(options: argparse.Namespace, reason: str) -> dict[str, Any]:
    """The result of what could not be run."""
    about = {"cell": options.cell, "function": options.function}
    return {**about, "verdict": ERROR, "complies": None, "reason": reason}


def refuse(options: argparse.Namespace, told: Mapping[str, Any]) -> int:
    """Say why nothing was run: as data where that is asked for, else beside the output. Returns the exit code."""
    if options.json:
        print(json.dumps(told, indent=2))
    else:
        print(told["reason"], file=sys.stderr)
    return 2


def server(text: str) -> str:
    """What a server calls itself, up to its version."""
    found = re.match(r"\S+ [\d.]+", text)
    return found[0] if found else text


def show(told: dict[str, Any]) -> None:
    """The result in words."""
    word = told["verdict"]
    print(f"{GLYPHS.get(word, '?')} {word}: {told['function']} on {told['cell']} ({server(told['server'])})")
    print(f"  {told['reason']}")
    for each in told["allowed"]:
        print(f"  allowed: {allowed(each)}")
    if word == ERROR:
        return
    verdicts = ", ".join(f"{count} {name}" for name, count in told["orders"]["verdicts"].items())
    every = " (all there are)" if told["orders"].get("possible") else ""
    print(f"  orders: {verdicts}{every}, in {told['seconds']:.1f} s")
    if told["cancelled_tasks"]:
        count, names = told["orders"]["swept"], ", ".join(told["cancelled_tasks"])
        print(f"  cancellations: {count} orders with one, of {names}")
    for each in told["left_out"]:
        print(f"  not cancelled: {each['task']}, {WHY[each['why']]} (--cancel={plain(each['task'])} does it)")
    for each in told["notes"]:
        print(f"  note: {NOTES[each['kind']].format(**each)}")
    for each in told["logged"]:
        times = each["times"]
        print(f"  logged: {each['logger']}: {each['text']}{f' ({times} times)' * (times > 1)}")
    if told["complies"]:
        return
    for each in told["cancelled"]:
        where = f"where it waits in {each['at']}" if each["at"] else "where it waits"
        print(f"  cancelled: {each['task']}, {where}{', as that wait ends' * each['as_it_ends']}")
    for violation in told["violations"]:
        print(f"  {violation['property']}: {violation['text']}")
    for row, at in told["rows"].items():
        print(f"  {row}: the suite's row behind the statement of {at}")
    print("\nthe order:")
    for (action, text), same in itertools.groupby(told["steps"], lambda step: (step["action"], step["text"])):
        count = len(list(same))
        print(f"  {action:>4}  {text}{f' ({count} times)' * (count > 1)}")
    if found := told["like"]:
        print(f"\nlike {found['scenario']}: {found['title']}")
        for identifier, title in found["remedies"].items():
            code = found["code"].get(identifier)
            print(f"  {identifier}: {title}" + (f"; as code: {code}" if code else ""))
        if not found["remedies"]:
            print("  no remedy was measured to hold here")
        print(f"  more: {told['explain']} {found['scenario']}")
    else:
        print("\nlike no pattern of ours")
    print(f"\nschedule: {told['schedule'] or '(a single order)'}\nagain: {told['replay']}")


def allowed(each: dict[str, Any]) -> str:
    """What was allowed, in words."""
    if "stub" in each:
        return f"{each['name']} is replaced by {each['stub']}"
    ran = f"ran to its end {each['times']} times, while the program stood still" if each["times"] else "was not met"
    return f"in a thread, {each['name']}: {ran}"

"""Writes what the guard says of its rules from what the matrix has on record: ``python guard/generate.py``; with
``--check`` it only says whether the files are current. The table of what is found comes from running the corpus.

tortoise_guard/measured.json: per rule what can happen with which drivers, the scenarios that measure it, the remedies
that hold. RULES.md: the same for people, and which scenarios and patterns the guard finds.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import sys
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE), str(HERE / "tests")]

from matrix.files import read_toml  # noqa: E402
from matrix.harness.scenario import catalogue  # noqa: E402
from matrix.results.expectations import ExpectationEntry  # noqa: E402
from matrix.results.keeps import code_over  # noqa: E402
from matrix.runs.scenarios import by_preference, holds_with, on_record  # noqa: E402
from matrix.words import BREAKS, HANGS, LIES, POISONS, REFUSES, VERDICTS, rank  # noqa: E402

MEASURED, RULES = HERE / "tortoise_guard" / "measured.json", HERE / "RULES.md"
COMMAND = "python guard/generate.py"
CAN_HAPPEN = {
    LIES: "what is reported to a task and what is stored differ",
    POISONS: "later tasks on the connection get wrong answers or foreign state",
    HANGS: "tasks wait for ever",
    BREAKS: "tasks fail that should not, or with an internal error",
    REFUSES: "it is refused",
}
REMEDIES = 3  # as many as a finding names, the first of those on the page of patterns


def newest_tortoise() -> str:
    releases = read_toml(HERE.parent / "matrix" / "axes" / "releases.toml")
    newest: str = releases["releases"]["tortoise-orm"]["all"][-1]
    return newest


def measured() -> dict[str, Any]:
    """The content of measured.json."""
    record, known = on_record(), catalogue()
    rules = read_toml(HERE / "rules.toml")
    return {
        "made by": COMMAND,
        "tortoise": newest_tortoise(),
        "rules": {
            name: {
                "title": rule["title"],
                "scenarios": {each: known[each].title for each in rule["scenarios"]},
                "harm": rule.get("harm") or harm(rule["scenarios"], record),
                "remedies": (found := remedies(rule["scenarios"], record)),
                "holds": {each: holds_with(known[each], record) for each in found},
                "code": {each: code for each in found if (code := code_over(each, rule["scenarios"]))},
            }
            for name, rule in rules.items()
        },
    }


def harm(scenarios: Iterable[str], record: Mapping[str, Mapping[str, ExpectationEntry]]) -> str:
    """One sentence: the worst word per driver, worst first."""
    words: dict[str, list[str]] = {}
    for driver, entries in record.items():
        found = [entries[each].verdict or "" for each in scenarios if each in entries]
        if found:
            words.setdefault(max(found, key=rank), []).append(driver)
    parts = [
        f"{CAN_HAPPEN[word]} with {', '.join(words[word])} ({word})" for word in reversed(VERDICTS) if word in words
    ]
    if not parts:
        raise SystemExit(f"{', '.join(scenarios)}: nothing is on record against any driver; is it a rule still?")
    return f"Can happen with Tortoise {newest_tortoise()}: " + "; ".join(parts)


def remedies(scenarios: Collection[str], record: Mapping[str, Mapping[str, ExpectationEntry]]) -> dict[str, str]:
    """Those to try first of those that claim to cure one of the scenarios and hold somewhere, and where."""
    holding = {name: said for name, said in by_preference(scenarios, record).items() if said}
    return dict(list(holding.items())[:REMEDIES])


def page(data: Mapping[str, Any]) -> str:
    """RULES.md."""
    from corpus import NOT_SEEN, WRONG, findings_of, runs_here  # the corpus needs Tortoise, the rest does not
    from explore import on_record as explored
    from explore import told

    known = catalogue()
    lines = [
        f"<!-- Written by `{COMMAND}`. Do not edit. -->",
        "# Rules",
        "",
        f"What can happen is what the matrix has on record for Tortoise {data['tortoise']} and the newest drivers.",
    ]
    for name, rule in data["rules"].items():
        lines += ["", f"## {name}", "", f"{rule['title']}.", "", f"{rule['harm']}.", ""]
        lines += [f"- measured by {each}: {title}" for each, title in rule["scenarios"].items()]
        lines += [f"- instead {each}: {said}{code_of(rule, each)}" for each, said in rule["remedies"].items()]
    lines += [
        "",
        "# What is found",
        "",
        "Every scenario over which a remedy is run, every pattern of `docs/patterns` and more, as plain code in",
        "`tests/corpus.py`: what the guard says of it, found by running it, and on which drivers the explorer",
        "(`python -m matrix check`) finds it, from `explored.json` (`python guard/explore.py`). A word is the worst",
        "of a driver's cells; few orders were run of each, so that a driver that is not named is not acquitted.",
        "",
        "| scenario or pattern | by the guard, as | by the explorer |",
        "|---|---|---|",
    ]
    recorded, record = table(), explored()
    for name, program in WRONG.items():
        title = f"{name}: {known[name].title}" if name in known else f"`{name}`"
        # What this Python cannot run stays as it was written by a newer one.
        found = ", ".join(sorted(asyncio.run(findings_of(program)))) if runs_here(name) else recorded[name]
        lines.append(f"| {title} | {found} | {told(name, record)} |")
    for name, reason in NOT_SEEN.items():
        title = f"{name}: {known[name].title}" if name in known else f"`{name}`"
        lines.append(f"| {title} | not seen: {reason} | {told(name, record)} |")
    text = "\n".join(line.rstrip() for line in lines) + "\n"
    while "\n\n\n" in text:
        text = text.replace("\n\n\n", "\n\n")
    return text


def code_of(rule: Mapping[str, Any], remedy: str) -> str:
    return f" (`{rule['code'][remedy]}`)" if remedy in rule["code"] else ""


def table() -> dict[str, str]:
    """RULES.md's table as it is: what each scenario or pattern is found as."""
    row = re.compile(r"^\| `?([\w-]+)[^|]* \| ([^|]+?)(?: \| [^|]+)? \|$", re.MULTILINE)
    return dict(row.findall(RULES.read_text(encoding="utf-8")))


def as_json(data: Mapping[str, Any]) -> str:
    return json.dumps(data, indent=1, ensure_ascii=False) + "\n"


def files() -> dict[Path, str]:
    data = measured()
    return {MEASURED: as_json(data), RULES: page(data)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a file is not current")
    check, status = parser.parse_args().check, 0
    for path, text in files().items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            print(f"{path.relative_to(HERE.parent)}: {'not current; run ' + COMMAND if check else 'written'}")
            status = 1 if check else 0
            if not check:
                path.write_text(text, encoding="utf-8")
    return status


if __name__ == "__main__":
    raise SystemExit(main())

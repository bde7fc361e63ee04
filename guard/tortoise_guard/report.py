"""Findings as text, with what the matrix measured of them (measured.json), and findings that are allowed."""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from .happened import Finding


@cache
def measured() -> dict[str, Any]:
    """What can happen, by rule; written by ``python guard/generate.py`` from the matrix's expectations."""
    data: dict[str, Any] = json.loads(Path(__file__).with_name("measured.json").read_text(encoding="utf-8"))
    return data


def rules() -> tuple[str, ...]:
    return tuple(measured()["rules"])


def text(finding: Finding, pages: str = "") -> str:
    """A finding in some lines. ``pages``: the address of the matrix's published pages, put before its links."""
    known = measured()["rules"][finding.rule]
    lines = [f"{finding.rule}: {finding.sentence}.", f"    {known['harm']}"]
    for title, scenarios in (("measured by", known["scenarios"]), ("instead", known["remedies"])):
        for name, said in scenarios.items():
            # Where a remedy's code stands: in the repository of the matrix, and on its page of patterns.
            code = f"; as code: {known['code'][name]}" if name in known["code"] else ""
            link = f" ({pages.rstrip('/')}/scenarios/{name}.html)" if pages else ""
            lines.append(f"    {title} {name}: {said}{code}{link}")
    return "\n".join(lines)


@dataclass(frozen=True)
class Allowed:
    """Findings of a rule that are known and accepted: in files that match ``where`` (a pattern such as ``app/*.py``; a
    finding matches by any of its lines), for a reason."""

    rule: str
    where: str
    reason: str

    @classmethod
    def parse(cls, line: str) -> Allowed:
        """``late-query app/audit.py: the trail may be lost``. Raises ValueError with what is wrong."""
        head, _, reason = line.partition(":")
        rule, _, where = head.strip().partition(" ")
        if rule not in rules():
            raise ValueError(f"{line!r}: there is no rule {rule!r}; there are {', '.join(rules())}")
        if not reason.strip():
            raise ValueError(f"{line!r}: say why after a colon, as in '{rule} app/audit.py: the trail may be lost'")
        return cls(rule, where.strip() or "*", reason.strip())

    def covers(self, finding: Finding) -> bool:
        return finding.rule == self.rule and any(_matches(place.file, self.where) for place in finding.places)


def _matches(file: str, pattern: str) -> bool:
    return fnmatch.fnmatch(file, pattern) or fnmatch.fnmatch(file, f"*/{pattern}")


def not_allowed(findings: Iterable[Finding], allowed: Iterable[Allowed]) -> list[Finding]:
    allowed = list(allowed)
    return [finding for finding in findings if not any(each.covers(finding) for each in allowed)]

"""Recorded lines of real runs: headers, steps and histories; frames and exceptions are cut, nobody needs them here."""

from __future__ import annotations

import copy
import json
from functools import cache
from pathlib import Path
from typing import Any


@cache
def _all() -> dict[str, Any]:
    return json.loads(Path(__file__).with_name("recorded.json").read_text(encoding="utf-8"))


def names() -> list[str]:
    """Every recorded line as ``<cell> <scenario>``."""
    return list(_all()["lines"])


def line(name: str) -> dict[str, Any]:
    return copy.deepcopy(_all()["lines"][name])


def header(name: str) -> dict[str, Any]:
    return copy.deepcopy(_all()["headers"][name.split()[0]])

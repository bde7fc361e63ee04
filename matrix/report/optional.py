"""What other parts add to an evidence page when they are there: the diagram, the reproducer, the upstream text."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from markupsafe import Markup


@cache
def _module(name: str) -> ModuleType | None:
    try:
        return importlib.import_module(f"matrix.report.{name}")
    except ModuleNotFoundError:
        return None


def diagram(line: Mapping[str, Any]) -> Markup:
    """The sequence diagram as SVG; empty where there is nothing to draw."""
    module = _module("diagram")
    return Markup(module.diagram(line) if module else "")


def issue_text(line: Mapping[str, Any], header: Mapping[str, Any], reproducer: str | None) -> str:
    """A text for an upstream issue; empty for what complies."""
    module = _module("upstream")
    if module is None or line.get("complies") is not False or line.get("remedy"):
        return ""
    return str(module.issue_text(line, header, reproducer))


def reproducer(results: Path, cell: str, scenario: str) -> bytes | None:
    """The stand-alone script that was seen to show the symptom, if there is one."""
    try:
        return (results / "reproducers" / cell / f"{scenario}.py").read_bytes()
    except OSError:
        return None

"""Reading a folder of results for the report: checked, without the evidence, in several processes where it pays."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

from matrix.report.workers import each
from matrix.results import schema
from matrix.results.read import CellState, Check, cell_paths, read_state


def read(folder: str | os.PathLike[str], workers: int | None = None) -> list[CellState]:
    """What a folder knows of each cell, ordered by cell id. Raises CannotRead, and ImportError without jsonschema."""
    _check()
    return each(workers, [(_state, (path,)) for path in cell_paths(folder)])


@cache
def _check() -> Check:
    return schema.checker(evidence=False)


def _state(path: Path) -> CellState:
    return read_state(path, _check()).without_evidence()

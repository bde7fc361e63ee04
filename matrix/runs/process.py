"""The process of a cell, in the cell's own environment: however it is started, it is started here."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matrix.results.following import FOLLOW
from matrix.runs.environments import ROOT, bytecode_folder

# These are another run's. Bytecode is kept apart, whatever the caller says: compiling the suite and its environment
# anew takes longer than many a scenario.
NOT_PASSED = ("MATRIX_RESULTS", "MATRIX_SOURCES", "MATRIX_POSITION", FOLLOW, "PYTHONDONTWRITEBYTECODE")


def start(
    python: Path,
    cell: str,
    *arguments: str,
    module: str = "matrix.cell",
    variables: Mapping[str, str] | None = None,
    **streams: Any,
) -> subprocess.Popen[Any]:
    """``python -m MODULE CELL …``, with these variables added to those of this process; ``streams`` are Popen's."""
    own = {name: value for name, value in os.environ.items() if name not in NOT_PASSED}
    own |= {"PYTHONPYCACHEPREFIX": str(bytecode_folder()), **(variables or {})}
    return subprocess.Popen([str(python), "-m", module, cell, *arguments], cwd=ROOT, env=own, **streams)

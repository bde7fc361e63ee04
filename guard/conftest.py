"""Puts on the path what the guard's tests import: the guard as it stands here, their own helpers, and the project."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE / "tests"), str(HERE.parent)]

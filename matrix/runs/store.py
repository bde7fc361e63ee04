"""What was run once, under the digest of all that decided it: the whole result, and the same without its evidence,
which is read at once."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path

from matrix import files
from matrix.results.read import CellResult, ResultError, read_cell
from matrix.results.write import encode

KEPT_SECONDS = 30 * 24 * 3600.0  # that a result stays after its last use


@dataclass(frozen=True)
class Store:
    """A folder of results; safe for several programs."""

    folder: Path

    def keep(self, result: CellResult, inputs: str) -> None:
        """Keep a result. Raises OSError."""
        name = result.path.name
        short = b"".join(map(encode, result.without_evidence().lines))
        files.write(self.folder / inputs / "short" / name, short)
        files.copy(result.path, self.folder / inputs / name)

    def find(self, path: Path, inputs: str) -> CellResult | None:
        """The result without its evidence, or None; the whole of it is copied to ``path``, if it is not there."""
        kept = self.folder / inputs / path.name
        with contextlib.suppress(ResultError, FileNotFoundError):
            found = read_cell(kept.parent / "short" / path.name)
            if not same(path, kept):
                files.copy(kept, path)
            os.utime(kept.parent)  # it was of use
            return replace(found, path=path)
        return None

    def forget(self) -> None:
        """Drop what was of no use for a long time."""
        since = time.time() - KEPT_SECONDS
        for entry in self.folder.iterdir() if self.folder.is_dir() else ():
            with contextlib.suppress(FileNotFoundError):
                if entry.is_dir() and entry.stat().st_mtime < since:
                    shutil.rmtree(entry, ignore_errors=True)


def same(path: Path, other: Path) -> bool:
    """Whether one of two files is the other's untouched copy (``files.copy``). Raises FileNotFoundError for other."""
    theirs = other.stat()
    with contextlib.suppress(FileNotFoundError):
        ours = path.stat()
        return (ours.st_size, ours.st_mtime_ns) == (theirs.st_size, theirs.st_mtime_ns)
    return False

"""Writing one cell's result file, line by line, so that a crash leaves what is known and never a file that looks whole.

Lines go to ``<cell>.jsonl.part``; only a finished run gets its footer and the final name. A run holds the lock of its
part until it ends, however it ends: a second run of the cell in the same folder is told so before it begins.
"""

from __future__ import annotations

import fcntl
import json
import math
import os
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import AbstractContextManager
from datetime import datetime, timezone
from pathlib import Path
from typing import IO, Any

from matrix.lines import Footer, Header, ScenarioLine
from matrix.words import SCHEMA


class WriteError(Exception):
    """A result could not be written, and an older complete one is untouched: the disk is full, another run of the cell
    writes there, or a line came twice or too late. The message is one line and says what to do."""


def utc_now() -> str:
    """The moment as the header and footer spell it: ISO 8601, UTC, whole seconds, ``Z``."""
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def plain(value: Any) -> Any:
    """The value with nothing in it that JSON lacks: other types become their ``repr``, NaN and infinities text."""
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else repr(value)
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return repr(value)


def encode(line: Mapping[str, Any]) -> bytes:
    """One line of the file. Lone surrogates are written as JSON escapes, so that the file is always valid UTF-8."""
    text = json.dumps(plain(line), ensure_ascii=False)
    return text.encode("utf-8", "backslashreplace") + b"\n"


class ResultWriter(AbstractContextManager["ResultWriter"]):
    """Writes the result of one run of one cell.

    ``with ResultWriter(path, header) as results: results.scenario(line); …; results.finish()``.
    Leaving the block without ``finish()`` leaves ``<path>.part``: an incomplete run, which readers show as such.
    ``began``: the monotonic clock when the run did, where that was earlier. ``type`` and ``schema`` are added to every
    line; ``header`` needs the keys of the schema.
    """

    def __init__(self, path: str | os.PathLike[str], header: Header, began: float | None = None) -> None:
        self.path = Path(path)
        self.part = self.path.with_name(self.path.name + ".part")
        self.counts: Counter[str] = Counter()
        self._seen: set[str] = set()
        self._planned = len(header.get("planned", ()))
        self._began = time.monotonic() if began is None else began
        self._file: IO[bytes] | None = self._open()
        self._write({"type": "header", "schema": SCHEMA, **header})

    def scenario(self, line: ScenarioLine) -> None:
        """Adds the line of one scenario; it is on its way to the disk when this returns."""
        name = str(line["scenario"])
        if name in self._seen:
            raise WriteError(f"{self.part}: scenario {name} has a line already; a run writes each scenario once")
        self._write({"type": "scenario", "schema": SCHEMA, **line})
        self._seen.add(name)
        self.counts[str(line["verdict"])] += 1

    def finish(self, not_installed: str | None = None) -> Path:
        """Writes the footer and gives the file its final name, replacing the older result. Returns that path.

        ``not_installed``: why the cell cannot be had at all (it does not install, it does not import); then it has no
        scenarios, and that is its result.
        """
        footer: Footer = {
            "type": "footer",
            "schema": SCHEMA,
            "counts": dict(sorted(self.counts.items())),
            "scenarios": len(self._seen),
            "planned": self._planned,
            "seconds": round(time.monotonic() - self._began, 3),
            "finished": utc_now(),
        }
        if not_installed is not None:
            footer["not_installed"] = not_installed
        self._write(footer)
        try:
            os.fsync(self._writable().fileno())
            self.part.replace(self.path)  # before the lock goes
            self.close()
        except OSError as problem:
            raise self._cannot(problem) from problem
        return self.path

    def close(self) -> None:
        """Closes the file where it is. Without ``finish()`` before, the part stays and the run is incomplete."""
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self) -> IO[bytes]:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            while True:
                file = self.part.open("ab", buffering=0)
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if self._is_part(file):
                    file.truncate(0)
                    return file
                file.close()  # its run finished between the two lines above: it is a result now
        except BlockingIOError:
            file.close()
            raise WriteError(
                f"another run of this cell is writing {self.part}: wait for its end, or give this one a folder of its "
                "own (--results FOLDER)"
            ) from None
        except OSError as problem:
            raise self._cannot(problem) from problem

    def _is_part(self, file: IO[bytes]) -> bool:
        try:
            return os.path.samestat(os.fstat(file.fileno()), self.part.stat())
        except FileNotFoundError:
            return False

    def _writable(self) -> IO[bytes]:
        if self._file is None:
            raise WriteError(f"{self.part}: the run is over; nothing can be added to it")
        return self._file

    def _write(self, line: Mapping[str, Any]) -> None:
        file, rest = self._writable(), memoryview(encode(line))
        try:
            while rest:  # an unbuffered write may take less than it was given: the disk fills up in mid-line
                rest = rest[file.write(rest) :]
        except OSError as problem:
            self.close()
            raise self._cannot(problem) from problem

    def _cannot(self, problem: OSError) -> WriteError:
        why = problem.strerror or str(problem)
        return WriteError(
            f"cannot write {self.part}: {why}; the run is incomplete and an older result is kept "
            "(make room or choose another folder, then run the cell again)"
        )

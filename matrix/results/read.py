"""Reading result files: a file is complete and right, or a named exception says what is wrong and on which line."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from functools import cached_property
from pathlib import Path
from typing import Any

from matrix.lines import Axes, Cure, Footer, Header, ScenarioLine
from matrix.results import shape
from matrix.results.text import one_line
from matrix.words import CELL_ID, NOT_VERDICTS, SCENARIO_ID, SCHEMA, VERDICTS

Check = Callable[[Mapping[str, Any]], "str | None"]

AHEAD = timedelta(days=1)  # clocks of two machines may differ by as much
LONGEST = 8 << 20  # bytes of a line: ten times those of the longest that any cell has written
DIGITS = bytes.maketrans(b"123456789", b"0" * 9)
LONG = b"0" * 19  # digits: from here on orjson may make a float of a whole number

_quick: Callable[[bytes], Any] | None = None
with suppress(ImportError):
    import orjson

    _quick = orjson.loads


class ResultError(Exception):
    """A result file cannot be used; the message is one line that begins with the file's path."""

    def __init__(self, path: Path, text: str, line: int | None = None) -> None:
        self.path, self.text, self.line = path, text, line
        super().__init__(f"{path}{f', line {line}' if line else ''}: {one_line(text)}")

    @property
    def without_folder(self) -> str:
        """The same with the file's name instead of its path."""
        return str(type(self)(Path(self.path.name), self.text, self.line))

    def __reduce__(self) -> tuple[Any, ...]:  # so that it comes out of another process as it is
        return type(self), (self.path, self.text, self.line)


class CannotRead(ResultError):
    """The file is not there or cannot be read."""


class BadLine(ResultError):
    """A line is not JSON, is of no known type, stands where it must not, or lacks something."""


@dataclass(frozen=True)
class CellResult:
    """One run of one cell as its file tells it; ``footer`` is None for an incomplete run."""

    path: Path
    header: Header
    scenarios: tuple[ScenarioLine, ...]
    footer: Footer | None

    @property
    def cell(self) -> str:
        return str(self.header["cell"])

    @property
    def axes(self) -> Axes:
        return self.header["axes"]

    @property
    def started(self) -> datetime:
        return parse_timestamp(self.header["started"])

    @property
    def ahead(self) -> bool:
        """Whether it began later than now, by the clock of a machine where that was wrong: it is newer than nothing."""
        return self.started > datetime.now(timezone.utc) + AHEAD

    def without_evidence(self) -> CellResult:
        """The same run with lines that are small: what was seen stays in the file."""
        return replace(self, scenarios=tuple(without_evidence(line) for line in self.scenarios))

    @property
    def not_installed(self) -> str | None:
        """Why the cell cannot be had at all, such as ``does not install: …``; None for a cell that ran."""
        return str(self.footer["not_installed"]) if self.footer and self.footer.get("not_installed") else None

    @property
    def lines(self) -> list[Header | ScenarioLine | Footer]:
        """All lines in the order of the file."""
        return [self.header, *self.scenarios, *([self.footer] if self.footer else [])]

    @cached_property
    def by_id(self) -> dict[str, ScenarioLine]:
        return {line["scenario"]: line for line in self.scenarios}


@dataclass(frozen=True)
class CellState:
    """What a folder knows of one cell.

    ``result``: the newest complete run, if there is one. ``problem``: why the newest run cannot be used; None when
    ``result`` is the newest run. ``attempt``: what can be read of that newest run.
    """

    cell: str
    result: CellResult | None
    problem: ResultError | None = None
    attempt: CellResult | None = None

    @property
    def complete(self) -> bool:
        return self.problem is None

    def without_evidence(self) -> CellState:
        result, attempt = (run.without_evidence() if run else None for run in (self.result, self.attempt))
        return replace(self, result=result, attempt=attempt)


def without_evidence(line: ScenarioLine) -> ScenarioLine:
    """A line without its evidence and that of the scenarios it cures."""
    short = line.copy()
    short.pop("evidence", None)
    if isinstance(cures := short.get("cures"), dict):
        short["cures"] = {name: _without_evidence(cure) for name, cure in cures.items()}
    return short


def _without_evidence(cure: Cure) -> Cure:
    if not isinstance(cure, dict):  # a reader is asked before a schema is
        return cure
    short = cure.copy()
    short.pop("evidence", None)
    return short


def parse_timestamp(text: str) -> datetime:
    """The moment that an ISO 8601 text means; without a zone it is UTC. Raises ValueError."""
    parsed = datetime.fromisoformat(re.sub(r"[Zz]$", "+00:00", text))
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=timezone.utc)


def read_cell(path: str | os.PathLike[str], check: Check | None = None) -> CellResult:
    """The complete result in a file.

    ``check`` is asked about every line and says what is wrong with it, or None (``schema.checker``; else
    ``shape.wrong``). Raises ResultError: CannotRead, BadLine, or what else is not as it has to be.
    """
    result = _read(Path(path), check, partial=False)
    footer = result.footer
    if footer is None:
        raise ResultError(result.path, "the footer is missing, so the run is incomplete: run the cell again")
    counts = dict(Counter(line["verdict"] for line in result.scenarios))
    if footer["scenarios"] != len(result.scenarios) or footer["counts"] != counts:
        text = f"the footer counts {footer['scenarios']} scenarios, the file holds {len(result.scenarios)}"
        raise ResultError(result.path, f"{text}, or their verdicts differ: run the cell again")
    return result


def read_part(path: str | os.PathLike[str]) -> CellResult:
    """What an incomplete run left; a last line that was cut off is passed over. Raises a ResultError."""
    return _read(Path(path), None, partial=True)


def read_folder(folder: str | os.PathLike[str], check: Check | None = None) -> list[CellState]:
    """What a folder knows of each cell, ordered by cell id. Raises CannotRead when there is no such folder."""
    return [read_state(path, check) for path in cell_paths(folder)]


def results_in(folder: str | os.PathLike[str]) -> list[CellResult]:
    """The complete results of a folder, ordered by cell id. Raises CannotRead when there is no such folder."""
    return [state.result for state in read_folder(folder) if state.result]


def cell_paths(folder: str | os.PathLike[str]) -> list[Path]:
    """The result file of each cell of a folder, there or not, ordered by cell id. Raises CannotRead."""
    folder = Path(folder)
    if not folder.is_dir():
        raise CannotRead(folder, "there is no such folder; run the cells first (tox)")
    files = [file.name for file in folder.iterdir() if file.name.endswith((".jsonl", ".jsonl.part"))]
    names = {name.removesuffix(".part").removesuffix(".jsonl") for name in files if not name.startswith(".")}
    return [folder / f"{name}.jsonl" for name in sorted(names)]


def read_state(path: Path, check: Check | None = None) -> CellState:
    """What is known of the cell whose result file this is, or would be."""
    cell, part = path.stem, path.with_name(path.name + ".part")
    result: CellResult | None = None
    problem: ResultError | None = None
    if os.path.lexists(path):  # a link to nothing is no result, and must not be taken for a cell without one
        try:
            result = read_cell(path, check)
        except ResultError as error:
            problem = error
    if os.path.lexists(part):
        try:
            attempt = read_part(part)
        except ResultError as error:
            return CellState(cell, result, problem or error)
        if result is None or attempt.started > result.started:
            done, planned = len(attempt.scenarios), len(attempt.header["planned"])
            text = f"the run of {attempt.header['started']} is incomplete: {done} of {planned} scenarios done"
            return CellState(cell, result, problem or ResultError(part, text), attempt)
    return CellState(cell, result, problem)


def _read(path: Path, check: Check | None, partial: bool) -> CellResult:
    header: Header | None = None
    footer: Footer | None = None
    scenarios: dict[str, ScenarioLine] = {}
    raw = _raw_lines(path)
    for number, text in enumerate(raw, start=1):
        if partial and number == len(raw) and not text.endswith(b"\n"):
            break
        line = _parse(path, number, text)
        kind = line["type"]
        if footer is not None:
            raise BadLine(path, "something follows the footer", number)
        if (number == 1) != (kind == "header"):
            if number == 1:
                raise ResultError(path, "the first line is not a header", number)
            raise BadLine(path, "a second header", number)
        if wrong := (check or shape.wrong)(line):
            raise BadLine(path, wrong, number)
        if kind == "header":
            header = _checked_header(path, line)
        elif kind == "footer":
            footer = line
            _check_moment(path, number, line, "finished")
        else:
            name = str(line["scenario"])
            if not SCENARIO_ID.fullmatch(name):
                raise BadLine(path, f"{name!r} is not a scenario id", number)
            if line["verdict"] not in (*VERDICTS, *NOT_VERDICTS):
                raise BadLine(path, f"{line['verdict']!r} is not a verdict", number)
            if name in scenarios:
                raise ResultError(path, f"{name} has two lines", number)
            scenarios[name] = line
    if header is None:
        raise ResultError(path, "the file is empty: the run ended before it began")
    return CellResult(path, header, tuple(scenarios.values()), footer)


def _raw_lines(path: Path) -> list[bytes]:
    lines: list[bytes] = []
    try:
        if path.exists() and not path.is_file():  # reading a named pipe would wait for ever
            raise CannotRead(path, "is no regular file: remove it, and run the cell again")
        with path.open("rb") as file:
            while text := file.readline(LONGEST + 1):
                lines.append(text)
                if len(text) > LONGEST:
                    raise BadLine(path, f"longer than {LONGEST >> 20} MiB: run the cell again", len(lines))
    except OSError as problem:
        if path.is_symlink() and not path.exists():
            gone = "is a link to a file that is not there: remove it, and run the cell again"
            raise CannotRead(path, gone) from problem
        raise CannotRead(path, f"cannot be read: {problem.strerror}") from problem
    return lines


def parse(text: bytes) -> Any:
    """What JSON text means, exactly; twice as fast where orjson is installed. Raises ValueError and RecursionError."""
    if _quick and LONG not in text.translate(DIGITS):
        try:
            return _quick(text)
        except ValueError:  # such as lone surrogates, which a result may hold
            pass
    return json.loads(text.decode("utf-8"), parse_constant=_no_number)


def _parse(path: Path, number: int, text: bytes) -> Any:
    """A line; of what type it is, its ``type`` says."""
    try:
        line: Any = parse(text)
    except (ValueError, RecursionError) as problem:
        raise BadLine(path, f"not a line of JSON: {problem}", number) from problem
    if not isinstance(line, dict) or line.get("type") not in tuple(shape.KINDS):
        raise BadLine(path, "neither header nor scenario nor footer", number)
    if line.get("schema") != SCHEMA:
        what = f"schema {line.get('schema')!r} is unknown, this program reads {SCHEMA}"
        raise ResultError(path, f"{what}: use a newer version of it", number)
    return line


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is no JSON number")


def _checked_header(path: Path, header: Header) -> Header:
    name = path.name.removesuffix(".part").removesuffix(".jsonl")
    if not CELL_ID.fullmatch(header["cell"]):
        raise BadLine(path, f"{header['cell']!r} is not a cell id", 1)
    if header["cell"] != name:
        raise ResultError(path, f"the header is of cell {header['cell']}", 1)
    _check_moment(path, 1, header, "started")
    return header


def _check_moment(path: Path, number: int, line: Mapping[str, Any], key: str) -> None:
    try:
        parse_timestamp(line[key])
    except (TypeError, ValueError) as problem:
        raise BadLine(path, f"{key!r} is not a moment: {problem}", number) from problem

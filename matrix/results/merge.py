"""Joining the results of several folders (shards, or runs of several days): the newest complete run of a cell wins."""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any

from matrix import files
from matrix.results import documents
from matrix.results.read import CellResult, CellState, parse_timestamp, read_folder, results_in
from matrix.results.write import encode


class MergeError(Exception):
    """The merged results cannot be written; the message is one line."""


def merge(folders: Iterable[str | os.PathLike[str]]) -> list[CellState]:
    """The state of every cell over all folders, ordered by cell id; the order of the folders does not matter.

    Raises CannotRead for a folder that does not exist, and a ResultError for a file that no reader can use.
    """
    states: dict[str, list[CellState]] = {}
    for folder in folders:
        for state in read_folder(folder):
            states.setdefault(state.cell, []).append(state)
    return [_newest(states[cell]) for cell in sorted(states)]


def _newest(states: list[CellState]) -> CellState:
    result = max((state.result for state in states if state.result), key=_age, default=None)
    attempts = [state for state in states if state.attempt]
    latest = max(attempts, key=lambda state: _age(state.attempt), default=None)
    if latest is not None and (result is None or _age(latest.attempt) > _age(result)):
        return CellState(latest.cell, result, latest.problem, latest.attempt)
    problems = sorted((state.problem for state in states if state.problem), key=str)
    return CellState(states[0].cell, result, None if result or not problems else problems[0])


def _age(run: CellResult | None) -> tuple[object, ...]:
    """Orders runs by start, then end; two files of the very same run are told apart by what they hold. Who began later
    than now comes before all others."""
    assert run is not None
    ended = parse_timestamp(run.footer["finished"]) if run.footer else run.started
    return not run.ahead, run.started, ended, run.path.read_bytes()


def write_merged(out: str | os.PathLike[str], folders: Iterable[str | os.PathLike[str]]) -> list[CellState]:
    """Writes the merged cells into a folder, each file under its final name only when it is whole, and of each document
    on the suite itself (faults.json, stability.json) the newest.

    The folder may be one of those that are read. Raises MergeError or a ResultError before anything is written.
    """
    folders = list(folders)
    out, states = Path(out), merge(folders)
    newest = _newest_documents(folders)
    unusable = [state.problem for state in states if state.result is None and state.attempt is None]
    if unusable:
        raise MergeError(str(unusable[0]))
    contents = {
        run.path.name: run.path.read_bytes() for state in states for run in (state.result, state.attempt) if run
    }
    try:
        for name, content in sorted(contents.items()):
            files.write(out / name, content, durable=True)
        for kind, document in newest.items():
            documents.write(out / f"{kind}.json", document)
        for state in states:
            if state.complete:
                (out / f"{state.cell}.jsonl.part").unlink(missing_ok=True)
    except OSError as problem:
        raise MergeError(f"cannot write to {out}: {problem.strerror or problem}") from problem
    return states


def _newest_documents(folders: Iterable[str | os.PathLike[str]]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for folder in folders:
        for kind, document in documents.read_folder(folder).items():
            found[kind] = max(found.get(kind, document), document, key=lambda each: (each["finished"], repr(each)))
    return found


def write_trimmed(out: str | os.PathLike[str], folder: str | os.PathLike[str], days: int | None = None) -> int:
    """Writes the complete results of a folder without evidence, each under its final name only when it is whole.

    What lies in ``out`` stays, but for results that began more than ``days`` before the newest one. Returns how many
    were written. Raises MergeError or a ResultError.
    """
    out, results = Path(out), results_in(folder)
    try:
        for result in results:
            lines = result.without_evidence().lines
            files.write(out / result.path.name, b"".join(map(encode, lines)), durable=True)
        if days is not None:
            _drop_older(out, timedelta(days=days))
    except OSError as problem:
        raise MergeError(f"cannot write to {out}: {problem.strerror or problem}") from problem
    return len(results)


def _drop_older(folder: Path, span: timedelta) -> None:
    runs = results_in(folder)
    newest = max((run.started for run in runs if not run.ahead), default=None)
    for run in runs:
        if newest is not None and newest - run.started > span:
            run.path.unlink()

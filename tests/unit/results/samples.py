"""Makes results for the tests: headers, scenario lines, evidence, whole folders. No product code uses them."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from matrix.results.write import ResultWriter
from matrix.words import complies

CELLS = (
    ("sqlite-aiosqlite", "aiosqlite", "0.22.1", "sqlite", "3.40.1"),
    ("postgres-asyncpg", "asyncpg", "0.32.0", "postgres", "15.18"),
    ("postgres-psycopg", "psycopg", "3.3.9", "postgres", "15.18"),
    ("mysql-aiomysql", "aiomysql", "0.3.2", "mysql", "9.7.4"),
    ("mysql-asyncmy", "asyncmy", "0.2.18", "mysql", "9.7.4"),
    ("mariadb-aiomysql", "aiomysql", "0.3.2", "mariadb", "10.11.19"),
    ("mariadb-asyncmy", "asyncmy", "0.2.18", "mariadb", "10.11.19"),
    ("odbc-asyncodbc", "asyncodbc", "0.1.1", "odbc", ""),
)
FAMILY = {
    "CON": "connection",
    "CAN": "cancellation",
    "POOL": "pool",
    "ORM": "client",
    "TXN": "transaction",
    "NST": "nested",
    "CTX": "context",
    "FIX": "remedies",
    "GEN": "generated",
}


def header(cell: str = "mysql-aiomysql", planned: Iterable[str] = ("NST-3", "NST-4"), **changes: Any) -> dict[str, Any]:
    """A header of one of CELLS; further keys replace those of the header, ``axes`` is merged."""
    _, driver, version, server, server_version = next(known for known in CELLS if known[0] == cell)
    axes = {"driver": driver, "driver_version": version, "tortoise": "1.1.9", "server": server}
    axes |= {"server_version": server_version, "python": "3.11.7", "loop": "asyncio"} | changes.pop("axes", {})
    return {
        "cell": cell,
        "axes": axes,
        "packages": {driver: version, "tortoise-orm": "1.1.9", "pytest": "9.0.1", "PyMySQL": "1.2.4"},
        "server_string": f"{server} {server_version}",
        "platform": "Linux x86_64",
        "commit": "0123abc",
        "started": "2026-11-23T18:00:00Z",
        "planned": list(planned),
        **changes,
    }


def scenario(name: str = "NST-4", verdict: str = "safe", level: str = "must", **changes: Any) -> dict[str, Any]:
    """A scenario line with the keys that every line has."""
    return {
        "type": "scenario",
        "schema": 1,
        "scenario": name,
        "family": FAMILY.get(name.split("-")[0], "generated"),
        "title": f"The title of {name}",
        "contract": "Every task gets the answer to its own question.",
        "level": level,
        "source": {"text": "A quoted promise.", "url": "https://peps.python.org/pep-0249/"},
        "links": ["https://github.com/tortoise/tortoise-orm/issues/1938"],
        "verdict": verdict,
        "complies": complies(level, verdict),
        "violations": [] if verdict in ("safe", "n/a") else [{"property": "routing", "sentence": "A got B's row."}],
        "reason": "a reason",
        "proof": None,
        "orders": {"explored": 5, "possible": 6, "verdicts": {verdict: 5}},
        "schedule": "AAB1",
        "seconds": 0.25,
        "evidence": evidence(),
        **changes,
    }


def evidence(**changes: Any) -> dict[str, Any]:
    """Evidence with every part, of two tasks that overlap on one connection."""
    boom = {"type": "builtins.RuntimeError", "message": "readexactly() called while another coroutine is waiting"}
    return {
        "program": "async def nst_4(world):\n    async with world.transaction():\n        ...\n",
        "steps": [
            {"n": 1, "action": "A", "text": "the parent asks"},
            {"n": 2, "action": "B", "text": "the child asks"},
        ],
        "history": [
            event(1, "parent", "begin", None, "opens the transaction", None),
            event(2, "parent", "invoke", 1, "query", "SELECT 'n1'"),
            event(3, "child", "invoke", 2, "savepoint", "SAVEPOINT s1"),
            event(4, "child", "error", 2, "savepoint", None, error=boom),
            event(5, None, "note", None, "the answer is released", None),
            event(6, "parent", "ok", 1, "query", None, result=[["n1"]]),
            event(7, "parent", "end", None, "commits", None),
        ],
        "frames": [
            frame("->", "COM_QUERY", "SELECT 'n1'"),
            frame("<-", "resultset", "1 row", held=True),
            frame("->", "COM_QUERY", "SAVEPOINT s1", overlap=True),
        ],
        "exceptions": [{"session": "child", "operation": 2, **boom, "traceback": "Traceback (most recent call last):"}],
        "witness": {
            "rows": [{"id": 1, "name": "parent"}, {"id": 2, "name": "child"}],
            "expected": [{"id": 1, "name": "parent"}],
            "sentences": ["The child was told that its block failed, and its row is stored."],
        },
        "aftermath": [
            {"text": "the connection answers a sentinel query", "ok": True},
            {"text": "pool full", "ok": False},
        ],
        "hang": {
            "proof": "idle",
            "waiting": [{"task": "child", "where": "pool.py:10"}],
            "connections": ["wire 1: nothing in flight"],
            "text": "no task can go on",
        },
        "loop_errors": ["Task exception was never retrieved"],
        **changes,
    }


def event(n: int, session: str | None, kind: str, operation: int | None, what: str, text: Any, **more: Any) -> dict:
    found = {"n": n, "ms": n * 1.5, "session": session, "event": kind, "operation": operation, "what": what}
    return {**found, "text": text, "block": "T1", "result": None, "error": None, **more}


def frame(direction: str, kind: str, text: str, **more: Any) -> dict[str, Any]:
    return {"ms": 1.0, "wire": 1, "direction": direction, "kind": kind, "length": 20, "text": text} | {
        "held": False,
        "overlap": False,
        **more,
    }


def remedy(name: str = "FIX-1a", word: str = "fails", cures: dict[str, Any] | None = None, **changes: Any) -> dict:
    """The line of a remedy run over NST-3 and NST-4."""
    cured = {"violations": [{"property": "atomicity", "sentence": "Half is stored."}], "schedule": "AB", "reason": "so"}
    cured |= {"orders": {"explored": 2, "possible": 2, "verdicts": {"lies": 2}}, "evidence": evidence()}
    cures = cures or {
        "NST-3": {"verdict": "lies", "without": "breaks", **cured},
        "NST-4": {"verdict": "safe", "without": None, **cured, "violations": []},
    }
    verdict = "safe" if word == "holds" else "lies"
    return scenario(name, verdict, remedy=word, complies=word == "holds", cures=cures, evidence=None, **changes)


def write_cell(folder: Path, head: dict[str, Any], lines: Iterable[dict[str, Any]], finish: bool = True) -> Path:
    """Writes a result file as a cell would; without ``finish`` it stays a part."""
    path = folder / f"{head['cell']}.jsonl"
    with ResultWriter(path, head) as results:
        for line in lines:
            results.scenario(line)
        if finish:
            results.finish()
    return path if finish else results.part


def write_folder(folder: Path) -> Path:
    """Eight cells with a few scenarios of each family and every word of the vocabulary."""
    words = ("safe", "refuses", "breaks", "hangs", "poisons", "lies")
    names = ("CON-1", "CON-2", "CAN-1", "POOL-1", "ORM-1", "TXN-2", "TXN-10", "NST-3", "NST-4", "CTX-1")
    remedies = ("holds", "not needed", "partly", "fails", "worse")
    for at, (cell, *_) in enumerate(CELLS):
        lines = [scenario(name, words[(at * 3 + row) % 6] if row % 3 else "safe") for row, name in enumerate(names)]
        lines.append(scenario("ORM-3", "breaks", level="info"))
        lines.append(scenario("CTX-7", "n/a", reason="eager tasks need Python 3.12", evidence=None))
        lines += [remedy("FIX-1a", remedies[at % 5]), remedy("FIX-4", remedies[(at + 1) % 5])]
        write_cell(folder, header(cell, [line["scenario"] for line in lines]), lines)
    return folder


def fault(name: str = "AnswersInWrongOrder", **changes: Any) -> dict[str, Any]:
    """A seeded fault that one scenario caught for what it is, and another for something else."""
    catches = [
        {"scenario": "CON-1", "verdict": "lies", "properties": ["routing"], "reason": "another's answer"},
        {"scenario": "CAN-1", "verdict": "poisons", "properties": ["routing", "recovery"], "reason": "afterwards"},
    ]
    return {
        "name": name,
        "sentence": "Gives each answer to the task that asked last.",
        "property": "routing",
        "verdict": "lies",
        "caught_by": ["CON-1"],
        "catches": catches,
        "gap": "",
        "errors": [],
        **changes,
    }


def faults(*seeded: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """The document of seeded faults."""
    right = {"name": "Queueing", "sentence": "Right: it waits.", "verdicts": {"CON-1": "safe", "CAN-1": "safe"}}
    return {
        "type": "faults",
        "schema": 1,
        "commit": "0123abc",
        "finished": "2026-11-23T18:00:00Z",
        "seconds": 10.2,
        "scenarios": ["CON-1", "CAN-1"],
        "faults": list(seeded or [fault()]),
        "right": [{**right, "problems": []}],
        **changes,
    }


def stability(**changes: Any) -> dict[str, Any]:
    """The document of a cell that disagreed once in twenty repeats."""
    replays = {"repeats": 20, "disagreements": 1, "interval": [0.0089, 0.2361], "loaded": 10, "loaded_disagreements": 1}
    disagreeing = {
        "scenario": "TXN-5",
        "remedy": None,
        "schedule": "A.1.A",
        "expected": "hangs: liveness",
        "disagreements": 1,
        "loaded": 1,
        "seen": {"safe": 1},
        "sentence": "every operation completed as told",
    }
    cell = {
        "cell": "mysql-aiomysql",
        "rule": "each time",
        "schedules": 83,
        "seconds": 31.5,
        "replays": {**replays, "runs": 1660, "first_tries": 1659},
        "whole": {"repeats": 2, "disagreements": 0, "interval": [0.0, 0.6576]},
        "disagreeing": [disagreeing],
    }
    other = {"rule": "seen twice", "whole": None, "disagreeing": []}
    return {
        "type": "stability",
        "schema": 1,
        "commit": "0123abc",
        "finished": "2026-11-23T18:00:00Z",
        "platform": "Linux x86_64",
        "cores": 2,
        "cells": [cell, copy.deepcopy({**cell, "cell": "odbc-asyncodbc", **other})],
        **changes,
    }


def web(**changes: Any) -> dict[str, Any]:
    """Two requests of FastAPI: one that drivers differ in with the newest release, and one that is right."""

    def request(name: str, verdict: str, reason: str, *notes: str) -> dict[str, Any]:
        said = {"name": name, "verdict": verdict, "reason": reason, "notes": list(notes), "answer": 200, "left": False}
        write = {"text": "one", "error": "", "cancelled": False, "inside": True}
        return {**said, "block": "committed", "writes": [write], "raised": [], "stored": ["one"]}

    def run(fastapi: str, driver: str, *requests: dict[str, Any]) -> dict[str, Any]:
        versions = {"fastapi": fastapi, "starlette": "1.10.0", "uvicorn": "0.54.0", "tortoise-orm": "1.1.9"}
        axes = {"driver": driver, "driver_version": "1", "server": "sqlite", "python": "3.11.7"}
        return {**versions, **axes, "requests": list(requests)}

    lost = request("detached", "lies", "The client was answered 200, and 'audit' is not stored.", "sent before the end")
    refused = request("detached", "refuses", "Refused: InterfaceError.")
    right = [
        request(name, "safe", "The client was answered 200, and 'one' is stored.")
        for name in ("detached", "dependency")
    ]
    runs = [run("0.115.14", "aiosqlite", *right), run("0.165.0", "asyncpg", refused), run("0.165.0", "aiosqlite", lost)]

    def program(kind: str, name: str, driver: str, *seen: tuple[str, str | None, str, str], **packages: str) -> Any:
        axes = {"driver": driver, "driver_version": "1", "server": "sqlite", "python": "3.13.0"}
        told = [
            {"place": place, "told": said, "stored": 1, "verdict": verdict, "reason": reason}
            for place, said, verdict, reason in seen
        ]
        return {"kind": kind, "name": name, **axes, "packages": {"tortoise-orm": "1.1.9", **packages}, "seen": told}

    bare = ("request", "RuntimeError: No context", "breaks", "RuntimeError: No context.")
    task, hung = ("task", "", "safe", "Served."), ("child", None, "hangs", "Nothing was told.")
    programs = [
        program("lifespan", "quart_helper", "aiosqlite", bare, task, quart="0.23.1"),
        program("lifespan", "quart_helper", "asyncpg", bare, task, quart="0.23.1"),
        program("fork", "fork_same_loop", "aiosqlite", hung),
        program(
            "fork",
            "fork_same_loop",
            "asyncpg",
            ("child", "", "safe", "Served."),
            ("child_again", "", "safe", "Served."),
        ),
    ]
    changes = {"programs": programs, **changes}
    return {"type": "web", "schema": 1, "finished": "2026-11-23T18:00:00Z", "seconds": 9.5, "runs": runs, **changes}


def finds(*found: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A finds.json: one that NST-3 shows by now, and one that nothing shows."""
    one = {"cell": "mysql-aiomysql", "line": "GEN-6", "verdict": "breaks", "properties": ["liveness"]}
    one |= {"reason": "a task waits for ever", "program": "async def program():\n    pass", "schedule": "A.B"}
    one |= {"seed": 20261129, "budget": 1000, "showed": 13, "first": "2026-11-29", "scenarios": []}
    other = {**one, "verdict": "lies", "properties": ["durability"], "scenarios": ["NST-3"]}
    return {
        "type": "finds",
        "schema": 1,
        "finished": "2026-11-29T05:00:00Z",
        "finds": [*(found or (one, other))],
        **changes,
    }

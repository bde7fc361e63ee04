"""Results in which everything that comes from outside tries to break out of where it is written."""

from __future__ import annotations

import hashlib
from pathlib import Path

from matrix.results.reproducers import write_index
from tests.unit.results.samples import event, evidence, frame, header, remedy, scenario, write_cell

TEXT = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)> | a` [red]x[/red] \x1b[31m\x07 {{7*7}} \u202e \udc80"


def write(folder: Path) -> Path:
    """Three cells in which every foreign text is hostile."""
    error = {"type": TEXT, "message": TEXT}
    seen = evidence(
        program=TEXT,
        steps=[{"n": 1, "action": TEXT, "text": TEXT}],
        history=[event(1, TEXT, "invoke", 1, TEXT, TEXT), event(2, TEXT, "error", 1, TEXT, TEXT, error=error)],
        frames=[frame("->", TEXT, TEXT, overlap=True)],
        exceptions=[{"session": TEXT, "operation": 1, **error, "traceback": TEXT}],
        witness={"rows": [{TEXT: TEXT}], "expected": [TEXT], "sentences": [TEXT]},
        aftermath=[{"text": TEXT, "ok": False}],
        hang={"proof": TEXT, "waiting": [{"task": TEXT, "where": TEXT}], "connections": [TEXT], "text": TEXT},
        loop_errors=[TEXT],
    )
    foreign = {"title": TEXT, "contract": TEXT, "reason": TEXT, "schedule": TEXT, "evidence": seen}
    foreign["source"] = {"text": TEXT, "url": "javascript:alert(3)"}
    foreign["links"] = ["javascript:alert(4)", f"https://example.org/{TEXT}"]
    foreign["violations"] = [{"property": TEXT, "sentence": TEXT}]
    foreign["orders"] = {"explored": 3, "possible": None, "estimate": 10**12, "verdicts": {TEXT: 3}}
    foreign["variants"] = {TEXT: "lies"}
    cures = {"NST-3": {"verdict": "lies", "without": "safe", "reason": TEXT, "schedule": TEXT, "evidence": seen}}
    cures["NST-3"]["violations"] = foreign["violations"]
    for cell, release in (("mysql-aiomysql", TEXT), ("mariadb-aiomysql", "../../" + TEXT), ("mysql-asyncmy", "1.1.9")):
        versions = dict.fromkeys(("driver_version", "server_version", "python", "loop"), TEXT)
        head = header(cell, planned=["NST-3", "FIX-1a"], axes={**versions, "tortoise": release})
        head |= {"packages": {TEXT: TEXT}, "server_string": TEXT, "platform": TEXT, "commit": TEXT}
        line = {**remedy(), **foreign, "cures": cures}
        write_cell(folder, head, [scenario("NST-3", "lies", **foreign), line])
    script = f"# {TEXT}\n".encode("utf-8", "backslashreplace")
    (folder / "reproducers").mkdir()
    (folder / "reproducers" / "one.py").write_bytes(script)
    about = {"cell": "mysql-aiomysql", "scenario": "NST-3", "verdict": "lies", "schedule": TEXT}
    about |= {"path": "one.py", "sha256": hashlib.sha256(script).hexdigest()}
    write_index(folder / "reproducers", {"reproducers": [about, {**about, "scenario": "FIX-1a-NST-3"}]})
    return folder


def write_older(folder: Path) -> Path:
    """The same cell before: another verdict, as hostile."""
    head = header(planned=["NST-3"], axes={"driver_version": TEXT + "0"})
    write_cell(folder, head, [scenario("NST-3", "safe", title=TEXT, reason=TEXT)])
    return folder

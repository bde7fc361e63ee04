"""Results in which everything that comes from outside tries to break out of where it is written."""

from __future__ import annotations

from pathlib import Path

from tests.unit.results.samples import event, evidence, frame, header, remedy, scenario, write_cell

TEXT = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)> | a` [red]x[/red] \x1b[31m\x07 {{7*7}} \u202e \udc80"


def write(folder: Path) -> Path:
    """One cell in which every foreign text is hostile."""
    error = {"type": TEXT, "message": TEXT}
    seen = evidence(
        program=TEXT,
        steps=[{"n": 1, "action": TEXT, "text": TEXT}],
        history=[event(1, TEXT, "invoke", 1, TEXT, TEXT), event(2, TEXT, "error", 1, TEXT, TEXT, error=error)],
        frames=[frame("->", TEXT, TEXT, overlap=True)],
        exceptions=[{"session": TEXT, "operation": 1, **error, "traceback": TEXT}],
        witness={"rows": [{TEXT: TEXT}], "expected": [TEXT], "sessions": [TEXT], "sentences": [TEXT]},
        aftermath=[{"text": TEXT, "ok": False}],
        hang={"proof": TEXT, "waiting": [{"task": TEXT, "where": TEXT}], "connections": [TEXT], "text": TEXT},
        loop_errors=[TEXT],
    )
    foreign = {"title": TEXT, "contract": TEXT, "reason": TEXT, "schedule": TEXT, "evidence": seen}
    foreign["source"] = {"text": TEXT, "url": "javascript:alert(3)"}
    foreign["links"] = ["javascript:alert(4)", f"https://example.org/{TEXT}"]
    foreign["violations"] = [{"property": TEXT, "sentence": TEXT}]
    head = header(planned=["NST-3", "FIX-1a"], axes={"driver_version": TEXT, "server_version": TEXT, "python": TEXT})
    head |= {"packages": {TEXT: TEXT}, "server_string": TEXT, "platform": TEXT, "commit": TEXT}
    cures = {"NST-3": {"verdict": "lies", "without": "safe", "reason": TEXT, "schedule": TEXT, "evidence": seen}}
    line = {**remedy(), **foreign, "cures": cures}
    write_cell(folder, head, [scenario("NST-3", "lies", **foreign), line])
    return folder

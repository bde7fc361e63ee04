"""``python -m tests.web asyncpg --json results/web.json``: every request of docs/patterns/web.py with one driver.

Tortoise keeps what it made for one database for the next: each driver has a process of its own. The document keeps what
others have found; a run takes the place of an earlier one with the same FastAPI and driver.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import tomllib

from docs.patterns import web
from matrix.harness.witness import Address
from matrix.servers import ServerError

from .judge import judge
from .measure import PATIENCE, run
from .places import DRIVERS, axes_of, config_of, database, keep, own, stored

SAME = ("fastapi", "driver")
REQUESTS = tuple(tomllib.loads((Path(str(web.__file__)).with_suffix(".toml")).read_text("utf-8")))


def measured(driver: str, name: str, place: Address) -> dict[str, Any]:
    """One request with one driver: what it showed, as JSON has it."""
    with own(driver, place) as (address, reads):
        with asyncio.Runner() as runner:
            request = runner.run(asyncio.wait_for(run(name, config_of(driver, address)), 3 * PATIENCE))
        request.stored = stored(reads)
    return {"name": name, **judge(request), **asdict(request)}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.web", description=__doc__)
    parser.add_argument("driver", choices=DRIVERS)
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write what was found")
    parser.add_argument("--only", default=",".join(REQUESTS), metavar="NAME,NAME")
    options = parser.parse_args()
    started = time.monotonic()
    packages = {name: version(name) for name in ("fastapi", "starlette", "uvicorn", "tortoise-orm")}
    print(" · ".join(f"{name} {number}" for name, number in packages.items()))
    try:
        with database(options.driver) as place:
            found = [measured(options.driver, name, place) for name in options.only.split(",")]
    except ServerError as problem:
        print(problem, file=sys.stderr)
        return 1
    for each in found:
        said = "; ".join([each["reason"].rstrip("."), *each["notes"]])
        print(f"  {options.driver:<10} {each['name']:<32} {each['verdict']:<8} {said}")
    if options.json:
        run = {**packages, **axes_of(options.driver), "requests": found}
        keep(options.json, "runs", SAME, [run], time.monotonic() - started)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

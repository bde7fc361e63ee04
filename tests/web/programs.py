"""Programs that are measured in a process of their own each: what everybody who writes a row in them is told, and what
is stored of it. ``main`` is their command line."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from matrix.harness.witness import Address
from matrix.servers import ServerError

from .judge import described, seen
from .places import DRIVERS, axes_of, config_of, database, keep, own, stored

SAME = ("kind", "name", "driver")
PATIENCE = 40  # seconds after which who was told nothing is taken to wait for ever; psycopg's pool itself waits 30
LIMIT = 6 * PATIENCE  # seconds for a program
Told = Mapping[str, str | None]
Program = Callable[[dict[str, Any]], Told]


class Wrong(Exception):
    """The answer was another's."""


def told_by(module: str, name: str, driver: str, address: Address) -> Told:
    """What everybody in a program was told, by place. Raises RuntimeError where it could not be run."""
    given = json.dumps({"driver": driver, "address": asdict(address)})
    command = [sys.executable, "-m", module, "--tell", name]
    done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=LIMIT, check=False)
    if done.returncode:
        raise RuntimeError(f"{name} with {driver}: {(done.stderr.strip().splitlines() or ['nothing was said'])[-1]}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def measured(module: str, kind: str, name: str, driver: str, place: Address, packages: Sequence[str]) -> dict[str, Any]:
    """A program with one driver, as JSON has it."""
    with own(driver, place) as (address, reads):
        told = told_by(module, name, driver, address)
        rows = stored(reads)
    places = [
        {"place": who, "told": said, "stored": rows.count(who), **seen(said, who in rows)} for who, said in told.items()
    ]
    versions = {package: version(package) for package in ("tortoise-orm", *packages)}
    return {"kind": kind, "name": name, **axes_of(driver), "packages": versions, "seen": places}


def main(kind: str, module: str, programs: Mapping[str, Program], packages: Callable[[str], Sequence[str]]) -> int:
    """``packages``: those of a program whose versions count. Returns the exit code."""
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=sys.modules["__main__"].__doc__)
    parser.add_argument("driver", nargs="*", metavar="DRIVER", help=f"{', '.join(DRIVERS)} (default: all)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write what was found")
    parser.add_argument("--only", default=",".join(programs), metavar="NAME,NAME")
    parser.add_argument("--tell", choices=programs, help=argparse.SUPPRESS)  # one program, in this process
    options = parser.parse_args()
    if options.tell:
        given = json.load(sys.stdin)
        config = config_of(given["driver"], Address(**given["address"]))
        try:
            print(json.dumps(programs[options.tell](config)), flush=True)
        except Exception as error:
            print(described(error), file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)  # nobody has closed Tortoise, and a driver's thread would keep the process
    drivers = options.driver or list(DRIVERS)
    names = options.only.split(",")
    if unknown := {*drivers, *names} - {*DRIVERS, *programs}:
        parser.error(f"there is no driver or program {', '.join(sorted(unknown))}")
    try:
        for driver in drivers:
            started = time.monotonic()
            with database(driver) as place:
                found = []
                for name in names:
                    found.append(measured(module, kind, name, driver, place, packages(name)))
                    _print(found[-1])
            if options.json:
                keep(options.json, "programs", SAME, found, time.monotonic() - started)
    except (ServerError, RuntimeError, subprocess.TimeoutExpired) as problem:
        print(problem, file=sys.stderr)
        return 1
    return 0


def _print(found: Mapping[str, Any]) -> None:
    for each in found["seen"]:
        who = f"{found['driver']:<10} {found['name']:<26} {each['place']:<14}"
        print(f"  {who} {each['verdict']:<8} {each['reason']}", flush=True)

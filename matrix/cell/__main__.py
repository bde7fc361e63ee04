"""Runs one cell in this environment: ``python -m matrix.cell mysql-aiomysql [pytest arguments]``. tox calls it.

Its server starts beside what pytest and the suite take to load. What ODBC needs in the environment has to be there
before the interpreter starts: then the program begins once more.
"""

from __future__ import annotations

import contextlib
import os
import runpy
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def lacks_odbc(cell: str) -> bool:
    """Whether a cell needs drivers of ODBC that this process was not started with."""
    from matrix.harness.cell_name import parse

    try:
        return parse(cell).server == "odbc" and "MATRIX_ODBC_SQLITE" not in os.environ
    except ValueError:
        return False  # who opens the cell says what is wrong


def odbc_environment() -> dict[str, str]:
    """What a process that loads pyodbc needs: library path, driver manager settings, the drivers' own files."""
    from matrix import servers

    found = servers.odbc(progress=lambda text: print(f"  {text}", flush=True))
    drivers = {f"MATRIX_ODBC_{kind.upper()}": path for kind, path in found.drivers.items()}
    return {**found.env, **drivers}


def environment_of(cell: str) -> dict[str, str]:
    """The environment that a cell's process needs before its interpreter starts. Raises servers.ServerError."""
    environment = {**os.environ, "MATRIX_CELL": cell}
    if lacks_odbc(cell):
        environment.update(odbc_environment())
        # The drivers are C libraries: what they do with memory that they have freed shall show, and show every time.
        environment.update(MALLOC_PERTURB_="85", PYTHONMALLOC="malloc")
    return environment


def begin_servers(cell: str) -> None:
    """Let them start. Who opens the cell says what is wrong with its name, an address or a cache."""
    from matrix import servers
    from matrix.harness.cell_name import parse
    from matrix.harness.drivers import drivers

    with contextlib.suppress(KeyError, ValueError, OSError, servers.ServerError):
        name = parse(cell)
        for spec in drivers()[name.driver].server_specs(name).values():
            servers.begin(spec)


def main(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help"):
        print("usage: python -m matrix.cell CELL [pytest arguments]\n")
        print("Runs one cell, such as mysql-aiomysql, in this environment and writes results/CELL.jsonl.")
        print("  -k NST-4,CON        scenarios, families   --orders 50   more orders of each scenario")
        print("  --programs 1000     more generated programs   --seed 7      drawn from another seed")
        print("  --processes 1       one scenario after the other (one process per core is the default)")
        print("  --strict-compliance fail for everything that does not comply")
        print("First the schedules on record are asked, and the result is complete; then all orders are run.")
        print("  --brief             only the first part       --full-first  only the second one")
        print("  --deepen            the second part, of the result of a run with --brief")
        return 0 if arguments else 2
    if sys.version_info < (3, 10):  # noqa: UP036 - so that an older one says it in words
        print(f"Python {sys.version.split()[0]} is too old for the suite: use 3.10 or newer.", file=sys.stderr)
        return 2
    cell, *rest = arguments
    from matrix import servers
    from matrix.results import following

    os.chdir(ROOT)
    try:
        if lacks_odbc(cell):
            environment = environment_of(cell)
            sys.stdout.flush()
            os.execve(sys.executable, [sys.executable, "-m", "matrix.cell", *arguments], environment)
    except servers.ServerError as error:
        following.tell({"ended": f"{cell}: {error}"})
        print(f"{cell}: {error}", file=sys.stderr)
        return 2
    begin_servers(cell)
    os.environ["MATRIX_CELL"] = cell
    # For a whole part of the run: it is within the first test. A job has a limit of its own (processes.JOB_SECONDS).
    limits = ["-o", "faulthandler_timeout=1800", "-o", "faulthandler_exit_on_timeout=true"]
    sys.argv = [
        "pytest",
        "tests/compliance",
        "--tb=no",
        "--assert=plain",  # rewriting would compile all of hypothesis, a plugin of pytest's, in its own slow way
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:unraisableexception",
        "-p",
        "no:hypothesispytest",  # the suite calls hypothesis itself
        "-p",
        "no:anyio",  # it comes with Tortoise, and loads for 40 ms
        "-p",
        "no:threadexception",  # it would keep what ends a thread, and with it the thread's connection and its locks
        *limits,
        *rest,
    ]
    runpy.run_module("pytest", run_name="__main__", alter_sys=True)
    raise AssertionError("pytest ends the program")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

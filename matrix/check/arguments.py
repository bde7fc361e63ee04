"""The arguments of a check: the same for ``python -m matrix check`` and what it starts in the cell's environment."""

from __future__ import annotations

import argparse

EVERY = "every task"
HERE = "MATRIX_CHECK_HERE"  # set: the Python was chosen by --here
AGAIN = "MATRIX_CHECK_AGAIN"  # COMMAND with the folder it needs, what is imported from where, and which Python
COMMAND = "python -m matrix"
ORDERS = 30  # one by one at most, and half as many drawn at random


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds them."""
    parser.add_argument("cell", help="such as mysql-aiomysql")
    parser.add_argument("function", metavar="MODULE:FUNCTION", help="an `async def` that needs no argument")
    parser.add_argument("--folder", default=".", help="where the module is; the present folder without it")
    parser.add_argument("--models", action="append", metavar="MODULE", help="where the models are, if elsewhere")
    parser.add_argument("--setup", metavar="MODULE:FUNCTION", help="a coroutine function that fills the tables before")
    parser.add_argument("--invariant", metavar="SQL", help="a query, afterwards: its first value must be true")
    parser.add_argument(
        "--cancel",
        nargs="?",
        const=EVERY,
        metavar="TASK",
        help="where it complies: cancel the function, and each task that is cancelled with it, once at each moment at "
        "which it waits; or the task that has this name in the order, however it is waited for (behind "
        "MODULE:FUNCTION, or --cancel=TASK)",
    )
    parser.add_argument(
        "--allow",
        action="append",
        metavar="NAME",
        help="what no gate owns: MODULE.FUNCTION (or a pattern) may run in a thread, to its end, while the program "
        "stands still; MODULE:NAME=MODULE:STUB puts a stub of yours in its place",
    )
    parser.add_argument("--orders", type=int, default=ORDERS, help=f"how many are run one by one ({ORDERS})")
    parser.add_argument("--schedule", metavar="S", help="run this one order again, such as A.A.B.1")
    parser.add_argument("--json", action="store_true", help="print the result as JSON, an error too")


def words(options: argparse.Namespace, *left_out: str) -> list[str]:
    """The arguments again, as words of a command."""
    made = [options.cell, options.function]
    given = {name: getattr(options, name) for name in ("folder", "setup", "invariant", "orders", "schedule")}
    unasked = {"folder": ".", "orders": ORDERS}
    for name, value in given.items():
        if name not in left_out and value is not None and value != unasked.get(name):
            made += [f"--{name}", str(value)]
    for name in ("models", "allow"):
        for value in getattr(options, name) or []:
            made += [f"--{name}", value]
    if options.cancel:
        made.append("--cancel" if options.cancel == EVERY else f"--cancel={options.cancel}")
    return [*made, *["--json"] * options.json]

"""The command line: ``python -m matrix COMMAND``. Each part brings its own commands; this module only joins them."""

from __future__ import annotations

import argparse
import importlib
import sys

# Each module offers ``register(commands)``: it adds its sub-parsers and sets ``handler`` (a function of the parsed
# arguments that returns an exit code) on each. Modules import the heavy libraries inside their handlers, so that
# ``servers`` works where only Python is installed.
PARTS = (
    "matrix.servers.cli",
    "matrix.results.cli",
    "matrix.report.cli",
    "matrix.replay",
    "matrix.releases",
    "matrix.plan",
    "matrix.run",
    "matrix.bisect",
    "matrix.announce",
)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m matrix", description="The Tortoise driver compliance matrix: servers, results, report."
    )
    commands = parser.add_subparsers(title="commands", dest="command", required=True)
    for part in PARTS:
        importlib.import_module(part).register(commands)
    options = parser.parse_args(arguments)
    try:
        return int(options.handler(options) or 0)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())

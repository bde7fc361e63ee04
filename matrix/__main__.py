"""The command line: ``python -m matrix COMMAND``. Each part brings its own commands; this module only joins them."""

from __future__ import annotations

import argparse
import errno
import importlib
import resource
import subprocess
import sys
from pathlib import Path

from matrix import files

ROOT = Path(__file__).resolve().parents[1]

# Each module offers ``register(commands)``: it adds its sub-parsers and sets ``handler`` (a function of the parsed
# arguments that returns an exit code) on each. Modules import the heavy libraries inside their handlers, so that
# ``servers`` works where only Python is installed.
PARTS = {
    "matrix.servers.cli": ("servers",),
    "matrix.results.cli": ("results", "diff"),
    "matrix.report.cli": ("report", "headline", "fixes"),
    "matrix.runs.replay": ("replay",),
    "matrix.runs.check": ("check",),
    "matrix.reproduce.cli": ("reproduce",),
    "matrix.reproduce.tried": ("regress",),
    "matrix.runs.releases": ("releases",),
    "matrix.runs.plan": ("plan",),
    "matrix.runs.run": ("run",),
    "matrix.runs.bisect": ("bisect",),
    "matrix.runs.scenarios": ("scenarios", "explain"),
    "matrix.runs.announce": ("announce",),
}


def parser(lacking: dict[str, str] | None = None) -> argparse.ArgumentParser:
    """The whole command line. ``lacking`` is told the commands that cannot be had here: which package they need."""
    made = argparse.ArgumentParser(
        prog="python -m matrix", description="The Tortoise driver compliance matrix: servers, runs, results, report."
    )
    made.add_argument("--version", action=Version, nargs=0, help="show program's version number and exit")
    commands = made.add_subparsers(title="commands", dest="command", required=True)
    for part, names in PARTS.items():
        try:
            module = importlib.import_module(part)
        except ModuleNotFoundError as missing:
            if lacking is None or (missing.name or "").partition(".")[0] in ("matrix", "tests"):
                raise
            lacking |= dict.fromkeys(names, missing.name or "a package")
            continue
        module.register(commands)
    return made


class Version(argparse.Action):
    """Asks git only where it is asked for itself: that takes longer than many a command."""

    def __call__(self, asked: argparse.ArgumentParser, *_: object) -> None:
        print(f"{asked.prog} {version()}")
        asked.exit()


def version() -> str:
    """The project's version, and the commit where this is a checkout."""
    number = str(files.read_toml(ROOT / "pyproject.toml")["project"]["version"])
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        commit = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        commit = ""
    return " ".join(filter(None, [number, commit and f"({commit})"]))


def main(arguments: list[str] | None = None) -> int:
    arguments = sys.argv[1:] if arguments is None else arguments
    return files.until_read(lambda: _run(arguments))


def _run(arguments: list[str]) -> int:
    try:
        return _handled(arguments)
    except KeyboardInterrupt:  # of a command that says nothing of it itself
        print("interrupted", file=sys.stderr)
        raise


def _handled(arguments: list[str]) -> int:
    lacking: dict[str, str] = {}
    made = parser(lacking)
    if arguments and arguments[0] in lacking:
        return _needs(arguments[0], lacking[arguments[0]])
    options = made.parse_args(arguments)
    try:
        return int(options.handler(options) or 0)
    except ModuleNotFoundError as missing:
        if (name := (missing.name or "matrix").partition(".")[0]) in ("matrix", "tests"):
            raise
        return _needs(options.command, name)
    except OSError as problem:
        if problem.errno != errno.EMFILE:
            raise
        allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        print(
            f"{options.command} needs more files open at a time than the {allowed} that this shell allows\n"
            "Allow more, and try again: ulimit -n 1024",
            file=sys.stderr,
        )
        return 2


def _needs(command: str, package: str) -> int:
    print(
        f"{command} needs uv and some packages; {package} is not here\n"
        f"Install them: python -m pip install -r {files.requirements()}",
        file=sys.stderr,
    )
    return 2


if __name__ == "__main__":
    sys.exit(main())

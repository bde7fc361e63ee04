"""Runs ``python -m MODULE …`` without the time that imports take: in a fork of a process that has imported what the
module imports. It is a process of its own as any other, with its own arguments, variables, folder and streams. What it
reads of variables while it is imported is older: who gives it such variables starts a process anew.
"""

from __future__ import annotations

import atexit
import functools
import gc
import importlib.util
import json
import os
import runpy
import select
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from matrix.__main__ import PARTS
from matrix.parent import end_with

ROOT = Path(__file__).parents[2]
OF_A_CHECK = ("matrix.check.program", "matrix.check.hooks", "matrix.check.explore", "matrix.harness.adapters.aiosqlite")
OF_A_CHECK += ("tortoise.backends.sqlite", "tortoise.contrib.sqlite.regex")
OF_A_SUITE = ("_pytest.pytester", "tortoise.backends.sqlite", "tortoise.contrib.sqlite.regex")
OF_A_COMMAND = (*PARTS, "jsonschema", "jsonschema_rs", "matrix.report.site", "rich.table")


def run(
    module: str,
    *arguments: str,
    imports: tuple[str, ...] = (),
    env: Mapping[str, str] | None = None,
    cwd: Path = ROOT,
    timeout: int = 600,
) -> subprocess.CompletedProcess[str]:
    """The completed process; ``imports``: what the module imports later than at its start."""
    before = _before(module, imports)
    with tempfile.TemporaryDirectory() as folder:
        own = {**(os.environ if env is None else env)}
        asked = {"arguments": arguments, "env": own, "cwd": str(cwd), "folder": folder}
        before.stdin.write(json.dumps(asked) + "\n")
        before.stdin.flush()
        if not select.select([before.stdout], [], [], timeout)[0]:
            _before.cache_clear()
            before.kill()
            raise subprocess.TimeoutExpired([module, *arguments], timeout)
        code = json.loads(before.stdout.readline())
        out, problem = (Path(folder, name).read_text("utf-8") for name in ("1", "2"))
    return subprocess.CompletedProcess([module, *arguments], code, out, problem)


def check(*arguments: str, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """A check of a function in a cell of SQLite."""
    return run("matrix.check", *arguments, imports=OF_A_CHECK, env=env)


def command(*arguments: str, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """One of ``python -m matrix``."""
    return run("matrix", *arguments, imports=OF_A_COMMAND, env=env)


def pytest(folder: Path, *arguments: str, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """A run of pytest in a project of its own; it leaves no cache there."""
    options = ("-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning")
    return run("pytest", *options, *arguments, imports=OF_A_SUITE, env=env, cwd=folder)


@functools.cache
def _before(module: str, imports: tuple[str, ...]) -> subprocess.Popen[str]:
    """The process as it is before it knows what is asked for. It ends with this one."""
    command = [sys.executable, "-m", __name__, str(os.getpid()), module, *imports]
    pipe = subprocess.PIPE
    started = subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True)
    atexit.register(started.wait)
    atexit.register(started.stdin.close)
    return started


def main(parent: str, module: str, *imports: str) -> None:
    end_with(int(parent))
    found = importlib.util.find_spec(module)
    start = f"{module}.__main__" if found is not None and found.submodule_search_locations else module
    for name in (start, *imports):
        importlib.import_module(name)
    # What is run below, or may stand in another folder too, nobody has imported.
    for name in {start, *(each for each in sys.modules if each.partition(".")[0] == "tests")}:
        del sys.modules[name]
    gc.freeze()  # what nobody else will make garbage of is not looked at in each fork
    me = os.getpid()
    while line := sys.stdin.readline():
        asked = json.loads(line)
        if child := os.fork():
            print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
            continue
        end_with(me)
        for number, file in ((0, os.devnull), (1, f"{asked['folder']}/1"), (2, f"{asked['folder']}/2")):
            os.dup2(os.open(file, os.O_RDWR | os.O_CREAT), number)
        os.environ.clear()
        os.environ.update(asked["env"])
        os.chdir(asked["cwd"])
        found_in = os.environ.get("PYTHONPATH", "").split(os.pathsep)
        sys.path[:1] = [asked["cwd"], *(path for path in found_in if path and path not in sys.path)]
        sys.argv = [module, *asked["arguments"]]
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        break


if __name__ == "__main__":
    main(*sys.argv[1:])

"""The environments of cells: requirements -> exact versions -> a virtual environment, by uv, cached and shared.

An environment belongs to its exact versions and its interpreter; cells that differ in something else share it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from matrix import files
from matrix.runs import RunError, registry
from matrix.runs.inputs import ROOT, digest, folder_behind, of_folder
from matrix.servers import ServerError, builds, debian
from matrix.servers.catalogue import catalogue

FRESH_SECONDS = 24 * 3600  # a resolution is asked for again after a day: something newer may have appeared
VERSION = "import sys; print('%d.%d.%d' % sys.version_info[:3])"


class NotInstallable(RunError):
    """The requirements cannot be had together on this Python; the message is the resolver's words on one line."""


class NotImportable(RunError):
    """Installed, but cannot be imported; the message is the exception on one line."""


class NoPython(RunError):
    """The machine has no such interpreter, and there is none to fetch."""


def state_folder() -> Path:
    """Where environments, resolutions and stored results are kept (``MATRIX_STATE``; else .matrix in the project)."""
    return Path(os.environ.get("MATRIX_STATE") or ROOT / ".matrix")


def bytecode_folder() -> Path:
    """Where the bytecode of environments and of the suite is kept, so that no cell compiles what another one has."""
    return state_folder() / "bytecode"


@dataclass(frozen=True)
class Python:
    """An interpreter: ``minor`` such as 3.12, its exact version, and where it is."""

    minor: str
    version: str
    path: Path


@dataclass(frozen=True)
class Environment:
    """A virtual environment that is ready."""

    python: Path
    locked: tuple[str, ...]


@cache
def interpreter(minor: str | None) -> Python:
    """The interpreter of a minor version, None for the one that runs this: the machine's, else one that is fetched as
    servers are. Raises NoPython."""
    if found := on_machine(minor):
        return found
    spec, reason = builds.Spec("python", minor), "Debian has none to fetch"
    if minor in catalogue().kinds["python"].versions:
        try:
            build = builds.resolve(spec, lambda line: print(line, file=sys.stderr, flush=True))
            return Python(minor, build.release, build.program)
        except ServerError as problem:
            reason = str(problem).partition("\n")[0]
    raise NoPython(
        f"Python {minor} is not on this machine ({reason}): install it (uv python install {minor}), or leave it out"
    )


def can_be_had(minor: str) -> bool:
    """Whether ``interpreter`` finds one or may fetch it; nothing is fetched."""
    version = catalogue().kinds["python"].versions.get(minor)
    if on_machine(minor) or (version and builds.cached_build(builds.Spec("python", minor))):
        return True
    try:
        return version is not None and bool(debian.debian_mirrors())
    except ServerError:
        return False


@cache
def on_machine(minor: str | None) -> Python | None:
    """The machine's interpreter of a minor version, None for the one that runs this."""
    for path in _interpreters(minor):
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            said = subprocess.run([path, "-I", "-c", VERSION], capture_output=True, text=True, check=True, timeout=60)
            version = said.stdout.strip()
            found = ".".join(version.split(".")[:2])
            if minor is None or found == minor:
                return Python(found, version, path)
    return None


def _interpreters(minor: str | None) -> Iterator[Path]:
    own = f"{sys.version_info.major}.{sys.version_info.minor}"
    if minor in (None, own):
        yield Path(getattr(sys, "_base_executable", "") or sys.executable)
        if minor is None:
            return
    found = shutil.which(f"python{minor}")
    if found:
        yield Path(found)
    # pyenv's shims name versions that are not selected; the interpreters themselves lie below its root.
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    yield from sorted(pyenv.glob(f"{minor}.*/bin/python"), reverse=True)
    uv_managed = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "uv" / "python"
    yield from sorted(uv_managed.glob(f"cpython-{minor}.*/bin/python{minor}"), reverse=True)


def resolve(requirements: Sequence[str], python: Python, *, again: bool = False) -> tuple[str, ...]:
    """The exact versions (``name==version`` lines, sorted). Raises NotInstallable or RegistryError.

    Wheels only, but for a source of the caller's own. An answer is kept for a day, a refusal too; where a branch points
    to is asked each time.
    """
    asked = "\n".join(sorted(requirements))
    again = again or " @ git+" in asked
    kept = state_folder() / "resolved" / f"{digest(asked, python.version)}.json"
    if not again and kept.exists() and time.time() - kept.stat().st_mtime < FRESH_SECONDS:
        answer = json.loads(kept.read_text(encoding="utf-8"))
    else:
        answer = _ask(asked, python, built=" @ " in asked)
        files.write(kept, json.dumps(answer))
    if "refused" in answer:
        raise NotInstallable(answer["refused"])
    return tuple(answer["locked"])


def _ask(asked: str, python: Python, built: bool) -> dict[str, object]:
    options = ["--python", str(python.path), *([] if built else ["--only-binary", ":all:"])]
    words = ["pip", "compile", "--quiet", "--no-header", "--no-annotate", *options, "-"]
    done = registry.run([*registry.uv(), *words], asked)
    if done.returncode == 0:
        return {"locked": sorted(line.strip() for line in done.stdout.splitlines() if line.strip())}
    # The resolver's own no. Not where it has not seen a package at all (no network, an index that answers 401, 403 or
    # 404): every package is in the registry, its releases may not be.
    unseen = re.search(r"was not found in the (package registry|cache)", done.stderr)
    if "No solution found" in done.stderr and not unseen:
        return {"refused": registry.reason(done.stderr)}
    # Everything else (no network, a full disk, a broken client) says nothing about the requirements and is not kept.
    raise registry.RegistryError(f"uv could not resolve: {registry.reason(done.stderr)}")


def environment(
    locked: Sequence[str],
    python: Python,
    modules: Sequence[str] = (),
    variables: Mapping[str, str] | None = None,
    kept: Path | None = None,
) -> Environment:
    """The environment with exactly these versions, made if need be. Raises NotImportable or RegistryError.

    ``variables`` are what the modules need to be imported, such as LD_LIBRARY_PATH; ``kept`` is the folder of all
    environments (default: in the state's). Safe against other threads and processes, and against having been killed in
    the middle.
    """
    # Resolved: bytecode is kept per path, so who links to another's environments has its bytecode too.
    kept = (kept or state_folder() / "environments").resolve()
    folder = kept / digest("\n".join([*locked, *map(content, locked)]), python.version)
    done, lock = folder / "ready.json", folder.with_suffix(".lock")
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)
            _make(folder, locked, python)
            files.write(done, json.dumps({}))
        imported = json.loads(done.read_text(encoding="utf-8"))
        name = " ".join(modules)
        if imported.get(name) != "":  # what failed is tried again: the machine may have got a library meanwhile
            imported[name] = _import(folder, modules, variables or {})
            files.write(done, json.dumps(imported))
    if imported[name]:
        raise NotImportable(imported[name])
    return Environment(folder / "bin" / "python", tuple(locked))


def _make(folder: Path, locked: Sequence[str], python: Python) -> None:
    registry.run_uv("make an environment", "venv", "--no-project", "--python", str(python.path), str(folder))
    # uv keeps what it built of a folder until its project file changes; its sources may change before that.
    fresh = ["--refresh"] if any(" @ file:" in line for line in locked) else []
    words = ("pip", "install", "--no-deps", *fresh, "--python", str(folder / "bin" / "python"), "-r", "-")
    # The resolver has said that they can be had: what fails here is the network, the disk or a build.
    registry.run_uv("install", *words, asked="\n".join(locked))


def _import(folder: Path, modules: Sequence[str], variables: Mapping[str, str]) -> str:
    """How importing them fails; empty when it does not."""
    # What is compiled for this is there for the cell.
    python = [str(folder / "bin" / "python"), "-I", "-X", f"pycache_prefix={bytecode_folder()}"]
    done = registry.run([*python, "-c", "".join(f"import {m}\n" for m in modules)], variables=variables)
    said = registry.last_line(done.stderr) if done.returncode else ""
    if done.returncode < 0 or re.match(r"(OSError|MemoryError|PermissionError|BlockingIOError)\b", said):
        raise registry.RegistryError(f"importing failed on this machine (exit code {done.returncode}): {said}")
    return said


def content(locked: str) -> str:
    """What a path of the caller's own holds, so that a change of it makes another environment."""
    found = re.search(r" @ (file://.+)$", locked)
    return of_folder(folder_behind(found[1])) if found else ""

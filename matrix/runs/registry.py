"""Asks the package registry through the clients at hand (pip, uv) as they are configured; no address is known here."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import tomllib

from matrix import files
from matrix.runs import RunError
from matrix.servers.pypi import client_environment

LINUX = re.compile(r"linux.*x86_64|^any$")


class RegistryError(RunError):
    """The registry or its client does not answer; the message is one or two lines."""


@dataclass(frozen=True)
class Wheels:
    """What the registry has of one release: for which Pythons there are Linux wheels, and when it appeared."""

    pythons: tuple[str, ...]
    uploaded: str


def uv() -> list[str]:
    """How uv is started here. Raises RegistryError."""
    beside = Path(sys.executable).parent  # in an environment that was not activated
    found = shutil.which("uv") or shutil.which("uv", path=str(beside))
    if found:
        return [found]
    raise RegistryError(
        f"uv is needed and was not found; it is one of these: python -m pip install -r {files.requirements()}"
    )


def run(
    command: list[str], asked: str = "", variables: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """A client's run, with ``variables`` added to its environment; its exit code is the caller's to judge."""
    own = {**client_environment(), **(variables or {})}
    return subprocess.run(
        command, input=asked, capture_output=True, text=True, check=False, env=own, cwd=Path.cwd().anchor
    )


def run_uv(doing: str, *words: str, asked: str = "") -> None:
    """Run uv to do something. Raises RegistryError where it does not."""
    done = run([*uv(), *words, "--quiet"], asked)
    if done.returncode:
        raise RegistryError(f"uv could not {doing}: {reason(done.stderr)}")


def versions(package: str) -> list[str]:
    """Every release of a package that the registry has, as it orders them (newest first). Raises RegistryError."""
    said, pips = "", [[sys.executable, "-m", "pip"]]
    pips += [command for command in (["pip"], ["uv", "tool", "run", "pip"]) if shutil.which(command[0])]
    for pip in pips:
        done = run([*pip, "index", "versions", package, "--pre", "--ignore-requires-python"])
        listed = re.search(r"^Available versions: (.+)$", done.stdout, re.MULTILINE)
        if done.returncode == 0 and listed:
            return [version.strip() for version in listed[1].split(",")]
        said = said or last_line(done.stderr)
    raise RegistryError(f"the registry does not say which releases {package} has: {said}")


def wheels(package: str, version: str, pythons: list[str]) -> Wheels:
    """Which of these Pythons (oldest first) can install a release without building it. Raises RegistryError."""
    said = ""
    for oldest in pythons:
        command = [*uv(), "pip", "compile", "--quiet", "--no-deps", "--universal", "--format", "pylock.toml"]
        done = run([*command, "--python-version", oldest, "-"], f"{package}=={version}\n")
        if done.returncode == 0:
            (locked,) = tomllib.loads(done.stdout)["packages"]
            files = locked.get("wheels", [])
            times = sorted(str(file["upload-time"])[:10] for file in files if "upload-time" in file)
            names = [(file.get("name") or file["url"].rsplit("/", 1)[-1]) for file in files]
            fit = [each for each in pythons[pythons.index(oldest) :] if any(fits(name, each) for name in names)]
            return Wheels(tuple(fit), times[0] if times else "")
        said = said or reason(done.stderr)
    raise RegistryError(f"{package} {version}: {said}")


def fits(wheel: str, python: str) -> bool:
    """Whether a wheel's name says that it installs on this Python (CPython, Linux, x86-64)."""
    *_, tags, abis, platforms = wheel.removesuffix(".whl").split("-")
    if not any(LINUX.search(platform) for platform in platforms.split(".")):
        return False
    ours = f"cp{python.replace('.', '')}"
    for tag in tags.split("."):
        older = re.fullmatch(r"cp3(\d+)", tag)
        if tag in (ours, "py3") or (older and "abi3" in abis and int(older[1]) <= int(python.split(".")[1])):
            return True
    return False


def last_line(text: str) -> str:
    """The last thing that was said."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "nothing was said")


def reason(text: str) -> str:
    """The resolver's words on one line, without its warnings and hints."""
    kept, keep = [], False
    for line in text.splitlines():
        if re.match(r"(error|warning|hint|  ×)", line):
            keep = line.startswith(("error", "  ×"))
        if keep and line.strip():
            kept.append(re.sub(r"^\s*(error:|×|╰─▶|cause:|And)\s*", "", line).strip())
    return " ".join(" ".join(kept).split()) or last_line(text)

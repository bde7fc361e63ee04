"""Digests of what decides a result: the suite, a folder of sources, anything that is text."""

from __future__ import annotations

import hashlib
from pathlib import Path
from urllib.parse import unquote, urlsplit

from matrix.harness.drivers import folders

ROOT = Path(__file__).resolve().parents[2]
# What decides a verdict beside versions: the scenarios, the harness, and what wires them to pytest.
DECIDING = (
    "matrix/words.py",
    "matrix/lines.py",
    "matrix/candidates",
    "matrix/harness",
    "matrix/generated",
    "matrix/cell",
    "tests/compliance",
    "conftest.py",
    "pytest.ini",
)
NO_SOURCES = {".git", ".tox", ".venv", "__pycache__"}


def folder_behind(address: str) -> Path:
    """Of an address of the kind that ``Path.as_uri`` makes, in which a blank is %20."""
    return Path(unquote(urlsplit(address).path))


def digest(*parts: str) -> str:
    """24 characters that change with any of the parts."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:24]


def of_folder(folder: Path, suffixes: tuple[str, ...] = (".py",)) -> str:
    """A digest of the files below a folder: their names and what they hold."""
    seen = hashlib.sha256()
    for path in sorted(folder.rglob("*.*")):
        inner = path.relative_to(folder)
        if path.suffix in suffixes and path.is_file() and not NO_SOURCES & set(inner.parts):
            seen.update(str(inner).encode() + b"\0" + path.read_bytes() + b"\0")
    return seen.hexdigest()[:24]


def of_suite() -> str:
    """A digest of the scenarios, the harness and the adapters, of drivers outside of this project too."""
    paths = (*(ROOT / name for name in DECIDING), *folders())
    return digest(*(of_folder(path, (".py", ".toml")) if path.is_dir() else path.read_text("utf-8") for path in paths))

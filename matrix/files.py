"""Files that appear whole or not at all, TOML, and output that nobody reads to its end. Standard library only: for
every room."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:  # pragma: no cover - pytest brings tomli where Python has no tomllib
    import tomli as tomllib


def read_toml(path: Path) -> dict[str, Any]:
    """What a file of TOML says. Raises OSError, and ValueError for what is no TOML."""
    return tomllib.loads(path.read_text(encoding="utf-8"))


@contextlib.contextmanager
def replacing(target: Path, *, durable: bool = False) -> Iterator[Path]:
    """A name beside ``target`` for its new content, which takes the target's place when the block ends well and is
    removed when it does not.

    The name is nobody else's, so that two programs may write one file at once: the last to end wins, whole.
    ``durable``: for what cannot be made again; it is on the disk before it takes the place. Raises OSError.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(6)}.tmp")
    try:
        yield temporary
        if durable:
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
        temporary.replace(target)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def write(target: Path, content: bytes | str, *, durable: bool = False) -> None:
    """Write a file (text as UTF-8, lone surrogates spelled out). Raises OSError."""
    with replacing(target, durable=durable) as temporary:
        temporary.write_bytes(content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content)


def copy(source: Path, target: Path) -> None:
    """Copy a file and its time of change. Raises OSError."""
    with replacing(target) as temporary:
        shutil.copy2(source, temporary)


def requirements() -> str:
    """The file that names what all commands need, as a path from where one stands."""
    return os.path.relpath(Path(__file__).resolve().parents[1] / "ci" / "requirements.txt")


def until_read(command: Callable[[], int]) -> int:
    """The exit code of what prints; where who reads has read enough, as `head` does, or interrupts it, that of one whom
    the signal ends."""
    try:
        code = command()
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left is flushed at the end
        return 128 + signal.SIGPIPE
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    return code

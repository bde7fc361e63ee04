"""Files that appear whole or not at all; an older one stays until then. Standard library only: for every room."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path


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

"""The folder that keeps fetched servers and data templates between runs: where it is, locks, publishing an entry.

An entry appears whole or not at all: it is built in a temporary sibling and renamed.
"""

from __future__ import annotations

import fcntl
import json
import os
import pwd
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from matrix.servers.errors import NoSpaceError, ServerError
from matrix.servers.tools import NO_SPACE, Account, way_out_of_full_disk

NAME = "tortoise-driver-matrix"
MANIFEST = "manifest.json"


def cache_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Where fetched servers are kept; not created here."""
    if environment.get("MATRIX_CACHE"):
        return Path(environment["MATRIX_CACHE"]).expanduser().absolute()
    if os.getuid() == 0:
        return Path("/var/cache") / NAME
    base = environment.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / NAME


def server_account() -> Account | None:
    """The unprivileged user for servers, so that nobody writes files as root through them; None when we are not."""
    if os.getuid() != 0:
        return None
    try:
        entry = pwd.getpwnam("nobody")
    except KeyError:
        return Account(65534, 65534)
    return Account(entry.pw_uid, entry.pw_gid)


def closed_parent(path: Path) -> Path | None:
    """The first folder on the way to `path` that other users cannot enter, or None."""
    for folder in [*reversed(path.parents), path]:
        if folder.is_dir() and not folder.stat().st_mode & stat.S_IXOTH:
            return folder
    return None


def check_enterable(path: Path, variable: str) -> None:
    """Raises ServerError if a server with dropped privileges could not reach `path`."""
    closed = closed_parent(path) if os.getuid() == 0 else None
    if closed:
        raise ServerError(
            f"{path} cannot be used by a server that runs without root's rights: {closed} is closed to other users\n"
            f"set {variable} to a folder that everybody can enter, such as one in /var/cache or /tmp"
        )


def make_folder(path: Path) -> Path:
    """Make a folder and its parents so that a server with dropped privileges can walk through. Raises ServerError."""
    try:
        for folder in [*reversed(path.parents), path]:
            if not folder.exists():
                folder.mkdir(exist_ok=True)
                folder.chmod(0o755)  # whatever the umask: the server's user must be able to walk through
    except OSError as error:
        raise ServerError(
            f"cannot make the folder {path}: {error.strerror}\nset MATRIX_CACHE to a folder that can be written"
        ) from None
    return path


@contextmanager
def lock(name: str, root: Path) -> Iterator[None]:
    """Hold the lock of this entry against other processes. Blocks; a killed holder releases it."""
    path = make_folder(root / "locks") / name
    try:
        stream = path.open("w")
    except OSError as error:
        raise ServerError(
            f"cannot write {path}: {error.strerror}\n"
            "remove it if it is no file, or set MATRIX_CACHE to a folder that can be written"
        ) from None
    with stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def read_manifest(entry: Path) -> dict[str, Any] | None:
    """The manifest of a complete entry, or None if there is none."""
    try:
        data = json.loads((entry / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return data if isinstance(data, dict) else None


def write_manifest(entry: Path, manifest: Mapping[str, Any]) -> None:
    (entry / MANIFEST).write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n", encoding="utf-8")


@contextmanager
def new_entry(entry: Path, need: int = 0) -> Iterator[Path]:
    """Build an entry in the folder given and publish it when the block succeeds; on any failure nothing stays.

    `need` is in megabytes; NoSpaceError at once if there are fewer.

    Call it with the entry's lock held: what a killed builder of the same entry left is removed here.
    """
    parent = make_folder(entry.parent)
    prefix = f".new-{entry.name}-"
    for left in parent.glob(f"{prefix}*"):
        shutil.rmtree(left, ignore_errors=True)
    folder: Path | None = None
    try:
        with way_out_of_full_disk(parent, need):
            free = shutil.disk_usage(parent).free // 1_000_000
            if free < need:
                raise NoSpaceError(f"{NO_SPACE}: {free} MB are free")
            folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
            folder.chmod(0o755)
            yield folder
            if entry.exists():  # an incomplete or unreadable one, or it would have been used
                shutil.rmtree(entry)
            folder.replace(entry)
    finally:
        if folder:
            shutil.rmtree(folder, ignore_errors=True)

"""Unpacking archives that others made into a tree: nothing is written outside of it, and no file gets more rights.

Several archives share a tree, so a link in one may lie on the way of a file in the next; each way is looked at when
something is about to be written there, with the links that are there by then.
"""

from __future__ import annotations

import errno
import os
import shutil
import tarfile
import threading
from collections.abc import Callable
from pathlib import Path

from matrix.servers.errors import ServerError

NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW


class Unpacked:
    """A folder to unpack into; several threads may. Owners, set-id bits and write rights of others are not kept."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = os.path.realpath(folder)
        self._lock = threading.Lock()  # no link is made between the look at a way and the opening of its end

    def extract(self, archive: tarfile.TarFile, wanted: Callable[[str], bool] = lambda _name: True) -> None:
        """Unpack what is wanted, by its name without a leading ``./``. Raises ServerError for what leads outside."""
        for member in archive:
            name = os.path.normpath(member.name.lstrip("/"))
            if name == "." or not wanted(name):
                continue
            try:
                with self._lock:
                    number = self._make(member, name)
            except OSError as error:
                if error.errno in (errno.ENOSPC, errno.EDQUOT):
                    raise
                raise ServerError(f"the package holds {name}: {error.strerror}: not unpacked") from None
            if number is not None:
                content = archive.extractfile(member)
                with os.fdopen(number, "wb") as stream:
                    if content:
                        shutil.copyfileobj(content, stream, 1 << 20)
                    os.fchmod(number, 0o644 | member.mode & 0o111)
                    stream.flush()
                    os.utime(number, (member.mtime, member.mtime))

    def check_links(self) -> None:
        """Raises ServerError if a link leads out of the tree, as two may together that each alone do not."""
        for parent, folders, files in os.walk(self.folder):
            for path in (os.path.join(parent, name) for name in (*folders, *files)):  # noqa: PTH118
                if os.path.islink(path):  # noqa: PTH114
                    self._inside(path, os.path.relpath(path, self.folder))

    def _make(self, member: tarfile.TarInfo, name: str) -> int | None:
        """Make a folder or a link, or open a new file and return its number."""
        folder, last = os.path.split(name)
        folder = self._inside(os.path.join(self.folder, folder), name)  # noqa: PTH118
        path = os.path.join(folder, last)  # noqa: PTH118
        if member.isdir():
            _make_folders(self._inside(path, name))
            return None
        _make_folders(folder)
        if os.path.lexists(path):
            os.unlink(path)  # else what is written would go where a link leads  # noqa: PTH108
        if member.isfile():
            return os.open(path, NEW, 0o600)
        if member.issym():
            os.symlink(self._target(member.linkname, folder, name), path)  # noqa: PTH211
        elif member.islnk():
            source = self._inside(os.path.join(self.folder, member.linkname.lstrip("/")), name)  # noqa: PTH118
            os.link(source, path)
        else:
            raise ServerError(f"the package holds {name}, which is neither file, folder nor link: not unpacked")
        return None

    def _target(self, written: str, folder: str, name: str) -> str:
        """Where a link is to lead: one with an absolute path means the tree, not the machine."""
        if written.startswith("/"):
            written = os.path.relpath(f"{self.folder}/{written}", folder)
        self._inside(os.path.join(folder, written), name)  # noqa: PTH118
        return written

    def _inside(self, path: str, name: str) -> str:
        """The path with all links followed. Raises ServerError if it leaves the tree."""
        real = os.path.realpath(path)
        if os.path.commonpath([real, self.folder]) != self.folder:
            raise ServerError(f"the package holds {name}, which leads out of the folder that it is for: not unpacked")
        return real


def _make_folders(path: str) -> None:
    """A folder and those above it that lack, whatever the umask: os.makedirs gives its mode to the last one alone."""
    if not os.path.isdir(path):  # noqa: PTH112
        _make_folders(os.path.dirname(path))  # noqa: PTH120
        os.mkdir(path, 0o755)  # noqa: PTH102

"""Running external programs (apt-get, uv, initdb …) with errors that fit two lines. Nothing here knows of servers."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matrix.parent import end_with
from matrix.servers.errors import CommandFailed, NoSpaceError, ServerError

Progress = Callable[[str], None]
NO_SPACE = os.strerror(errno.ENOSPC)  # also what apt, dpkg-deb, tar, initdb and the servers print

NEARLY_NOTHING = 1_000_000  # bytes
USER = "tester"  # whom a private server lets in


@dataclass(frozen=True)
class Account:
    """The unprivileged user that every server runs as when we are root."""

    uid: int
    gid: int


def plain_environment() -> dict[str, str]:
    """What a server's programs need of the environment; TMPDIR and the like may name folders closed to their user."""
    return {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C", "TZ": "UTC"}


def write_secret(path: Path, text: str, account: Account | None = None) -> None:
    """A new file that only its owner may read: this user, or a server's own."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as stream:
        stream.write(text)
    if account:
        os.chown(path, account.uid, account.gid)


def no_progress(_line: str) -> None:
    """A progress function that says nothing."""


def last_lines(text: str, count: int = 2) -> str:
    """The last lines that say something, joined: programs put the reason at the end."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    lines = [line for line in lines if not line.startswith("E: Some index files failed")]  # the reason stands before
    telling = [line for line in lines if "error" in line.lower() or line.startswith(("E:", "FATAL"))]
    return "; ".join((telling or lines)[-count:])[:400]


def run(
    command: Sequence[str | Path],
    *,
    doing: str,
    account: Account | None = None,
    input_text: str | None = None,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
    seconds: float = 300.0,
) -> str:
    """Run a program to its end and return what it printed on stdout.

    Raises NoSpaceError if it reports a full disk, else CommandFailed with `doing` and its last words.
    """
    parent = os.getpid()
    as_user: dict[str, Any] = {"user": account.uid, "group": account.gid, "extra_groups": []} if account else {}
    try:
        done = subprocess.run(
            [str(word) for word in command],
            input=input_text,
            stdin=subprocess.DEVNULL if input_text is None else None,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            env=None if environment is None else dict(environment),
            cwd=str(folder or "/"),
            timeout=seconds,
            preexec_fn=lambda: end_with(parent),  # this thread waits for it, so it is there as long as the program is
            **as_user,
        )
    except subprocess.TimeoutExpired:
        raise CommandFailed(f"{doing}: {Path(command[0]).name} took longer than {seconds:g} s") from None
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise NoSpaceError(f"{doing}: {NO_SPACE}") from None
        raise CommandFailed(f"{doing}: cannot run {command[0]}: {error.strerror}") from None
    if done.returncode == 0:
        return done.stdout
    said = done.stderr + "\n" + done.stdout
    if NO_SPACE in said:
        raise NoSpaceError(f"{doing}: {NO_SPACE}")
    reason = last_lines(done.stderr) or last_lines(done.stdout) or f"exit status {done.returncode}"
    raise CommandFailed(f"{doing}: {reason}")


@contextmanager
def way_out_of_full_disk(where: Path, need: int = 0, variable: str = "MATRIX_CACHE") -> Iterator[None]:
    """Turn a full disk, however it shows, into one NoSpaceError that says what to do. `need` is in megabytes."""
    amount = f" (about {need} MB are needed)" if need else ""
    advice = f"free some space{amount} or set {variable} to a folder on another disk"
    try:
        yield
    except NoSpaceError as error:
        raise NoSpaceError(f"{error}\n{where} is full: {advice}") from None
    except ServerError as error:
        if shutil.disk_usage(where).free > NEARLY_NOTHING:
            raise
        # apt's downloader neither fails nor goes on when the disk is full: it runs into our time limit
        raise NoSpaceError(f"{error} ({NO_SPACE})\n{where} is full: {advice}") from None
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise NoSpaceError(f"{error.strerror}\n{where} is full: {advice}") from None

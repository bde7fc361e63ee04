"""How a private PostgreSQL is made, run and known to be ready. Where its programs come from is not known here."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import signal
from pathlib import Path

from matrix.servers import tools
from matrix.servers.builds import Build
from matrix.servers.tools import USER, Account

OWNER = "postgres"  # of the data; a superuser whom nobody can log in as
STOP_SIGNAL = signal.SIGQUIT  # ends the helper processes and frees the shared memory; SIGKILL would not
# In clear text, since nothing leaves the machine: some clients refuse SCRAM with as few iterations as below.
HOST_BASED_ACCESS = "local all all password\nhost all all 127.0.0.1/32 password\n"
# A server to throw away need not survive a power cut. Settings are those that every version knows.
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "max_connections": "200",
    "max_prepared_transactions": "10",
    "shared_buffers": "2MB",  # what a fork copies: each connection is 1 ms cheaper than with 32 MB
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "autovacuum": "off",
    "jit": "off",
    "deadlock_timeout": "1ms",  # who waits looks for a deadlock when this has gone by
    "ssl": "off",
    "password_encryption": "scram-sha-256",
    "logging_collector": "off",
    "log_timezone": "UTC",
    "timezone": "UTC",
}


def make_data(build: Build, data: Path, account: Account | None) -> None:
    """Make a data folder with the superuser OWNER, who has no password and so cannot log in."""
    words: list[str | Path] = [build.program.with_name("initdb"), "-D", data, "-U", OWNER, "-A", "trust", "-E", "UTF8"]
    tools.run(
        [*words, "--no-locale", "--no-sync", "--wal-segsize=1"],
        doing="preparing the data folder",
        account=account,
        environment=tools.plain_environment(),
    )
    (data / "pg_hba.conf").write_text(HOST_BASED_ACCESS, encoding="utf-8")


def scram_verifier(password: str, iterations: int = 1) -> str:
    """What PostgreSQL stores of a password (RFC 5803). One iteration: the many of the default cost every login 6 ms,
    to protect a password that nobody uses twice."""
    salt = os.urandom(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, iterations)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    parts = (base64.b64encode(part).decode() for part in (salt, stored, server))
    return "SCRAM-SHA-256${}:{}${}:{}".format(iterations, *parts)


def make_user(build: Build, data: Path, password: str, account: Account | None) -> None:
    """Make USER, who may make databases and no more, while no server runs; his password goes over a pipe and is in no
    file and no argument."""
    settings = ("exit_on_error=on", "fsync=off", "password_encryption=scram-sha-256", "log_min_error_statement=panic")
    words = [word for setting in settings for word in ("-c", setting)]
    tools.run(
        [*build.command(), "--single", "-D", str(data), *words, "postgres"],
        doing="setting the password",
        account=account,
        input_text=f"CREATE ROLE {USER} LOGIN CREATEDB PASSWORD '{scram_verifier(password)}'\n"
        f"ALTER ROLE {OWNER} NOLOGIN\n",
        environment=tools.plain_environment(),
    )


def command(build: Build, data: Path, sockets: Path, port: int) -> list[str]:
    """The server's command line."""
    settings = [word for name, value in SETTINGS.items() for word in ("-c", f"{name}={value}")]
    return [*build.command(), "-D", str(data), "-p", str(port), "-k", str(sockets), *settings]


def is_ready(data: Path, pid: int) -> bool:
    """Whether this very server accepts connections: it says so in line 8 of its pid file."""
    try:
        lines = (data / "postmaster.pid").read_text(encoding="utf-8").splitlines()
    except OSError:
        return False
    return len(lines) >= 8 and lines[0].strip() == str(pid) and lines[7].strip() == "ready"

"""How a private MySQL or MariaDB is made, run and known to be ready. Where its programs come from is not known here."""

from __future__ import annotations

import functools
import signal
import socket
from pathlib import Path

from matrix.servers import tools
from matrix.servers.builds import Build
from matrix.servers.errors import ServerError
from matrix.servers.tools import USER, Account

STOP_SIGNAL = signal.SIGKILL  # nothing to save; an orderly end takes MySQL 1.5 s
GREETING_TIMEOUT = 0.5
# A server to throw away need not survive a power cut, and many run on one machine.
SETTINGS = (
    "--max-connections=300",
    "--bind-address=127.0.0.1",
    "--local-infile=OFF",
    "--skip-name-resolve",
    "--skip-log-bin",
    "--performance-schema=OFF",
    "--table-open-cache=200",
    "--innodb-flush-log-at-trx-commit=0",
    "--innodb-buffer-pool-size=32M",
    "--innodb-doublewrite=OFF",
    "--innodb-flush-method=nosync",
    "--innodb-fast-shutdown=2",
    "--innodb-use-native-aio=0",
    "--innodb-status-output-locks=ON",  # who holds what, for SHOW ENGINE INNODB STATUS
    "--default-time-zone=+00:00",
)
# What a cell needs, and no more: no files, no other users, no settings of the server. Its own sessions it may end.
RIGHTS = (
    *("SELECT", "INSERT", "UPDATE", "DELETE", "EXECUTE", "LOCK TABLES", "PROCESS", "SHOW DATABASES"),
    *("CREATE", "ALTER", "DROP", "INDEX", "REFERENCES", "TRIGGER", "EVENT", "CREATE TEMPORARY TABLES"),
    *("CREATE VIEW", "SHOW VIEW", "CREATE ROUTINE", "ALTER ROUTINE"),
)
# The order in which mariadb-install-db feeds them; each is mysql_* until 10.11 and mariadb_* later.
BOOTSTRAP = ("system_tables", "performance_tables", "system_tables_data", "maria_add_gis_sp_bootstrap", "sys_schema")
YOUNGEST = "sys_schema"  # MariaDB 10.6 brought it
BOOTSTRAP_BEFORE = (
    "create database if not exists mysql;\nuse mysql;\n"  # one statement a line: the bootstrap reader wants it so
    "SET @auth_root_socket=NULL;\nSET @current_hostname='localhost';\nSET @skip_auth_anonymous=1;\n"
)
BOOTSTRAP_AFTER = "DELETE FROM mysql.global_priv WHERE User='root';\n"


def _base(build: Build) -> list[str]:
    """`--no-defaults` must come first. Without the folders the program would look below the machine's /usr."""
    words = [*build.command(), "--no-defaults"]
    if build.share:
        words += [f"--lc-messages-dir={build.share}", f"--character-sets-dir={build.share / 'charsets'}"]
    if build.plugins:
        words.append(f"--plugin-dir={build.plugins}")
    if build.kind == "mysql":
        words += ["--secure-file-priv=NULL", "--innodb-redo-log-capacity=8M"]
    else:
        # MariaDB knows no NULL here: statements may touch files below this path alone, and below a file there are none.
        words += ["--secure-file-priv=/dev/null", "--innodb-log-file-size=8M"]
    return words


def make_data(build: Build, data: Path, account: Account | None) -> None:
    """Make a data folder. Nobody can log in over TCP until `users_file` was run."""
    run = functools.partial(
        tools.run, doing="preparing the data folder", account=account, environment=tools.plain_environment()
    )
    if build.kind == "mysql":
        words = [*_base(build), "--initialize-insecure", f"--datadir={data}", "--innodb-flush-method=nosync"]
        run(words)
        return
    words = [*_base(build), "--bootstrap", f"--datadir={data}", "--skip-networking", "--max-allowed-packet=8M"]
    words += ["--net-buffer-length=16K", "--innodb-flush-method=nosync"]
    run(words, input_text=bootstrap_statements(build.share))


def bootstrap_statements(share: Path | None) -> str:
    """What mariadb-install-db would feed to the server. Its script needs a client program that we do not have."""
    if share is None:
        raise ServerError("MariaDB's folder of system tables was not found")
    texts = []
    for name in BOOTSTRAP:
        found = [*share.glob(f"m*_{name}.sql"), *share.glob(f"{name}.sql")]
        if not found and name == YOUNGEST:
            continue
        if not found:
            raise ServerError(f"{share} holds no {name}.sql")
        texts.append(found[0].read_text(encoding="utf-8"))
    return BOOTSTRAP_BEFORE + "\n".join(texts) + "\n" + BOOTSTRAP_AFTER


def write_users_file(build: Build, path: Path, password: str) -> None:
    """Statements for --init-file: the tests' user, and no other who could log in. Readable by the server alone."""
    statements = [
        f"CREATE USER '{USER}'@'%' IDENTIFIED BY '{password}';",
        f"GRANT {', '.join(RIGHTS)} ON *.* TO '{USER}'@'%';",
    ]
    if build.kind == "mysql":
        statements.append("DROP USER 'root'@'localhost';")
    tools.write_secret(path, "\n".join(statements) + "\n")


def command(build: Build, data: Path, temporary: Path, unix_socket: Path, port: int, users: Path) -> list[str]:
    """The server's command line."""
    words = [*_base(build), *SETTINGS, f"--datadir={data}", f"--port={port}", f"--socket={unix_socket}"]
    words += [f"--pid-file={data / 'server.pid'}", f"--tmpdir={temporary}", f"--init-file={users}"]
    if build.kind == "mysql":
        words.append("--mysqlx=OFF")
    return words


def is_ready(unix_socket: Path) -> bool:
    """Whether this very server greets: the socket is ours alone, while the port might be a stranger's."""
    try:
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(GREETING_TIMEOUT)
            probe.connect(str(unix_socket))
            return len(probe.recv(5)) == 5
    except OSError:
        return False

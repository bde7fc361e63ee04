"""From a build to a running private server: the data template, a copy of it, a password, a free port, readiness."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import time
from pathlib import Path

from matrix.servers import cache, mysql, postgres, private, tools
from matrix.servers.builds import Build
from matrix.servers.errors import NoSpaceError, ServerError
from matrix.servers.private import Order, ServerProcess
from matrix.servers.server import Server
from matrix.servers.tools import Account, Progress

TEMPLATE_FORMAT = 3  # part of a template's name: raise it when make_data changes
START_SECONDS = 60.0
POLL_SECONDS = 0.005
PORT_ATTEMPTS = 5
PORT_TAKEN = ("Address already in use", "Bind on TCP/IP port", "could not bind")
TEMPLATE_MEGABYTES = {"postgres": 40, "mariadb": 60, "mysql": 100}


def _hand_over(path: Path, account: Account | None) -> None:
    if account:
        os.chown(path, account.uid, account.gid, follow_symlinks=False)
        for parent, folders, files in os.walk(path):
            for name in (*folders, *files):
                os.chown(os.path.join(parent, name), account.uid, account.gid, follow_symlinks=False)  # noqa: PTH118


def _make_template(build: Build, folder: Path) -> None:
    account = cache.server_account()
    data = folder / "data"
    data.mkdir(mode=0o700)
    _hand_over(data, account)
    if build.kind == "postgres":
        postgres.make_data(build, data, account)
    else:
        mysql.make_data(build, data, account)
    cache.write_manifest(folder, {"release": build.release, "origin": build.origin, "format": TEMPLATE_FORMAT})


def _template_entry(build: Build) -> Path:
    return cache.cache_folder() / "templates" / f"{build.key}-{TEMPLATE_FORMAT}"


def _is_whole(entry: Path) -> bool:
    return cache.read_manifest(entry) is not None and any((entry / "data").glob("*"))


def data_template(build: Build, progress: Progress) -> Path:
    """The data folder to copy for each server of this build; made once and kept in the cache."""
    root, entry = cache.cache_folder(), _template_entry(build)
    if not _is_whole(entry):
        cache.check_enterable(root, "MATRIX_CACHE")
        with cache.lock(f"template-{build.key}", root):
            if not _is_whole(entry):
                progress(f"preparing data folder for {build.kind} {build.release}")
                with cache.new_entry(entry, TEMPLATE_MEGABYTES[build.kind]) as folder:
                    _make_template(build, folder)
    return entry / "data"


def _copy(template: Path, data: Path) -> None:
    """`cp` is several times quicker than copying by Python, and shares blocks where the file system can."""
    tools.run(["cp", "-a", template, data], doing="copying the data folder")


def start(build: Build, progress: Progress) -> Server:
    """Start a private server of this build and wait until it accepts connections. Raises ServerError.

    Its folder is removed again when the start fails.
    """
    root = private.run_root()
    cache.check_enterable(root.parent, "MATRIX_RUN")
    private.sweep(root)
    try:
        return _started(build, data_template(build, progress), root, progress)
    except NoSpaceError:
        raise
    except (OSError, ServerError) as error:
        raise ServerError(
            f"{error}\nIf that comes again, remove {_made_of(build)} and run again: it is made anew."
        ) from None


def _made_of(build: Build) -> str:
    """The folders of the cache that a server is made of."""
    root = cache.cache_folder()
    made = [root / build.program.relative_to(root).parts[0]] if build.program.is_relative_to(root) else []
    return " and ".join(map(str, [*made, root / "templates"]))


def _started(build: Build, template: Path, root: Path, progress: Progress) -> Server:
    progress(f"starting {build.kind} {build.release}")
    with tools.way_out_of_full_disk(root, TEMPLATE_MEGABYTES[build.kind], "MATRIX_RUN"):
        for _ in range(PORT_ATTEMPTS):
            server = _start_once(build, template, root)
            if server:
                return server
    raise ServerError(f"{build.kind} {build.release} found no free port in {PORT_ATTEMPTS} attempts")


def _start_once(build: Build, template: Path, root: Path) -> Server | None:
    """None when another program took the port in the meantime."""
    folder, held = private.new_run_folder(root)
    process: ServerProcess | None = None
    server: Server | None = None
    try:
        password, port = secrets.token_hex(16), private.free_port()
        order, ready_sign = _prepare(build, template, folder, password, port)
        process = ServerProcess(folder, held, order)
        if _wait_until_ready(build, process, ready_sign):
            server = Server(
                kind=build.kind,
                version=build.version,
                host="127.0.0.1",
                port=port,
                user=postgres.USER if build.kind == "postgres" else mysql.USER,
                password=password,
                socket=str(folder / "socket") if build.kind == "postgres" else str(ready_sign),
                release=build.release,
                origin=build.origin,
                process=process,
            )
        return server
    finally:
        with contextlib.suppress(FileNotFoundError):
            (folder / "users.sql").unlink()
        if server is None:
            if process:
                process.stop()
            held.close()
            shutil.rmtree(folder, ignore_errors=True)


def _prepare(build: Build, template: Path, folder: Path, password: str, port: int) -> tuple[Order, Path]:
    """Copy the template and set the password. Returns what to run, and the path that shows readiness."""
    data, sockets, temporary = folder / "data", folder / "socket", folder / "tmp"
    account = cache.server_account()
    _copy(template, data)
    sockets.mkdir(mode=0o755)
    temporary.mkdir(mode=0o700)
    for own in (data, sockets, temporary):
        _hand_over(own, account)
    state = {"kind": build.kind, "version": build.version, "port": port, "owner": os.getpid()}
    if build.kind == "postgres":
        postgres.make_user(build, data, password, account)
        return Order(postgres.command(build, data, sockets, port), postgres.STOP_SIGNAL, account, state), data
    users, unix_socket = folder / "users.sql", sockets / "mysql"
    mysql.write_users_file(build, users, password)
    _hand_over(users, account)
    words = mysql.command(build, data, temporary, unix_socket, port, users)
    return Order(words, mysql.STOP_SIGNAL, account, state), unix_socket


def _wait_until_ready(build: Build, process: ServerProcess, sign: Path) -> bool:
    """True when ready, False when its port was taken. Raises ServerError when it died or took too long."""
    deadline = time.monotonic() + START_SECONDS
    name = f"{build.kind} {build.release} ({build.origin})"
    while time.monotonic() < deadline:
        ready = postgres.is_ready(sign, process.pid) if build.kind == "postgres" else mysql.is_ready(sign)
        if ready:
            return True
        if not process.alive():
            said = process.log_tail(50)
            if any(words in said for words in PORT_TAKEN):
                return False
            if tools.NO_SPACE in said:
                raise tools.NoSpaceError(f"starting {name}: {tools.NO_SPACE}")
            raise ServerError(f"{name} ended while it started: {tools.last_lines(said)}")
        time.sleep(POLL_SECONDS)
    raise ServerError(f"{name} was not ready after {START_SECONDS:g} s: {tools.last_lines(process.log_tail(20))}")

"""From a build to a running private server: the data template, a copy of it, a password, a free port, readiness."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from matrix.servers import cache, mysql, postgres, private, tools
from matrix.servers.builds import Build
from matrix.servers.errors import NoSpaceError, ServerError
from matrix.servers.launch import Prepared, launch
from matrix.servers.private import Order
from matrix.servers.server import Server
from matrix.servers.tools import USER, Account, Progress

TEMPLATE_FORMAT = 3  # part of a template's name: raise it when make_data changes
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


def has_template(build: Build) -> bool:
    """Whether the data folder that each server of this build is copied from has been made."""
    return _is_whole(_template_entry(build))


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
    password = secrets.token_hex(16)
    with tools.way_out_of_full_disk(root, TEMPLATE_MEGABYTES[build.kind], "MATRIX_RUN"):
        process, port = launch(build, root, lambda folder, port: _prepare(build, template, folder, password, port))
    sockets = process.folder / "socket"
    return Server(
        kind=build.kind,
        version=build.version,
        host="127.0.0.1",
        port=port,
        user=USER,
        password=password,
        socket=str(sockets if build.kind == "postgres" else sockets / "mysql"),
        release=build.release,
        origin=build.origin,
        process=process,
    )


def _prepare(build: Build, template: Path, folder: Path, password: str, port: int) -> Prepared:
    """Copy the template and set the password."""
    data, sockets, temporary, users = folder / "data", folder / "socket", folder / "tmp", folder / "users.sql"
    account = cache.server_account()
    # `cp` is several times quicker than copying by Python, and shares blocks where the file system can.
    tools.run(["cp", "-a", template, data], doing="copying the data folder")
    sockets.mkdir(mode=0o755)
    temporary.mkdir(mode=0o700)
    for own in (data, sockets, temporary):
        _hand_over(own, account)
    state = {"kind": build.kind, "version": build.version, "port": port, "owner": os.getpid()}
    if build.kind == "postgres":
        postgres.make_user(build, data, password, account)
        order = Order(postgres.command(build, data, sockets, port), postgres.STOP_SIGNAL, account, state)
        return Prepared(order, lambda process: postgres.is_ready(data, process.pid), users)
    unix_socket = sockets / "mysql"
    mysql.write_users_file(build, users, password)
    _hand_over(users, account)
    words = mysql.command(build, data, temporary, unix_socket, port, users)
    return Prepared(Order(words, mysql.STOP_SIGNAL, account, state), lambda _: mysql.is_ready(unix_socket), users)

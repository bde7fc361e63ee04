"""A cache that something has spoiled: the next run heals it, or names the folder to remove."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

from matrix.servers import ServerError, acquire, builds, cache
from matrix.servers.catalogue import catalogue
from tests.attacks import Tried


def in_place(change: Callable[[Path], None], path: str) -> Callable[[Path], None]:
    """A file of a build's entry, or of its template, replaced by what ``change`` makes of a copy: files are shared with
    the real cache."""

    def spoil(entry: Path) -> None:
        file = next(entry.glob(path))
        copy = file.with_name(f"{file.name}.copy")
        shutil.copy2(file, copy)
        copy.replace(file)
        change(file)

    return spoil


def removed(path: str) -> Callable[[Path], Path]:
    """Returns where it was."""

    def spoil(entry: Path) -> Path:
        found = next(entry.glob(path))
        shutil.rmtree(found) if found.is_dir() else found.unlink()
        return found

    return spoil


def half(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def without_layout(file: Path) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), "layout": []}))


PROGRAM = "tree/**/bin/postgres"  # where depends on the packages
BUILD: dict[str, Callable[[Path], object]] = {
    "the program is missing": removed(PROGRAM),
    "the program is half": in_place(half, PROGRAM),
    "the program is empty": in_place(lambda file: file.write_bytes(b""), PROGRAM),
    "the program may not be run": in_place(lambda file: file.chmod(0o644), PROGRAM),
    "the program is a folder": lambda entry: removed(PROGRAM)(entry).mkdir(),
    "the tree is missing": removed("tree"),
    "a library is half": in_place(half, "tree/**/libpq.so.5*"),
    "its manifest is no JSON": in_place(lambda file: file.write_text("{"), "manifest.json"),
    "its manifest is of another shape": in_place(without_layout, "manifest.json"),
    "its manifest is a list": in_place(lambda file: file.write_text("[]"), "manifest.json"),
    "it is a file": lambda entry: (shutil.rmtree(entry), entry.write_text("")),
}
TEMPLATE: dict[str, Callable[[Path], object]] = {
    "the template's data is missing": removed("data"),
    "the template's data is empty": lambda entry: removed("data")(entry).mkdir(),
    "a file of the template is missing": removed("data/global/pg_control"),
    "a file of the template is half": in_place(half, "data/global/pg_control"),
    "the template may not be entered": lambda entry: (entry / "data").chmod(0),
}


def fetched() -> Path:
    """The entry of a build from packages in this user's own cache, with the template of a server that was started of
    it. Raises ServerError."""
    own = {build.version for build in builds.host_builds("postgres")}  # these would be started instead
    versions = [each for each, at in catalogue().kinds["postgres"].versions.items() if at.pypi and each not in own]
    version = max(
        versions, key=lambda each: (builds.cached_build(builds.Spec("postgres", each)) is not None, int(each))
    )
    acquire(f"postgres-{version}").stop()
    return cache.cache_folder() / f"postgres-{version}"


def attack(folder: Path) -> Iterator[Tried]:
    try:
        entry = fetched()
    except ServerError as error:
        yield Tried("nothing: no build could be fetched", str(error))
        return
    real = entry.parent
    for what, spoil in {**BUILD, **TEMPLATE, "the lock is a folder": lambda _: None}.items():
        home = folder / "cache"
        shutil.rmtree(home, ignore_errors=True)
        (home / "templates").mkdir(parents=True)
        (home / "locks").mkdir()
        subprocess.run(["cp", "-al", entry, home / entry.name], check=True)
        own = {"MATRIX_CACHE": str(home), "MATRIX_RUN": str(folder / "run")}
        with mock.patch.dict(os.environ, own):
            build = builds.cached_build(builds.Spec(*entry.name.split("-")))
            template = f"{build.key}-"
            for each in real.glob(f"templates/{template}*"):
                subprocess.run(["cp", "-a", each, home / "templates" / each.name], check=True)
            if what == "the lock is a folder":
                removed("manifest.json")(home / entry.name)
                (home / "locks" / entry.name).mkdir()
            for each in (
                [home / entry.name] if what in BUILD else (home / "templates").iterdir() if what in TEMPLATE else []
            ):
                spoil(each)
            yield Tried(f"{entry.name}: {what}", healed(entry.name, home))


def healed(spec: str, home: Path) -> str:
    """What is wrong with how a server is started from this cache; empty when it starts, would be fetched anew, or what
    to remove is said."""
    fetched: list[str] = []

    def fetch(*_: object) -> None:
        fetched.append("")
        raise ServerError("it would be fetched")

    try:
        with mock.patch.object(builds, "_fetch_from_any", fetch), acquire(spec) as server:
            return "" if server.alive() else "it does not live"
    except ServerError as error:
        return "" if fetched or str(home) in str(error) else f"no folder is named: {error}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"

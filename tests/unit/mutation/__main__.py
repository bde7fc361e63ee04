"""Runs mutmut and judges what survived: ``python -m tests.unit.mutation [SET ...]``, of all sets in sets.toml.

Exit 1 when a mutant survives that explained.toml does not explain, or when an explanation fits no survivor any more.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import tomllib

HERE = Path(__file__).parent
EXPLAINED = HERE / "explained.toml"
SETS = HERE / "sets.toml"
WORK = Path("mutants")  # below it, a copy of the tree for each set, in which mutmut makes its own
COPIED = ("conftest.py", "matrix", "pytest.ini", "tests")
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


def neutral(name: str, path: Path = EXPLAINED) -> list[re.Pattern[str]]:
    """Kinds of change that are no fault wherever they stand in the files of a set: patterns that fit ``was`` and
    ``became`` in two lines. Raises ValueError for one without a reason."""
    entries = tomllib.loads(path.read_text("utf-8")).get("neutral", [])
    for entry in entries:
        if not entry.get("why", "").strip():
            raise ValueError(f"{path.name}: {entry['pattern']} has no reason")
    return [re.compile(entry["pattern"], re.DOTALL) for entry in entries if entry["set"] == name]


def sets(path: Path = SETS) -> dict[str, dict[str, list[str]]]:
    """name -> which files are mutated, and which tests must notice."""
    return tomllib.loads(path.read_text("utf-8"))


def belongs(known: Survivor, mutated: Iterable[str]) -> bool:
    """Whether an explanation is of one of these files."""
    names = [Path(each).with_suffix("").as_posix().replace("/", ".") for each in mutated]
    return any(known.function.startswith(function_of(f"{name}.x___mutmut_1")) for name in names)


def copy_tree(folder: Path, only_mutate: list[str], tests: list[str]) -> None:
    """What mutmut needs, with its settings: it reads them nowhere but in a pyproject.toml of the present folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name in COPIED:
        if Path(name).is_dir():
            shutil.copytree(name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(name, folder)
    settings = {
        "source_paths": ["matrix"],
        "only_mutate": only_mutate,
        "also_copy": COPIED,
        "pytest_add_cli_args_test_selection": tests,
        "pytest_add_cli_args": ["-p", "tests.unit.mutation.apart"],
        # Real servers are waited for: thrice what tests took, not fifteen times, and seconds for a busy machine.
        "timeout_multiplier": 3.0,
        "timeout_constant": 10.0,
    }
    lines = [f"{key} = {json.dumps(value)}" for key, value in settings.items()]  # a list in JSON is one in TOML
    (folder / "pyproject.toml").write_text("\n".join(["[tool.mutmut]", *lines, ""]), "utf-8")


def mutmut(*arguments: str) -> str:
    command = [sys.executable, "-m", "mutmut", *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, encoding="utf-8").stdout


def run(name: str, only_mutate: list[str], tests: list[str], known: Iterable[Survivor]) -> int:
    """One set. 0: as explained, 1: not, 2: mutmut could not run."""
    from mutmut.mutation.diff_apply import get_diff_for_mutant  # one ``mutmut show`` each would take a second each

    copy_tree(WORK / name, only_mutate, tests)
    began = time.monotonic()
    with contextlib.chdir(WORK / name):
        ended = subprocess.run([sys.executable, "-m", "mutmut", "run"], check=False)
        if ended.returncode:
            print(f"{name}: mutmut could not run; its last lines say why", file=sys.stderr)
            return 2
        states = dict(
            line.strip().rsplit(": ", 1) for line in mutmut("results", "--all", "true").splitlines() if ": " in line
        )
        alive = [each for each, state in states.items() if state not in KILLED]
        survivors = [survivor(each, get_diff_for_mutant(each)) for each in alive]
    kinds = neutral(name)
    harmless = [each for each in survivors if any(kind.search(f"{each.was}\n{each.became}") for kind in kinds)]
    survivors = [each for each in survivors if each not in harmless]
    new, gone = judge(survivors, [each for each in known if belongs(each, only_mutate)])
    for each in new:
        print(f"survived: {each}")
    for each in gone:
        print(f"explained, but killed or gone: {each}")
    files = Counter(function_of(each).rpartition(".")[0] for each in states)
    print(", ".join(f"{file} {number}" for file, number in sorted(files.items())))
    took = time.monotonic() - began
    print(
        f"{name}: {len(states)} mutants, {len(states) - len(alive)} killed, {len(alive)} survived: "
        f"{len(harmless)} of a neutral kind, {len(survivors) - len(new)} explained, {len(new)} not ({took:.0f} s)"
    )
    return 1 if new or gone or not states else 0


def main(arguments: list[str]) -> int:
    every = sets()
    parser = argparse.ArgumentParser(prog="python -m tests.unit.mutation", description=__doc__)
    parser.add_argument("sets", nargs="*", metavar="SET", help=f"of {', '.join(every)} (all)")
    wanted = parser.parse_args(arguments).sets
    if unknown := set(wanted) - set(every):
        parser.error(f"there is no set {', '.join(sorted(unknown))}; there are {', '.join(every)}")
    try:
        known = explained()
    except (OSError, ValueError) as problem:
        print(f"{EXPLAINED.name}: {problem}", file=sys.stderr)
        return 2
    return max(run(name, **every[name], known=known) for name in wanted or every)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

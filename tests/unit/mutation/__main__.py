"""Makes mutants, has the tests run, and judges what survived: ``python -m tests.unit.mutation [SET ...]``, of all sets
in sets.toml.

Exit 1 when a mutant survives that explained.toml does not explain, or when an explanation fits no survivor any more.
What was killed stands in a record and is not asked again while its function is as it was, so that a run goes on where
the last one was ended; who wants it all anew, as other functions or tests have changed, says --anew.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import difflib
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomllib

HERE = Path(__file__).parent
EXPLAINED = HERE / "explained.toml"
SETS = HERE / "sets.toml"
WORK = Path("mutants")  # for each set a copy of the tree with its mutants, and beside it what is known of them
COPIED = ("conftest.py", "matrix", "pytest.ini", "tests")
KILLED = ("killed", "timeout")


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
    """From the difference between the two functions. A change over several lines is joined to one."""
    lines = [line for line in diff.splitlines() if not line.startswith(("---", "+++"))]
    was, became = (" ".join(line[1:].strip() for line in lines if line.startswith(sign)) for sign in "-+")
    return Survivor(function_of(name), was, became)


class Mutated:
    """A file with its mutants, whose functions can be compared."""

    def __init__(self, path: Path) -> None:
        self.lines = path.read_text("utf-8").splitlines()
        defined = (ast.FunctionDef, ast.AsyncFunctionDef)
        nodes = ast.walk(ast.parse("\n".join(self.lines)))
        self.functions = {node.name: node for node in nodes if isinstance(node, defined)}

    def diff(self, mutant: str) -> str:
        name = mutant.rpartition(".")[2]
        both = (self._text(each, mutant) for each in (name.rpartition("__mutmut_")[0] + "__mutmut_orig", name))
        return "\n".join(difflib.unified_diff(*both, lineterm="", n=0))

    def _text(self, name: str, mutant: str) -> list[str]:
        """As if it had no name of its own."""
        node = self.functions[name]
        first, *more = self.lines[node.lineno - 1 : node.end_lineno]
        return [first.replace(name, function_of(mutant).rpartition(".")[2], 1), *more]


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
    """Kinds of change that are no fault wherever they stand in the files of a set, or of all: patterns that fit ``was``
    and ``became`` in two lines. Raises ValueError for one without a reason."""
    entries = tomllib.loads(path.read_text("utf-8")).get("neutral", [])
    for entry in entries:
        if not entry.get("why", "").strip():
            raise ValueError(f"{path.name}: {entry['pattern']} has no reason")
    return [re.compile(entry["pattern"], re.DOTALL) for entry in entries if entry.get("set", name) == name]


def sets(path: Path = SETS) -> dict[str, dict[str, list[str]]]:
    """name -> which files are mutated, and which tests must notice."""
    return tomllib.loads(path.read_text("utf-8"))


def belongs(known: Survivor, mutated: Iterable[str]) -> bool:
    """Whether an explanation is of one of these files."""
    return any(known.function.startswith(function_of(f"{module_of(each)}.x___mutmut_1")) for each in mutated)


def module_of(file: str) -> str:
    return Path(file).with_suffix("").as_posix().replace("/", ".")


def copy_tree(folder: Path, mutated: Iterable[str]) -> list[dict[str, str]]:
    """The tree with all mutants of some files in it. Which they are, each with its function's state."""
    from mutmut.mutation.file_mutation import mutate_file_contents

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name in COPIED:
        if Path(name).is_dir():
            shutil.copytree(name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(name, folder)
    (folder / "pyproject.toml").write_text('[tool.mutmut]\nsource_paths = ["matrix"]\n', "utf-8")
    mutants = []
    for file in mutated:
        with contextlib.chdir(folder):  # where its settings are
            made = mutate_file_contents(file, Path(file).read_text("utf-8"))
            Path(file).write_text(made.code, "utf-8")
        for name in made.mutant_names:
            of = made.hash_by_function_name[name.rpartition("__mutmut_")[0]]
            mutants.append({"name": f"{module_of(file)}.{name}", "file": file, "of": of})
    return mutants


def on_record(path: Path) -> dict[str, dict[str, Any]]:
    """What is known of each mutant; the last line of one counts."""
    lines = map(json.loads, path.read_text("utf-8").splitlines()) if path.exists() else ()
    return {line["name"]: line for line in lines}


def run(name: str, chosen: dict[str, list[str]], files: list[str], known: Iterable[Survivor], slots: int) -> int:
    """One set, or some files of it. 0: as explained, 1: not, 2: the tests could not run."""
    folder, record = WORK / name, (WORK / f"{name}.jsonl").absolute()
    mutants = [each for each in copy_tree(folder, chosen["only_mutate"]) if each["file"] in files]
    whole = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        whole.update(path.read_bytes())
    reached = (WORK / f"{name}-{whole.hexdigest()[:16]}.json").absolute()
    for old in {*WORK.glob(f"{name}-*.json")} - {reached}:
        old.unlink()
    mutated = {file: Mutated(folder / file) for file in files}
    changes = {each["name"]: survivor(each["name"], mutated[each["file"]].diff(each["name"])) for each in mutants}
    before = on_record(record)
    done = {each["name"] for each in before.values() if each["state"] in KILLED}
    done = {each["name"] for each in mutants if each["name"] in done and before[each["name"]]["of"] == each["of"]}
    kinds = neutral(name)
    harmless = {each for each, to in changes.items() if any(kind.search(f"{to.was}\n{to.became}") for kind in kinds)}
    asked = [each for each in mutants if each["name"] not in done | harmless]
    told = {"mutants": asked, "slots": slots, "reached": str(reached), "record": str(record)}
    (WORK / f"{name}.told").write_text(json.dumps(told), "utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-s", "--tb=native", "-p", "no:cacheprovider"]
    command += ["-p", "tests.unit.mutation.forks", *chosen["tests"]]
    environment = {**os.environ, "MUTATION": str((WORK / f"{name}.told").absolute())}
    if subprocess.run(command, cwd=folder, env=environment, check=False).returncode:
        print(f"{name}: the tests could not run; the last lines say why", file=sys.stderr)
        return 2
    record_now = on_record(record)
    found = [{**each, "state": "neutral"} if each["name"] in harmless else record_now[each["name"]] for each in mutants]
    survivors = [changes[each["name"]] for each in found if each["state"] not in (*KILLED, "neutral")]
    return report(name, found, survivors, [each for each in known if belongs(each, files)])


def report(name: str, found: list[dict[str, Any]], survivors: list[Survivor], known: list[Survivor]) -> int:
    states: dict[str, Counter[str]] = defaultdict(Counter)
    for each in found:
        states[each["file"]].update([each["state"], "mutants"])
    new, gone = judge(survivors, known)
    for each in new:
        print(f"survived: {each}")
    for each in gone:
        print(f"explained, but killed or gone: {each}")
    for file, counts in states.items():
        print(f"{file}: {', '.join(f'{number} {state}' for state, number in sorted(counts.items()))}")
    all_of = sum(states.values(), Counter())
    cpu, seconds = (sum(each.get(unit, 0) for each in found) for unit in ("cpu", "seconds"))
    print(
        f"{name}: {len(found)} mutants, {all_of['neutral']} of a neutral kind, {sum(all_of[each] for each in KILLED)} "
        f"killed, {len(survivors)} survived: {len(survivors) - len(new)} explained, {len(new)} not "
        f"({cpu:.0f} s of processors, {seconds:.0f} s of tests)"
    )
    return 1 if new or gone or not found else 0


def main(arguments: list[str]) -> int:
    every = sets()
    parser = argparse.ArgumentParser(prog="python -m tests.unit.mutation", description=__doc__)
    parser.add_argument("sets", nargs="*", metavar="SET", help=f"of {', '.join(every)} (all)")
    parser.add_argument("--file", action="append", help="only mutants of this file; may be given again")
    parser.add_argument("--anew", action="store_true", help="ask about those on record too")
    parser.add_argument("--slots", type=int, default=os.cpu_count(), help="how many at a time (%(default)s)")
    wanted = parser.parse_args(arguments)
    if unknown := set(wanted.sets) - set(every):
        parser.error(f"there is no set {', '.join(sorted(unknown))}; there are {', '.join(every)}")
    try:
        known = explained()
    except (OSError, ValueError) as problem:
        print(f"{EXPLAINED.name}: {problem}", file=sys.stderr)
        return 2
    worst = 0
    for name in wanted.sets or every:
        chosen = every[name]
        files = [each for each in chosen["only_mutate"] if not wanted.file or each in wanted.file]
        if wanted.anew:
            (WORK / f"{name}.jsonl").unlink(missing_ok=True)
        if files:
            worst = max(worst, run(name, chosen, files, known, wanted.slots))
    return worst


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

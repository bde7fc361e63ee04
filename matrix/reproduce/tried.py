"""``python -m matrix regress``: a regression test, run with the release, and with a checkout that has the fix."""

from __future__ import annotations

import argparse
import re
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from matrix import files
from matrix.harness.drivers import distribution, drivers
from matrix.harness.scenario import one
from matrix.reproduce import NotWritten, run
from matrix.reproduce.cli import add_runs, not_installable, progress
from matrix.reproduce.regress import URL, regression_test
from matrix.reproduce.runtime import pins
from matrix.results.read import ResultError, read_cell
from matrix.results.text import clean, refusing
from matrix.runs.sources import TORTOISE, source

PYTEST = ("pytest", "pytest-asyncio")
ASSERTED = "AssertionError: "  # begins pytest's word of it; any other error is not what the test is about
RELEASE, CHECKOUT = "release", "checkout"


def register(commands: Any) -> None:
    """Adds ``regress``."""
    parser = commands.add_parser(
        "regress",
        help="a finding -> a regression test for its project, run against the release and a checkout",
        description="Writes a pytest test that fails as long as a finding of a result shows: with Tortoise's own test "
        "context, or plain pytest-asyncio for a driver. It is run against the release, where it has to fail each time, "
        "and with --checkout against a folder with the fix, where it has to pass. Exit code 0: that is so.",
    )
    parser.add_argument("scenario", help="such as NST-4")
    parser.add_argument("cell", help="a cell with a result, such as mysql-aiomysql")
    parser.add_argument("--checkout", metavar="PATH", help="a folder with the fix, of Tortoise or of the driver")
    parser.add_argument("--out", default="build/regress", metavar="FOLDER", help="where the test goes")
    add_runs(parser)
    parser.set_defaults(handler=_regress)


@refusing(2, LookupError, ResultError, NotWritten, run.CannotRun, OSError)
def _regress(options: argparse.Namespace) -> int:
    file = Path(options.results) / f"{options.cell}.jsonl"
    scenario, result = one(options.scenario), read_cell(file)
    line = result.by_id.get(scenario)
    if line is None or line["complies"] is not False:
        raise run.CannotRun(f"{file}: {scenario} {'complies' if line else 'was not run'}: there is nothing to test for")
    if why := not_installable(result.header):
        raise run.CannotRun(why)
    path = Path(options.out) / f"test_{re.sub('[^a-z0-9]+', '_', f'{scenario} {options.cell}'.lower())}.py"
    files.write(path, regression_test(line, result.header))
    print(f"written: {path}")
    pythons = environments_of(result.header, line, options.checkout, Path(options.environments).resolve())
    return tries(path, result.header, pythons, options.times, progress)


def environments_of(header: Mapping[str, Any], line: Any, checkout: str | None, folder: Path) -> dict[str, Path]:
    """The interpreters: with what the cell ran with, and with a checkout in the place of its package. Raises
    CannotRun."""
    orm = bool(line["evidence"]["setup"].get("orm"))
    wanted = pins(header, orm)
    found = {RELEASE: run.script_python([*wanted, *PYTEST], header, folder)}
    if checkout:
        package, place = _package(Path(checkout), str(header["axes"]["driver"]))
        rest = [pin for pin in wanted if distribution(pin) != package]
        found[CHECKOUT] = run.script_python([*rest, f"{package} @ {place}", *PYTEST], header, folder)
    return found


def _package(folder: Path, driver: str) -> tuple[str, str]:
    """Which package a folder has, and where it is as an installer takes it. Raises CannotRun."""
    try:
        place = source(str(folder)).place
        project = files.read_toml(folder / "pyproject.toml").get("project", {})
    except (OSError, ValueError) as problem:
        raise run.CannotRun(str(problem)) from None
    name = distribution(str(project.get("name", "")))
    wanted = (TORTOISE, drivers()[driver].distribution)
    if name not in wanted:
        raise run.CannotRun(f"{folder} has the project {name or 'without a name'}\nwanted is {' or '.join(wanted)}")
    return name, place


def tries(
    path: Path, header: Mapping[str, Any], pythons: Mapping[str, Path], times: int, tell: Callable[[str], None]
) -> int:
    """Run the test with each interpreter, and say how often it failed; 0: as it should. Raises CannotRun."""
    with run.Databases(header["axes"], tell) as databases:
        right = True
        for name, python in pythons.items():
            runs, why = [], []
            for _ in range(times):
                with tempfile.TemporaryDirectory(prefix="matrix-regress-") as folder:
                    report = Path(folder) / "report.xml"
                    command = [str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junit-xml={report}"]
                    runs.append(run.ran([*command, str(path.resolve())], path.parent, _database(databases, python)))
                    why += _asserted(report)
            passed = sum(each.code == 0 for each in runs)
            right &= (len(why) if name == RELEASE else passed) == times
            odd = times - len(why) - passed
            said = f"fails {len(why)} of {times} times, passes {passed}" + f", cannot be run {odd}" * bool(odd)
            print(clean(f"{name}: {said}, {runs[-1].seconds:.1f} s{f': {why[0]}' if why else ''}"), flush=True)
    return 0 if right else 1


def _asserted(report: Path) -> list[str]:
    """What the test found wrong, as pytest's report in XML has it."""
    failures = ElementTree.parse(report).iter("failure") if report.exists() else ()
    messages = (each.get("message", "").partition("\n")[0] for each in failures)
    return [message.removeprefix(ASSERTED) for message in messages if message.startswith(ASSERTED)]


def _database(databases: run.Databases, python: Path) -> dict[str, str]:
    """What a test is told of a database of its own; a server's is one that it makes itself where Tortoise does."""
    if databases.server is None:
        return {URL: "sqlite://:memory:"}
    address = databases.new(python)
    server, scheme = databases.server, _engine(databases.driver)
    login = f"{server.user}:{server.password}@{server.host}:{server.port}"
    return {URL: f"{scheme}://{login}/test_{{}}", "TEST_DATABASE": address, **databases.variables}


def _engine(driver: str) -> str:
    """Tortoise's name for its client, which is the scheme of an address."""
    script = drivers()[driver].script
    return script.engine if script else ""

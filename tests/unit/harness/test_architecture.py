"""An import linter: arrows point one way (docs/architecture.md), scenarios know no driver and never sleep."""

from __future__ import annotations

import ast
import functools
import graphlib
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from matrix.harness.drivers import drivers

ROOT = Path(__file__).parents[3]
# What drivers are and stand on; what witnesses are.
DRIVERS = sorted(
    {each for one in drivers().values() for each in (one.name, *one.imports) if not each.startswith("tortoise.")}
)
WITNESS_CLIENTS = sorted({each for one in drivers().values() for w in one.witnesses.values() for each in w.make})
STANDARD = (*sys.stdlib_module_names, "__future__", "tomli")  # tomli is tomllib on Python 3.10
OF_TORTOISE = {"aiosqlite"}  # which Tortoise itself brings into every environment
# What everything may import.
GROUND = ("matrix.words", "matrix.lines", "matrix.files", "matrix.parent", "matrix.maker", "matrix.harness.sentences")


def files(folder: str) -> list[Path]:
    """Every module of a folder, or the one that is named."""
    if folder.endswith(".py"):
        return [ROOT / folder]
    return sorted(path for path in (ROOT / folder).rglob("*.py") if "__pycache__" not in path.parts)


def at_run_time(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes but what stands below ``if TYPE_CHECKING``."""
    yield tree
    for node in ast.iter_child_nodes(tree):
        if not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"):
            yield from at_run_time(node)


@functools.cache  # a text is asked about by several tests
def statements(text: str, nodes: Callable[[ast.AST], Iterator[ast.AST]]) -> list[ast.Import | ast.ImportFrom]:
    return [node for node in nodes(ast.parse(text)) if isinstance(node, (ast.Import, ast.ImportFrom))]


def imports(path: Path, nodes: Callable[[ast.AST], Iterator[ast.AST]] = ast.walk) -> Iterator[str]:
    """Full names of all imported modules, relative ones resolved, wherever in the file they stand."""
    package = path.relative_to(ROOT).with_suffix("").parts[:-1]
    for node in statements(path.read_text(encoding="utf-8"), nodes):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        else:
            around = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join((*around, *([node.module] if node.module else ())))
            yield from (f"{module}.{alias.name}" for alias in node.names)


def within(name: str, *allowed: str) -> bool:
    return any(name == each or name.startswith(each + ".") for each in allowed)


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def in_every_file(*folders: str) -> Callable[[Callable[[Path], list[Any]]], Callable[[], None]]:
    """Makes a test of a function that says what is wrong with a file: no file of these folders may have anything."""

    def decorated(wrong_with: Callable[[Path], list[Any]]) -> Callable[[], None]:
        def test() -> None:
            asked = [path for folder in folders for path in files(folder)]
            assert asked
            assert {named(path): wrong for path in asked if (wrong := wrong_with(path))} == {}

        test.__name__, test.__doc__ = wrong_with.__name__, wrong_with.__doc__
        return test

    return decorated


@in_every_file("tests/compliance")
def test_scenarios_import_the_harness_only(path):
    allowed = (*STANDARD, *GROUND, "matrix.harness", *(["pytest"] if path.name.startswith("test_") else []))
    return [name for name in imports(path) if not within(name, *allowed)]


@in_every_file("matrix/harness")
def test_the_harness_imports_what_a_cell_installs_only(path):
    allowed = [*STANDARD, *GROUND, "matrix.harness", "matrix.servers"]
    if path.parent.name == "adapters":
        allowed += DRIVERS
    if path.name in ("orm.py", "models.py", "base.py"):  # base.py: how Tortoise's own exceptions are classed
        allowed.append("tortoise")
    if path.name.startswith("witness"):
        allowed += WITNESS_CLIENTS
    if path.name == "cell.py":  # which puts them in the place of Tortoise's own code
        allowed.append("matrix.candidates")
    return [name for name in imports(path) if not within(name, *allowed)]


def cycle(folder: str, nodes: Callable[[ast.AST], Iterator[ast.AST]] = at_run_time, but: str = "-") -> list[str]:
    """Modules of a folder that import each other, in a cycle; empty when there is none. ``but`` is left out."""
    modules = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in files(folder)}
    modules = {module: path for module, path in modules.items() if not within(module, but)}
    graph = {}
    for module, path in modules.items():
        names = list(imports(path, nodes))  # a module's, or that of something in it
        graph[module] = {found for name in names for found in (name, name.rpartition(".")[0]) if found in modules}
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        found: list[str] = error.args[1]
        return found
    return []


def test_no_modules_import_each_other_at_run_time():
    assert cycle("matrix") == []


def test_no_modules_outside_of_the_harness_import_each_other_not_even_for_types():
    assert cycle("matrix", ast.walk, but="matrix.harness") == []


def test_the_linter_sees_a_cycle_but_not_one_of_types_alone(tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    folder = tmp_path / "matrix" / "harness"
    folder.mkdir(parents=True)
    (folder / "world.py").write_text("from .session import Session\n")
    typed = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .world import World\n"
    (folder / "session.py").write_text(f"{typed}from . import ports\n")
    (folder / "ports.py").write_text(typed)
    assert cycle("matrix/harness") == []
    (folder / "ports.py").write_text("def f():\n    from .world import World\n")
    assert {name.rpartition(".")[2] for name in cycle("matrix/harness")} == {"world", "session", "ports"}


@in_every_file("matrix")
def test_no_module_is_longer_than_people_read_at_once(path):
    return path.read_text(encoding="utf-8").splitlines()[500:]


@in_every_file("matrix/generated")
def test_generated_programs_import_the_harness_and_hypothesis(path):
    allowed = [*STANDARD, *GROUND, "matrix.harness", "matrix.generated"]
    if path.name in ("strategies.py", "search.py"):
        allowed.append("hypothesis")
    return [name for name in imports(path) if not within(name, *allowed)]


@in_every_file("matrix/reproduce", "matrix/report")
def test_no_table_of_drivers_stands_beside_theirs(path):
    """What is of a driver stands in its adapter or in drivers.toml: no code here has its name as a text of its own."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    texts = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    return sorted(texts & {*DRIVERS} - OF_TORTOISE)


@in_every_file("matrix/generated")
def test_no_generated_program_names_a_driver(path):
    source = path.read_text(encoding="utf-8")
    return re.findall(r"\b(?:" + "|".join(map(re.escape, DRIVERS)) + r")\b", source)


@in_every_file("matrix/harness")
def test_the_harness_knows_of_no_plan_and_no_report(path):
    return [
        name
        for name in imports(path)
        if within(name, "matrix") and not within(name, *GROUND, "matrix.servers", "matrix.harness", "matrix.candidates")
    ]


@in_every_file("matrix/cell")
def test_a_cell_knows_of_no_plan_and_no_report(path):
    ours = [name for name in imports(path) if within(name, "matrix", "tests")]
    rooms = ("matrix.harness", "matrix.generated", "matrix.results", "matrix.servers", "matrix.cell")
    return [name for name in ours if not within(name, *GROUND, *rooms)]


@in_every_file("matrix/candidates")
def test_a_candidate_knows_of_tortoise_and_its_drivers_only(path):
    allowed = (*STANDARD, "matrix.candidates", "tortoise", *DRIVERS)
    return [name for name in imports(path) if not within(name, *allowed)]


@in_every_file("matrix/check")
def test_a_check_imports_what_a_cell_installs_only(path):
    allowed = (*STANDARD, *GROUND, "matrix.harness", "matrix.check", "tortoise")
    return [name for name in imports(path) if not within(name, *allowed)]


@in_every_file("matrix/runs")
def test_runs_know_of_the_harness_what_is_data(path):
    ours = [name for name in imports(path) if within(name, "matrix", "tests")]
    data = [f"matrix.harness.{name}" for name in ("cell_name", "drivers", "known_schedules", "scenario", "cell.commit")]
    rooms = ("matrix.results", "matrix.servers", "matrix.runs", "matrix.report.terminal", "matrix.report.view")
    rooms = (*rooms, "matrix.candidates")
    data += ["matrix.harness.vocabulary", "matrix.check.arguments", "matrix.check.told"]
    return [name for name in ours if not within(name, *GROUND, *rooms, *data)]


@in_every_file("matrix/report")
def test_the_report_knows_of_results_and_tables_of_drivers_only(path):
    ours = [name for name in imports(path) if within(name, "matrix", "tests")]
    rooms = ("matrix.results", "matrix.report", "matrix.harness.drivers", "matrix.harness.cell_name")
    return [name for name in ours if not within(name, *GROUND, *rooms)]


@in_every_file("matrix/reproduce")
def test_reproducers_know_of_results_servers_and_environments_only(path):
    ours = [name for name in imports(path) if within(name, "matrix", "tests")]
    rooms = ("matrix.results", "matrix.servers", "matrix.reproduce", "matrix.runs.environments", "matrix.runs.registry")
    rooms = (*rooms, "matrix.runs.sources", "matrix.harness.scenario.one", "matrix.harness.drivers")
    rooms = (*rooms, "matrix.harness.cell_name")
    return [name for name in ours if not within(name, *GROUND, *rooms)]


@in_every_file("matrix/results")
def test_results_know_of_nothing_else(path):
    ours = [name for name in imports(path) if within(name, "matrix", "tests")]
    return [name for name in ours if not within(name, *GROUND, "matrix.results")]


@in_every_file("matrix")
def test_nothing_in_matrix_imports_from_tests(path):
    return [name for name in imports(path) if within(name, "tests")]


@in_every_file("matrix/servers")
def test_servers_need_the_standard_library_only(path):
    return [name for name in imports(path) if not within(name, *STANDARD, *GROUND, "matrix.servers")]


@pytest.mark.parametrize("name", GROUND)
def test_the_ground_floor_needs_the_standard_library_only(name):
    path = ROOT.joinpath(*name.split(".")).with_suffix(".py")
    assert [each for each in imports(path) if not within(each, *STANDARD, *GROUND)] == []


@in_every_file("conftest.py")
def test_the_wiring_imports_the_cell_the_harness_and_pytest_only(path):
    allowed = (*STANDARD, *GROUND, "pytest", "matrix.cell", "matrix.harness")
    return [name for name in imports(path) if not within(name, *allowed)]


@in_every_file("tests/compliance")
def test_no_scenario_names_a_driver(path):
    source = path.read_text(encoding="utf-8")
    return re.findall(r"\b(?:" + "|".join(map(re.escape, DRIVERS)) + r")\b", source)


@in_every_file("tests/compliance")
def test_no_scenario_sleeps(path):
    calls = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
    sleeps = [each for each in calls if getattr(each.func, "attr", getattr(each.func, "id", "")) == "sleep"]
    return [ast.unparse(each) for each in sleeps if [ast.unparse(argument) for argument in each.args] != ["0"]]


@in_every_file("tests/compliance")
def test_no_scenario_looks_at_the_clock(path):
    return [name for name in imports(path) if within(name, "time", "datetime")]


HARMLESS = {"append", "len", "signal.Signals", "signal.signal"}  # what can be called whatever it came in between


def handlers(tree: ast.AST) -> Iterator[ast.AST]:
    """Functions of this file that it gives to signal.signal."""
    calls = [
        node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) == "signal.signal"
    ]
    given = [call.args[1] for call in calls]
    yield from (each for each in given if isinstance(each, ast.Lambda))
    names = {each.id for each in given if isinstance(each, ast.Name)}
    yield from (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name in names)


@in_every_file("matrix", "conftest.py")
def test_no_handler_of_a_signal_may_wait_for_a_lock(path):
    """It comes between any two instructions of the main thread, which may hold the lock just then: that of an Event
    that it waits for, or of a stream that it prints to."""
    calls = [
        n for each in handlers(ast.parse(path.read_text("utf-8"))) for n in ast.walk(each) if isinstance(n, ast.Call)
    ]
    names = [ast.unparse(call.func) for call in calls]
    return [name for name in names if name not in HARMLESS and name.rpartition(".")[2] not in HARMLESS]


def test_the_linter_sees_what_a_handler_calls():
    text = "def f(number, frame):\n    told.set()\nsignal.signal(2, f)\nsignal.signal(1, lambda *_: print())\n"
    assert [ast.unparse(each).splitlines()[-1].strip() for each in handlers(ast.parse(text))] == [
        "lambda *_: print()",
        "told.set()",
    ]


def test_the_linter_sees_relative_and_hidden_imports(tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    source = tmp_path / "matrix" / "harness" / "adapters" / "new.py"
    source.parent.mkdir(parents=True)
    source.write_text(
        "def f():\n    from ..world import World\n    import matrix.runs.plan, os.path\n    from . import base\n"
    )
    assert list(imports(source)) == [
        "matrix.harness.world.World",
        "matrix.runs.plan",
        "os.path",
        "matrix.harness.adapters.base",
    ]

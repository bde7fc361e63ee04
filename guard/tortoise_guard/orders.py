"""The pytest marker ``tortoise_orders``: an ``async def`` test runs under orders that the compliance matrix owns.

    pytest_plugins = ["tortoise_guard.orders"]

    @pytest.mark.tortoise_orders("postgres-asyncpg", "mysql-aiomysql", setup="fill", cancel=True)
    async def test_checkout(): ...

Each cell that is named is a test of its own: ``python -m matrix check`` in the matrix's tree runs the function, and
what it says is the failure. The function takes no fixtures, and Tortoise is initialised there, not here.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from _pytest.mark.structures import get_unpacked_marks

from .switched_on import in_one_list

NAME = "tortoise_orders"
USE = (
    f"{NAME}(*cells, models='app.models', setup='fill', invariant='SELECT …', orders=30, cancel=True, allow='NAME', "
    "here=True): run this coroutine function under owned orders in these cells of the matrix, such as "
    "'postgres-asyncpg'; each option may be left out, and means what it means to python -m matrix check"
)
USES = {
    "setup": 'a coroutine function of a module, or its name: setup="fill"',
    "models": 'modules, or their names: models="app.models"',
}
OPTIONS = ("models", "setup", "invariant", "orders", "cancel", "allow", "here")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addini(f"{NAME}_matrix", "the folder of the matrix (or the variable TORTOISE_MATRIX)", default="")
    parser.addini(f"{NAME}_python", "the Python that runs it there (default: the one of the tests)", default="")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", USE)
    in_one_list(config)


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makeitem(collector: Any, name: str, obj: object) -> list[pytest.Item] | None:
    marks = list(get_unpacked_marks(obj)) if collector.funcnamefilter(name) else []
    mark = next((each for each in marks if each.name == NAME), None)
    if mark is None:
        return None
    items: list[pytest.Item] = []
    for cell in mark.args or ("",):
        item = OrdersItem.from_parent(collector, name=f"{name}[{cell}]", cell=cell, function=obj, options=mark.kwargs)
        item.own_markers.extend(marks)
        item.keywords.update({each.name: each for each in marks})
        items.append(item)
    return items


class OrdersFailed(Exception):
    """What the check said."""


class OrdersItem(pytest.Item):
    """A coroutine function in one cell."""

    def __init__(self, *, cell: str, function: Any, options: dict[str, Any], **more: Any) -> None:
        super().__init__(**more)
        self.cell = cell
        self.function = function
        self.options = options

    def runtest(self) -> None:
        if wrong := self._wrong():
            raise OrdersFailed(wrong)
        python = self.config.getini(f"{NAME}_python") or sys.executable
        command = [str(python), "-m", "matrix", "check", self.cell, *self._arguments()]
        # What the tests can import, the function can: the root folder, and what pytest was told to put in the path.
        paths = [str(self.config.rootpath / each) for each in ("", *self.config.getini("pythonpath"))]
        old = os.environ.get("PYTHONPATH")
        variables = {**os.environ, "PYTHONPATH": os.pathsep.join([*paths, *([old] if old else [])])}
        variables["MATRIX_CHECK_FROM"] = str(Path.cwd())  # the command that it prints shall run from there
        done = subprocess.run(command, cwd=self._tree(), env=variables, capture_output=True, text=True, check=False)
        if done.returncode:
            by = f"\n(asked of {python}; {NAME}_python in pytest's settings names another one)"
            raise OrdersFailed(done.stdout.strip() or done.stderr.strip() + by)
        self.add_report_section("call", "tortoise orders", done.stdout.strip())

    def _wrong(self) -> str:
        """What is wrong with how the marker is used; empty when nothing is."""
        unknown = sorted(set(self.options) - set(OPTIONS))
        if not self.cell:
            return f'{NAME} names no cell\nGive one, such as @pytest.mark.{NAME}("postgres-asyncpg").'
        if unknown:
            return f"{NAME} has no {', '.join(unknown)}\nThere are {', '.join(OPTIONS)}."
        if not isinstance(self.parent, pytest.Module):
            return f"{self.name} is no function of a module\n{NAME} runs these only."
        for name in ("setup", "models"):
            for each in _several(self.options.get(name, ())):
                if _named(each) is None:
                    return f"{NAME}: {name}={each!r} has no name of its own\nGive {USES[name]}."
        if self._tree() is None:
            said = self._said()
            where = f": {said[0]} names {self.config.rootpath / said[1]}, which is not its folder" if said else ""
            return (
                f"the matrix is not found{where}\nSay in which folder it is: {NAME}_matrix in pytest's settings, or "
                "the variable TORTOISE_MATRIX."
            )
        return ""

    def _said(self) -> tuple[str, str] | None:
        """Where it is said in which folder the matrix is, and what; None where it is not said."""
        setting, variable = self.config.getini(f"{NAME}_matrix"), os.environ.get("TORTOISE_MATRIX")
        return (f"{NAME}_matrix", setting) if setting else ("TORTOISE_MATRIX", variable) if variable else None

    def _tree(self) -> Path | None:
        """The folder of the matrix; None where there is none."""
        if said := self._said():
            folder = self.config.rootpath / said[1]
            return folder if (folder / "matrix" / "check").is_dir() else None
        found = importlib.util.find_spec("matrix")
        folders = [Path(each) for each in (found.submodule_search_locations or [])] if found else []
        return next((folder.parent for folder in folders if (folder / "check").is_dir()), None)

    def _arguments(self) -> list[str]:
        folder, module = _module(self.path)
        made = [f"{module}:{self.function.__name__}", "--folder", str(folder)]
        if setup := _named(self.options.get("setup") or ""):
            own = setup.removeprefix(f"{self.function.__module__}:")  # the module may have another name there
            made += ["--setup", own if ":" in own else f"{module}:{own}"]
        for name in ("invariant", "orders"):
            if name in self.options:
                made += [f"--{name}", str(self.options[name])]
        for name in ("models", "allow"):
            for each in _several(self.options.get(name, ())):
                made += [f"--{name}", _named(each) or ""]
        if cancel := self.options.get("cancel"):
            made.append("--cancel" if cancel is True else f"--cancel={cancel}")
        return [*made, *["--here"] * bool(self.options.get("here"))]

    def repr_failure(self, excinfo: Any, style: Any = None) -> Any:
        if isinstance(excinfo.value, OrdersFailed):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        code = getattr(self.function, "__code__", None)
        return self.path, code.co_firstlineno - 1 if code else None, self.name


def _module(file: Path) -> tuple[Path, str]:
    """The folder from which a test file is imported, and its name there, with the packages that it is in."""
    parts, folder = [file.stem], file.parent
    while (folder / "__init__.py").exists():
        parts, folder = [folder.name, *parts], folder.parent
    return folder, ".".join(parts)


def _several(value: Any) -> Sequence[Any]:
    return list(value) if isinstance(value, (list, tuple, set)) else [value] if value else []


def _named(value: Any) -> str | None:
    """A name as it is; of a function or a module, what the command calls it; None where that is not to be had."""
    if isinstance(value, str):
        return value
    if isinstance(value, ModuleType):
        return value.__name__
    name = getattr(value, "__qualname__", "<")
    return None if "<" in name else f"{value.__module__}:{name}"

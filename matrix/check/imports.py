"""What the user names: modules, functions and packages, and what to write instead where it is not there."""

from __future__ import annotations

import difflib
import importlib
import importlib.metadata
import inspect
import operator
import re
import shlex
import sys
from collections.abc import Callable, Coroutine, Iterable
from pathlib import Path
from typing import Any

from matrix.harness.drivers import Driver, distribution

from .places import UserError, raised_at

MODULES = {"tortoise-orm": "tortoise", "mysql-connector-python": "mysql.connector"}  # where the name is another
READS = re.compile(r"[\s(]*(SELECT|WITH|VALUES|TABLE|SHOW)\b", re.IGNORECASE)
CHANGES = re.compile(r";\s*\S|\(\s*(INSERT|UPDATE|DELETE|MERGE)\b", re.IGNORECASE)
QUOTED = re.compile(r"'(?:[^']|'')*'")


def function(target: str) -> Callable[[], Coroutine[Any, Any, Any]]:
    """``MODULE:FUNCTION``, imported: a coroutine function that needs no argument. Raises UserError."""
    found: Any = imported(target)
    if not inspect.iscoroutinefunction(found):
        raise UserError(f"{target} is no coroutine function\nGive the name of an `async def` without arguments.")
    needed = [each for each in inspect.signature(found).parameters.values() if each.default is each.empty]
    if taken := [each.name for each in needed if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)]:
        raise UserError(
            f"{target} takes {', '.join(taken)}\nGive a function that needs no argument: nothing is passed to it "
            "(fixtures are not known here, and a method has no object)."
        )
    return found


def imported(target: str) -> Any:
    """What ``MODULE:NAME`` names; a name may have dots. Raises UserError."""
    named, colon, name = target.partition(":")
    if not named or not name:
        owner, _, last = target.rpartition("." if not colon else ":")
        such = f"{owner}:{last}" if owner and last else "shop:checkout"
        raise UserError(f"{target} names no function of a module\nGive MODULE:FUNCTION, such as {such}.")
    found = module(named, target)
    try:
        return operator.attrgetter(name)(found)
    except AttributeError:
        near = _near(name, (each for each in vars(found) if not each.startswith("_")))
        where = f"{named} ({Path(found.__file__).name})" if getattr(found, "__file__", None) else named
        raise UserError(
            f"{target} cannot be imported: {where} has no {name}\n"
            + (f"Did you mean {named}:{near}?" if near else "Give MODULE:FUNCTION.")
        ) from None


def module(name: str, asked: str) -> Any:
    """The module; ``asked``: what the user wrote. Raises UserError."""
    try:
        return importlib.import_module(name)
    except Exception as error:
        at = raised_at(error.__traceback__)
        what = f"{type(error).__name__}: {error}" + (f" ({at})" if at else "")
        raise UserError(f"{asked} cannot be imported: {what}\n{_instead(name, error)}") from error


def _instead(name: str, error: Exception) -> str:
    missing = getattr(error, "name", None) if isinstance(error, ModuleNotFoundError) else None
    if missing is None:
        return "The error is raised while the module is imported."
    if name != missing and not name.startswith(f"{missing}."):
        return install(missing)
    folder = Path(sys.path[0])
    files = [each.relative_to(folder) for depth in ("", "*/", "*/*/") for each in folder.glob(f"{depth}*.py")]
    near = _near(name.removesuffix(".py").replace("/", "."), (".".join(each.with_suffix("").parts) for each in files))
    return f"{f'Did you mean {near}? ' if near else ''}Say with --folder where it is, if not in {folder}."


def install(missing: str) -> str:
    """What to do where a module is not there."""
    return f"Install what has {missing} in the environment of the cell, or use --here: with this Python."


def _near(name: str, names: Iterable[str]) -> str:
    return next(iter(difflib.get_close_matches(name, sorted(set(names)), 1)), "")


def lacking(driver: Driver) -> list[str]:
    """What a cell of this driver needs and what is not installed here, as it is given to pip."""
    return [text for text in ("tortoise-orm", *driver.requirements) if not _is_there(distribution(text))]


def _is_there(package: str) -> bool:
    try:
        importlib.metadata.distribution(package)
    except importlib.metadata.PackageNotFoundError:
        try:
            importlib.import_module(MODULES.get(package, package.replace("-", "_")))
        except ImportError:
            return False
    return True


def all_there(driver: Driver) -> None:
    """Raises UserError where something is lacking here."""
    if packages := lacking(driver):
        raise UserError(
            f"{driver.name} needs packages that this Python does not have: {', '.join(packages)}\n"
            f"Install them: {shlex.join([sys.executable, '-m', 'pip', 'install', *packages])}"
        )


def reads_only(invariant: str) -> None:
    """Raises UserError for what is no single query, or would change what it asks for."""
    if not READS.match(invariant):
        raise UserError(
            f"--invariant {invariant}: it does not ask for anything\nGive a query whose first value is true when "
            "all is well, such as SELECT count(*) = 2 FROM item."
        )
    if CHANGES.search(QUOTED.sub("''", invariant)):
        raise UserError(f"--invariant {invariant}: it does more than ask\nGive one query that changes nothing.")

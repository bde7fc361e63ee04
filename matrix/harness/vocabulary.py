"""What the programs of scenarios may say, as data for who writes one."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator

from .driver_port import DriverPort
from .ports import OrmPort
from .remedy import Remedy
from .scenario import catalogue
from .session import Session
from .world import World

# What a program speaks to, as it writes it.
SPOKEN_TO = {
    "world": World,
    "session": Session,
    "session.orm()": OrmPort,
    "session.on(connection)": DriverPort,
    "remedy": Remedy,
}


def vocabulary() -> Iterator[tuple[str, str, dict[str, str]]]:
    """Each thing that programs speak to, what it is, and the calls of it that scenarios make, with what each does."""
    called = set(re.findall(r"\b\w+(?=\()", "".join(each.source for each in catalogue().values())))
    for name, kind in SPOKEN_TO.items():
        calls = {}
        for method, function in inspect.getmembers(kind, inspect.isfunction):
            if method in called and function.__doc__:
                _, *arguments = inspect.signature(function).parameters.values()
                given = ", ".join(str(each).split(":")[0] for each in arguments)
                calls[f"{method}({given})"] = _first_sentence(function)
        yield name, _first_sentence(kind), calls


def _first_sentence(of: object) -> str:
    return " ".join((inspect.getdoc(of) or "").split()).split(". ")[0].rstrip(".")

"""What some programs and remedies say and no history shows: which connection a query names, what runs in a thread, what
is shielded. Kept by hand, by scenario; a wrong entry makes a script that does not show its symptom, and is not kept.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

PLAIN = "plain"  # the name of the plain client in a script


@dataclass(frozen=True)
class Said:
    """``using`` and ``blocks``: pairs of a pattern over ``session: operation`` and what is passed as ``using_db``, and
    of one over ``session: block`` and the connection named to ``in_transaction``; the first that matches counts.

    ``unreachable``: some tasks begin while the database cannot be reached; when they have ended it can be, and the
    rest begins. ``closes_first``: all connections are closed before the program. ``abandoned``: its only block is in a
    generator that is given up. ``lock``: children work under one lock. ``context``: children are started in an
    ``empty`` context, or in one copied ``before`` the program.
    ``known``: whether anything is kept here.
    """

    using: tuple[tuple[str, str], ...] = ()
    blocks: tuple[tuple[str, str], ...] = ()
    closes_first: bool = False
    abandoned: bool = False
    lock: bool = False
    unreachable: bool = False
    context: str = ""
    known: bool = True

    def client_of(self, session: str, operation: str) -> str:
        """What a query passes as ``using_db``, as an expression; empty when it passes nothing."""
        found = _first(self.using, f"{session}: {operation}")
        return f'connections.get("{found}")' if found.startswith("conn_") else found

    def connection_of(self, block: str) -> str:
        """The connection that ``in_transaction`` is given by name, or nothing."""
        return _first(self.blocks, block)

    @property
    def shared_clients(self) -> set[str]:
        """Clients of blocks that other tasks use too."""
        return {name for _, name in self.using if name.startswith("client_")}


def _first(rules: tuple[tuple[str, str], ...], text: str) -> str:
    return next((made for pattern, made in rules if re.search(pattern, text)), "")


CHILD = r"^(failing )?child|^worker|^stranger|^victim"
TWO_BLOCKS = ((CHILD, "conn_2"), ("", "conn_1"))
SAID = {
    "ORM-7": Said(using=((": write", "conn_1"), (": read", "conn_2")), blocks=(("", "conn_1"),), closes_first=True),
    "ORM-6": Said(unreachable=True),
    "NST-16": Said(using=(("^with using_db: ", "client_2"),)),
    "CTX-12": Said(abandoned=True),
    "CTX-13": Said(
        using=(("write w-2$", "conn_2"), ("", "conn_1")), blocks=(("transaction 2$", "conn_2"), ("", "conn_1"))
    ),
    "TXN-14": Said(using=(("write w-2$", PLAIN),)),
}
REMEDIES = {
    "FIX-1a": Said(blocks=TWO_BLOCKS),
    "FIX-1b": Said(blocks=TWO_BLOCKS, using=TWO_BLOCKS),
    "FIX-1c": Said(blocks=TWO_BLOCKS, using=TWO_BLOCKS),
    "FIX-3a": Said(context="before"),
    "FIX-3b": Said(context="empty"),
    "FIX-4": Said(lock=True),
}
NOTHING = Said(known=False)


def said_of(line: Mapping[str, Any]) -> Said:
    """What is known of the program of a line, or of a remedy's program (``cured`` names the scenario)."""
    if not line.get("cured"):
        return SAID.get(str(line["scenario"]), NOTHING)
    return REMEDIES.get(str(line["remedy_id"]), NOTHING)

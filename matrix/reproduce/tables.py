"""The tables of a script: which it needs (parts/create.py.txt makes them), and the lines that drop them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matrix.reproduce.naming import quoted
from matrix.reproduce.reconstruct import ON_COUNTERS, Task, within

KEYS = {
    "mysql": "id integer PRIMARY KEY AUTO_INCREMENT",
    "mariadb": "id integer PRIMARY KEY AUTO_INCREMENT",
    "postgres": "id serial PRIMARY KEY",
    "sqlite": "id integer PRIMARY KEY AUTOINCREMENT",
}


@dataclass(frozen=True)
class Tables:
    """``counters``: the names of those that the program reads or changes; ``counts_up``: some are added to;
    ``orphans``: it inserts rows that a deferred constraint forbids; ``scripts``: it makes a table; ``spare``: rows that
    are there before."""

    key: str
    counters: tuple[str, ...]
    counts_up: bool
    orphans: bool
    scripts: bool
    spare: tuple[str, ...]

    @classmethod
    def of(cls, tasks: Sequence[Task], server: str) -> Tables:
        """What the program of these tasks needs on a server of this kind."""
        items = [item for task in tasks for item in within(task.items)]
        kinds = {item.kind for item in items}
        counters = tuple(sorted({item.value for item in items if item.kind in ON_COUNTERS.values()}))
        derived = {item.query for item in items if item.kind == "derived"}
        looked_for = [item.names[0] for item in items if item.kind == "query" and item.query in derived]
        spare = tuple(dict.fromkeys([*(item.value for item in items if item.kind == "get"), *looked_for]))
        return cls(KEYS[server], counters, "put" in kinds, "orphan" in kinds, "script" in kinds, spare)

    def drop(self) -> list[str]:
        """The lines that drop them again."""
        tables = ["repro_orphan"] * self.orphans + ["repro_entry", "repro_seed"]
        tables += ["repro_counter"] * bool(self.counters)
        lines = [f"for table in ({', '.join(map(quoted, tables))}):", '    await sql(direct, f"DROP TABLE {table}")']
        return ['await sql(direct, "DROP TABLE IF EXISTS repro_script")'] * self.scripts + lines

"""The words of the project, and the only place that defines them: verdicts, remedies, levels, properties, proofs,
categories, families, servers, letters, the forms of ids, and the order of what is better and what is worse.

The ground floor: the standard library only, on every Python that a cell runs on; everything else may import it. The
words and their order are fixed (docs/architecture.md); nothing here looks at a result.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

SCHEMA = 1  # version of the result lines

# -- verdicts, from good to bad, and what is none --------------------------------------------------------------------

SAFE, REFUSES, BREAKS, HANGS, POISONS, LIES = VERDICTS = ("safe", "refuses", "breaks", "hangs", "poisons", "lies")
NOT_APPLICABLE, ERROR, NOT_RUN = NOT_VERDICTS = ("n/a", "error", "not run")
NOT_NEEDED, HOLDS, PARTLY, FAILS, WORSE = REMEDIES = ("not needed", "holds", "partly", "fails", "worse")
# What a driver does with queries of several tasks on one connection, from good to bad: may it be shared?
QUEUES, WRONG_DATA = "queues", "wrong data"
ANSWERS = {QUEUES: "yes", REFUSES: "no, and says so", BREAKS: "no, and harms others", WRONG_DATA: "no, silently"}
MUST, LOUD, INFO = LEVELS = ("must", "loud", "info")
CATEGORIES = ("driver", "orm", "server", "by design")
PROOFS = ("idle", "lock", "deadline")  # of a hang
RECORD, FULL = "record", "full"  # asked by the schedules on record, or by all orders within the bound

ROUTING, DURABILITY, ATOMICITY, CONTAINMENT = "routing", "durability", "atomicity", "containment"
LIVENESS, LOUDNESS, CANCELLATION, RECOVERY = "liveness", "loudness", "cancellation", "recovery"
TIMELINESS = "timeliness"
PROPERTIES = (ROUTING, DURABILITY, ATOMICITY, CONTAINMENT, LIVENESS, LOUDNESS, CANCELLATION, RECOVERY, TIMELINESS)

# -- names -----------------------------------------------------------------------------------------------------------

SERVER_NAMES = {
    "sqlite": "SQLite",
    "postgres": "PostgreSQL",
    "mysql": "MySQL",
    "mariadb": "MariaDB",
    "odbc": "ODBC",
    "mssql": "SQL Server",
    "oracle": "Oracle",
}
SERVERS = tuple(SERVER_NAMES)
LOOPS = ("asyncio", "eager", "uvloop")
POOLERS = ("pgbouncer",)
SETTINGS = {  # of a driver, as people recommend them for a pooler
    "unprepared": "no prepared statements: statement_cache_size=0 (asyncpg), prepare_threshold=None (psycopg)",
    "uniquenames": "statement_cache_size=0, and a unique name for each prepared statement (asyncpg)",
}
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"  # of the sessions in a schedule, in order of start


class Family(NamedTuple):
    """A family of scenarios: how its ids begin, its key (in lines, the module that declares it), what it is called."""

    prefix: str
    key: str
    name: str


FAMILIES = {  # by prefix, in the order of the published table
    prefix: Family(prefix, key, name)
    for prefix, key, name in (
        ("CON", "connection", "Overlap"),
        ("CAN", "cancellation", "Cancellation"),
        ("POOL", "pool", "Pool"),
        ("ORM", "client", "Client"),
        ("TXN", "transaction", "Transactions"),
        ("NST", "nested", "Nested"),
        ("CTX", "context", "Context"),
        ("FIX", "remedies", "Remedies"),
        ("GEN", "generated", "Generated"),
    )
}

SCENARIO_ID = re.compile(r"[A-Z]{2,8}-[0-9]{1,4}[a-z]?")
CELL_ID = re.compile(r"[a-z0-9][a-z0-9._+-]{0,99}")
# In a schedule: a session is cancelled while it waits for the n-th time, or as that wait ends.
CANCEL_POINT = re.compile(r"(?P<victim>[A-Za-z])@(?P<wait>[1-9][0-9]*)(?P<as_it_ends>\+?)")
DRIVER_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")


def family_of(scenario: str) -> Family:
    """The family of a scenario's id; a prefix that is not known is a family of its own."""
    prefix = scenario.partition("-")[0]
    return FAMILIES.get(prefix) or Family(prefix, prefix.lower(), prefix)


# -- order -----------------------------------------------------------------------------------------------------------


def badness(verdict: str) -> int:
    """0 for ``safe`` up to 5 for ``lies``. Raises ValueError for a word that is no verdict: it judges nothing, so it is
    neither better nor worse than a verdict. ``rank`` orders all words."""
    return VERDICTS.index(verdict)


def rank(word: str) -> int:
    """How much any word says against somebody: verdicts, remedies and answers from 0, ``n/a``, ``error`` and ``not
    run`` below them, and below all a word that this version does not know (a newer one may have written it)."""
    for order in (VERDICTS, REMEDIES, tuple(ANSWERS)):
        if word in order:
            return order.index(word)
    return -1 - NOT_VERDICTS.index(word) if word in NOT_VERDICTS else -9


def worst(words: Iterable[str]) -> str:
    """The worst of some words, by ``rank``; ``not run`` of none: nothing was seen, so nothing is known to be safe."""
    return max(words, key=lambda word: (rank(word), word), default=NOT_RUN)


def complies(level: str, verdict: str) -> bool | None:
    """Whether a verdict keeps what the level promises; None where nothing is judged."""
    if level == INFO or verdict not in VERDICTS:
        return None
    return verdict == SAFE or (level == LOUD and verdict == REFUSES)


def made_of(
    known: Mapping[tuple[str, tuple[str, ...]], Sequence[str]], verdict: str, properties: tuple[str, ...]
) -> list[str]:
    """The scenarios whose anomalies (verdict, properties) together are this one: several known ones in one program are
    nothing new. Empty: it is new."""
    parts = [
        (shown, scenarios)
        for shown, scenarios in known.items()
        if set(shown[1]) <= set(properties) and badness(shown[0]) <= badness(verdict)
    ]
    whole = {each for shown, _ in parts for each in shown[1]} == set(properties)
    if not whole or all(shown[0] != verdict for shown, _ in parts):
        return []
    return list(dict.fromkeys(scenario for _, scenarios in parts for scenario in scenarios))


# -- how they are shown ----------------------------------------------------------------------------------------------

# A word is never shown by its colour alone; each glyph is one column wide in a terminal.
GLYPHS = {
    SAFE: "✔",
    REFUSES: "⊘",
    BREAKS: "✖",
    HANGS: "∞",
    POISONS: "☠",
    LIES: "≠",
    NOT_APPLICABLE: "–",
    ERROR: "!",
    NOT_RUN: "·",
    NOT_NEEDED: "✓",
    HOLDS: "✔",
    PARTLY: "◐",
    FAILS: "✖",
    WORSE: "▼",
    QUEUES: "✔",
    WRONG_DATA: "≠",
}
VERDICT_MEANS = {
    SAFE: "Every operation completed, each task got its own answer, the database holds what was reported to the tasks.",
    REFUSES: "The offending operation, and only that, got an error of the driver's or the ORM's own documented "
    "exception types; nobody else was harmed; the connection or pool works afterwards.",
    BREAKS: "An error, with collateral damage: an internal error (a bare RuntimeError, AttributeError, an assertion, "
    "a protocol error), an innocent task failed, cancellation was swallowed, a time limit was not kept, or the "
    "connection is unusable afterwards. No wrong data.",
    HANGS: "No task can make progress any more, and this is proven, not merely timed out.",
    POISONS: "An error was shown, or a connection was handed on, and afterwards it or its pool silently gives wrong "
    "answers or keeps foreign state.",
    LIES: "What was reported to a task and what is true differ: another task's row, a reported commit that is lost, a "
    "reported rollback or failure that is stored, a write inside a transaction it does not belong to, two committed "
    "transactions that are as in no order of the two.",
    NOT_APPLICABLE: "Does not apply to this cell, with the reason.",
    ERROR: "The harness or the server failed; says nothing of the driver.",
    NOT_RUN: "Was not run.",
}
REMEDY_MEANS = {
    NOT_NEEDED: "Its scenarios are as well without it.",
    HOLDS: "All its scenarios comply over all schedules.",
    PARTLY: "It cures some of its scenarios; the page says which do not comply.",
    FAILS: "It cures none of its scenarios, and they need a cure.",
    WORSE: "With it a verdict is worse than without it.",
}
LEVEL_NAMES = {MUST: "promised", LOUD: "undefined use", INFO: "reported only"}
LEVEL_MEANS = {
    MUST: "Promised.",
    LOUD: "Undefined use: the promise is only that it fails with an error and harms nobody; safe and refuses comply.",
    INFO: "Reported, not judged.",
}

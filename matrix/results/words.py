"""The words of the project: verdicts, remedies, levels, their order and the sentence that explains each.

The words and their order are fixed by the design; nothing here looks at a result.
"""

from __future__ import annotations

from collections.abc import Iterable

SCHEMA = 1

VERDICTS = ("safe", "refuses", "breaks", "hangs", "poisons", "lies")
NOT_VERDICTS = ("n/a", "error", "not run")
REMEDIES = ("holds", "partly", "fails", "worse")
LEVELS = ("must", "loud", "info")
CATEGORIES = ("driver", "orm", "server", "by design")
SERVERS = ("sqlite", "postgres", "mysql", "mariadb", "odbc", "mssql", "oracle")

# A word is never shown by its colour alone; each glyph is one column wide in a terminal.
GLYPHS = {
    "safe": "✔",
    "refuses": "⊘",
    "breaks": "✖",
    "hangs": "∞",
    "poisons": "☠",
    "lies": "≠",
    "n/a": "–",
    "error": "!",
    "not run": "·",
    "holds": "✔",
    "partly": "◐",
    "fails": "✖",
    "worse": "▼",
}
VERDICT_MEANS = {
    "safe": "Every operation completed, each task got its own answer, the database holds what the tasks were told.",
    "refuses": "The offending operation, and only that, got an error of the driver's or the ORM's own documented "
    "exception types; nobody else was harmed; the connection or pool works afterwards.",
    "breaks": "Loud, but with collateral damage: an internal error (a bare RuntimeError, AttributeError, an assertion, "
    "a protocol error), an innocent task failed, cancellation was swallowed, or the connection is unusable afterwards. "
    "No wrong data.",
    "hangs": "No task can make progress any more, and this is proven, not merely timed out.",
    "poisons": "An error was shown, and afterwards the same connection or pool silently gives wrong answers or keeps "
    "foreign state.",
    "lies": "What a task was told and what is true differ: another task's row, a reported commit that is lost, a "
    "reported rollback or failure that is stored, a write inside a transaction it does not belong to.",
    "n/a": "Does not apply to this cell, with the reason.",
    "error": "The harness or the server failed; says nothing of the driver.",
    "not run": "Was not run.",
}
REMEDY_MEANS = {
    "holds": "All its scenarios comply over all schedules.",
    "partly": "It cures some of its scenarios; the page says which do not comply.",
    "fails": "It cures none: each of its scenarios that did not comply without it does not comply with it.",
    "worse": "A verdict got worse than without it.",
}
LEVEL_MEANS = {
    "must": "Promised.",
    "loud": "Undefined use: the promise is only that it fails loudly and harms nobody; safe and refuses comply.",
    "info": "Reported, not judged.",
}


def badness(verdict: str) -> int:
    """The rank of a verdict: 0 for ``safe``, higher is worse, -1 for a word that is no verdict."""
    return VERDICTS.index(verdict) if verdict in VERDICTS else -1


def worst(verdicts: Iterable[str]) -> str | None:
    """The worst verdict among the given words; words that are no verdicts do not count."""
    ranked = [verdict for verdict in verdicts if verdict in VERDICTS]
    return max(ranked, key=badness) if ranked else None


def complies(level: str, verdict: str) -> bool | None:
    """Whether the verdict keeps the promise of the level; None where nothing is judged."""
    if level == "info" or verdict not in VERDICTS:
        return None
    return verdict == "safe" or (level == "loud" and verdict == "refuses")

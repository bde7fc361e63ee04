"""What the answer to a query of the user's must look like, by the query alone: whose it is can be told no further.

A query as Tortoise writes it names its columns, and often a row by a number. An answer with other columns, or with a
row of another number, is somebody else's. What such a query does not say (a count, an answer without rows, SQL of the
user's own) is left to the question of the suite's that stands behind each query (hooks.py).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

COLUMN = r"""(?:[`"]\w+[`"]\.)?[`"](\w+)[`"](?:\s+(?:AS\s+)?[`"]([\w.]+)[`"])?"""
COLUMNS = re.compile(rf"SELECT\s+((?:{COLUMN}\s*,\s*)*{COLUMN})\s+FROM\s", re.IGNORECASE)
# One condition and nothing behind it but an order or a limit: there the value is the first of the query's.
BY_NUMBER = re.compile(
    r"""\sWHERE\s+(?:[`"]\w+[`"]\.)?[`"](\w+)[`"]\s*=\s*(\d+|\?|%s|\$1)\s*(?:(?:ORDER|LIMIT)\s.*)?;?$""", re.IGNORECASE
)


def foreign(query: str, values: Sequence[Any] | None, result: Any) -> str:
    """What shows that an answer is not this query's, in words; empty where nothing does."""
    rows = result[1] if isinstance(result, tuple) else result
    listed = COLUMNS.match(query)
    if listed is None or not isinstance(rows, list) or not rows or not hasattr(rows[0], "keys"):
        return ""
    asked = [alias or name for name, alias in re.findall(COLUMN, listed[1], re.IGNORECASE)]
    found = dict(rows[0])
    if set(found) != set(asked):
        return f"asked for the columns {', '.join(asked)} and was given {', '.join(map(str, found))}"
    number = BY_NUMBER.search(query)
    if number is None or number[1] not in asked:
        return ""
    wanted = int(number[2]) if number[2].isdigit() else next(iter(values or ()), None)
    given = [dict(row)[number[1]] for row in rows]
    if type(wanted) is int and any(type(value) is int and value != wanted for value in given):
        return f"asked for {number[1]} = {wanted} and was given {', '.join(map(str, given))}"
    return ""

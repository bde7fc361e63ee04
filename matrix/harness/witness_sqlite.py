"""The SQLite witness's process: reads statements as JSON lines, answers with rows or an error as JSON lines."""

from __future__ import annotations

import json
import sys
from typing import Any


def main(path: str) -> None:
    import apsw

    connection = apsw.Connection(path)
    connection.set_busy_timeout(5000)
    for line in sys.stdin:
        answer: dict[str, Any]
        try:
            answer = {"rows": list(connection.cursor().execute(json.loads(line)))}
        except apsw.Error as error:
            answer = {"error": str(error)}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])

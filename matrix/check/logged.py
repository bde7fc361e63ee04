"""What is logged while a function is checked: counted for the result, in place of tracebacks beside it."""

from __future__ import annotations

import contextlib
import logging
from collections import Counter
from collections.abc import Iterator

MOST = 20  # different messages that a result has


class Logged(logging.Handler):
    """Stands at the root: a library's record that nobody has a handler for ends here and is not printed."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.counted: Counter[tuple[str, str, str]] = Counter()

    def emit(self, record: logging.LogRecord) -> None:
        text = next(iter(record.getMessage().splitlines()), "")
        if record.exc_info and record.exc_info[0] is not None:
            text += f" ({record.exc_info[0].__name__}: {record.exc_info[1]})"
        self.counted[record.name, record.levelname.lower(), text] += 1

    def told(self) -> list[dict[str, str | int]]:
        """The most frequent ones: ``logger``, ``level``, ``text`` (the first line), ``times``."""
        return [
            {"logger": name, "level": level, "text": text, "times": times}
            for (name, level, text), times in self.counted.most_common(MOST)
        ]


@contextlib.contextmanager
def gathered() -> Iterator[Logged]:
    """What is logged inside."""
    logged = Logged()
    logging.getLogger().addHandler(logged)
    try:
        yield logged
    finally:
        logging.getLogger().removeHandler(logged)

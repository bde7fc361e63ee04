"""Making foreign text harmless to look at: control characters are spelled out, not sent."""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Callable
from typing import Any

# C0 without tab and newline, DEL and C1, lone surrogates, line separators, and the characters that turn the direction
# of text around or hide: what a terminal obeys, what is no character at all, what makes a line read as it is not.
HARMFUL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]")
HARMLESS = bytes([*b"\t\n", *range(0x20, 0x7F)])  # of ASCII


def clean(text: object) -> str:
    """The text with every harmful character spelled out as ``\\x1b`` or ``\\u202e``; CRLF becomes a newline."""
    plain = str(text)
    if plain.isprintable() or _is_harmless(plain):  # nothing harmful is printable, and most texts are
        return plain
    return HARMFUL.sub(_spelled, plain.replace("\r\n", "\n"))


def _is_harmless(text: str) -> bool:
    """Whether nothing but tabs and newlines is not printable: whole pages are asked about."""
    if text.isascii():
        return not text.encode().translate(None, HARMLESS)
    rest = text.encode("utf-8", "surrogatepass").translate(None, HARMLESS)
    return rest.decode("utf-8", "surrogatepass").isprintable()


def one_line(text: object) -> str:
    """The text on one line with single spaces, cleaned."""
    return clean(" ".join(str(text).split()))


def code(text: object) -> str:
    """Foreign text in Markdown, in a list or a table's cell: a code span that it cannot end, in which nothing is a
    mention, a link, a picture, HTML or the end of the cell. Empty for an empty text."""
    line = one_line(text).replace("|", r"\x7c")
    if not line:
        return ""
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", line)), default=0))
    space = " " * line.startswith("`"), " " * line.endswith("`")
    return f"{fence}{space[0]}{line}{space[1]}{fence}"


def _spelled(match: re.Match[str]) -> str:
    code = ord(match.group())
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"


def refuse(problem: object, code: int = 2) -> int:
    """Say on the standard error why a command does nothing, or not all of it, in the problem's lines; its exit code."""
    for line in str(problem).splitlines():
        print(clean(line), file=sys.stderr)
    return code


Handler = Callable[[Any], int]  # of a command: its arguments -> its exit code


def refusing(code: int, *kinds: type[Exception]) -> Callable[[Handler], Handler]:
    """For a command's handler: where it raises one of these, that is why it does nothing; its exit code is then
    ``code``. A LookupError is one that says so itself: a key or an index that lacks is a defect, and stays one."""

    def refusing_some(handler: Handler) -> Handler:
        @functools.wraps(handler)
        def handled(options: Any) -> int:
            try:
                return handler(options)
            except kinds as problem:
                if isinstance(problem, (KeyError, IndexError)):
                    raise
                return refuse(problem, code)

        return handled

    return refusing_some

"""History: what all blocks around an operation were told, and errors as they are kept."""

from __future__ import annotations

import asyncio
import builtins
import sys
import traceback

import pytest

from matrix.harness.history import (
    INTERNAL,
    OWN,
    History,
    _forget_columns,
    qualified,
    record_error,
    without_folders,
)
from matrix.harness.session import Deliberate

from .story import Story


def story_of(*outcomes: str) -> History:
    """Blocks inside each other, the outermost first."""
    story, around = Story(), None
    for outcome in outcomes:
        around = story.block("a", around, outcome)
    return story.history


@pytest.mark.parametrize(
    ("outcomes", "fate"),
    [
        ((), "committed"),
        (("committed",), "committed"),
        (("rolled back",), "dropped"),
        (("failed",), "dropped"),
        (("never begun",), "dropped"),
        (("open",), "unknown"),
        (("unknown",), "unknown"),
        (("committed", "rolled back"), "dropped"),
        (("never begun", "committed"), "dropped"),
        (("unknown", "committed"), "unknown"),
        (("rolled back", "unknown"), "dropped"),
        (("unknown", "rolled back"), "dropped"),
        (("unknown", "committed", "committed"), "unknown"),
    ],
)
def test_the_fate_of_a_block_is_that_of_all_around_it(outcomes, fate):
    assert story_of(*outcomes).fate(len(outcomes) or None) == fate


def test_the_blocks_around_a_block():
    history = story_of("committed", "committed", "committed")
    assert history.around(None) == []
    assert history.around(3) == [3, 2, 1]
    assert [history.root(number) for number in (None, 1, 2, 3)] == [None, 1, 1, 1]


@pytest.mark.parametrize(
    ("outcomes", "unknown"),
    [
        (("committed", "unknown"), 2),
        (("unknown", "committed"), 1),
        (("open", "unknown"), 1),
        (("committed", "committed"), None),
        (("rolled back", "unknown"), None),
    ],
)
def test_the_outermost_block_of_which_nobody_knows_the_end(outcomes, unknown):
    assert story_of(*outcomes).unknown_in(2) == unknown


# -- errors ----------------------------------------------------------------------------------------------------------


class Sealed(Exception):
    """Takes no further attributes, as some of those that are written in C."""

    refusal: type[Exception] = AttributeError

    def __setattr__(self, name: str, value: object) -> None:
        raise self.refusal(name)


class SealedInC(Sealed):
    refusal = TypeError


def raised(error: BaseException) -> BaseException:
    try:
        try:
            raise KeyError("the cause")
        except KeyError as cause:
            raise error from cause
    except BaseException as caught:
        return caught


def test_a_type_is_named_with_its_module_but_for_builtins():
    assert qualified(ValueError("x")) == "ValueError"
    assert qualified(asyncio.InvalidStateError()) == "asyncio.exceptions.InvalidStateError"
    assert qualified(Sealed()) == f"{__name__}.Sealed"


def test_an_error_is_kept_as_it_was_with_its_causes():
    error = raised(ValueError("x = 1"))
    record = record_error(error, INTERNAL)
    assert (record.type, record.message, record.classed) == ("ValueError", "x = 1", INTERNAL)
    assert record.traceback == without_folders("".join(traceback.format_exception(error)))
    assert "KeyError: 'the cause'" in record.traceback
    assert 'File "tests/unit/harness/test_history.py"' in record.traceback


def test_the_same_object_has_the_same_identity_and_no_other_has():
    error = raised(ValueError("x"))
    first, again, other = (record_error(each, INTERNAL).identity for each in (error, error, raised(ValueError("x"))))
    assert first == again != other


@pytest.mark.parametrize("kind", [Sealed, SealedInC])
def test_an_error_that_takes_no_mark_is_recorded_too(kind):
    error = raised(kind("x"))
    assert record_error(error, INTERNAL).message == "x"


def test_a_message_names_no_folder_of_this_machine():
    message = "<Task coro=<reader() running at /home/somebody/tests/compliance/pool.py:12>> of /home/somebody/work.py"
    assert record_error(ValueError(message), INTERNAL).message == (
        "<Task coro=<reader() running at tests/compliance/pool.py:12>> of /home/somebody/work.py"
    )


@pytest.mark.parametrize(("file", "shown"), [
    ("/home/somebody/matrix/matrix/harness/session.py", "matrix/harness/session.py"),
    ("/home/somebody/.tox/cell/lib/python3.11/site-packages/aiomysql/pool.py", "site-packages/aiomysql/pool.py"),
    ("/opt/python/lib/python3.11/asyncio/streams.py", "asyncio/streams.py"),
    ("/opt/python/lib/python3.11/contextlib.py", "lib/python3.11/contextlib.py"),
    ("asyncpg/protocol/protocol.pyx", "asyncpg/protocol/protocol.pyx"),
])  # fmt: skip
def test_a_file_is_named_without_the_folders_of_this_machine(file, shown):
    assert without_folders(f'  File "{file}", line 1, in read\n') == f'  File "{shown}", line 1, in read\n'


def test_a_short_error_is_one_line():
    record = record_error(ValueError("a\n   b " + "c" * 300), INTERNAL)
    assert record.fact == {"type": "ValueError", "message": "a b " + "c" * 196}
    assert record_error(ValueError(), INTERNAL).fact == {"type": "ValueError", "message": ""}


def test_an_error_that_a_session_raised_on_purpose_is_known_as_its_own():
    assert record_error(Deliberate("a"), OWN).raised_by == "a"
    assert record_error(ValueError("no"), OWN).raised_by == ""


def test_the_traceback_of_who_tried_again_and_again_is_read_off():
    error = ValueError("first")
    for number in range(3000):  # more than may call one another
        tried = ValueError(f"try {number}")
        tried.__context__, error = error, tried
    text = record_error(error, INTERNAL).traceback
    assert "ValueError: first" in text
    assert "ValueError: try 2999" in text


def test_a_traceback_has_no_marks_under_its_lines():
    def fail():
        return 1 + (1 / 0)

    try:
        fail()
    except ZeroDivisionError as error:
        text = record_error(error, INTERNAL).traceback
    assert "return 1 + (1 / 0)" in text
    assert "^" not in text


@pytest.mark.skipif(sys.version_info < (3, 11), reason="frames know no columns before Python 3.11")
def test_no_frame_of_a_traceback_keeps_its_columns():
    """Of causes of contexts, and of a group's errors, too."""

    def fail(*before: BaseException) -> Exception:
        try:
            if before:
                raise ValueError("later") from before[0]
            raise KeyError("first")
        except (ValueError, KeyError) as error:
            return error

    group = builtins.ExceptionGroup("of tasks", [fail(fail(fail()))])
    told = traceback.TracebackException.from_exception(fail(group), lookup_lines=False)
    _forget_columns(told)
    left, seen = [told], 0
    while left:
        each = left.pop()
        for frame in each.stack:
            assert (frame.colno, frame.end_colno) == (None, None)
            seen += 1
        left += [other for other in (each.__cause__, *(each.exceptions or ())) if other is not None]
    assert seen == 4

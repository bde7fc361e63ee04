"""A decorated function as a block: entered where its body begins, left where it ends, in the task that drives it."""

from __future__ import annotations

import asyncio
import contextvars
import functools

import pytest

from matrix.harness.blocks import DecoratedBlock

VARIABLE: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="outside")


def recording(log):
    """A decorator that waits, sets a context variable, and says how its function ended."""

    def decorator(function):
        @functools.wraps(function)
        async def decorated():
            await asyncio.sleep(0)
            token = VARIABLE.set("inside")
            log.append("begun")
            try:
                await function()
            except BaseException as error:
                await asyncio.sleep(0)
                log.append(f"failed: {type(error).__name__}")
                raise
            else:
                log.append("done")
            finally:
                VARIABLE.reset(token)

        return decorated

    return decorator


@pytest.mark.asyncio
async def test_the_body_runs_between_the_decorators_halves_in_the_same_context():
    log = []
    async with DecoratedBlock(recording(log)):
        assert log == ["begun"]
        assert VARIABLE.get() == "inside"
        await asyncio.sleep(0)
    assert log == ["begun", "done"]
    assert VARIABLE.get() == "outside"


@pytest.mark.asyncio
async def test_an_error_of_the_body_reaches_the_decorator_and_then_the_caller():
    log = []
    with pytest.raises(KeyError):
        async with DecoratedBlock(recording(log)):
            raise KeyError("mine")
    assert log == ["begun", "failed: KeyError"]


@pytest.mark.asyncio
async def test_an_error_of_the_decorators_own_end_replaces_it():
    def breaking(function):
        async def decorated():
            try:
                await function()
            finally:
                raise LookupError("at the end")

        return decorated

    with pytest.raises(LookupError, match="at the end"):
        async with DecoratedBlock(breaking):
            pass


@pytest.mark.asyncio
async def test_a_cancellation_while_the_decorator_waits_arrives_there():
    seen = []

    def waiting(function):
        async def decorated():
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                seen.append("cancelled")
                raise

        return decorated

    async def enter():
        async with DecoratedBlock(waiting):
            seen.append("never")

    task = asyncio.get_running_loop().create_task(enter())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert seen == ["cancelled"]

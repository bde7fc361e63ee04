"""Who waits for a task, and whether a cancellation of his would reach it."""

from __future__ import annotations

import asyncio
import functools

import pytest

from matrix.check.tasks import passes_on, waits_by


class Noted:
    def __call__(self, task):
        """Somebody's own callback, that is no function."""


@pytest.mark.parametrize("callback", [Noted(), set().discard, print, functools.partial(print, 1), lambda task: None])
def test_a_callback_of_the_users_passes_nothing_on(callback):
    assert not passes_on(callback, waits_by(callback))


def test_a_librarys_callback_is_supposed_to():
    """As those of the task groups of anyio: neither asyncio nor the user has written it."""
    assert passes_on(pytest.raises, waits_by(pytest.raises))


async def _waiters(wait):
    """The names of the callbacks with which ``wait`` waits for a task, and which of them pass on."""
    found = []

    class Task(asyncio.Task):
        def add_done_callback(self, fn, *, context=None):
            found.append((waits_by(fn), passes_on(fn, waits_by(fn))))
            super().add_done_callback(fn, context=context)

    await wait(Task(asyncio.sleep(0), loop=asyncio.get_running_loop()))
    return found


async def _plainly(task):
    await task


async def _in_turn(task):
    for each in asyncio.as_completed([task]):
        await each


@pytest.mark.parametrize(
    ("wait", "reached"),
    [
        (_plainly, True),
        (asyncio.gather, True),
        (lambda task: asyncio.wait_for(task, 30), True),
        (asyncio.shield, False),
        (lambda task: asyncio.wait([task]), False),
        (_in_turn, False),
    ],
    ids=["await", "gather", "wait_for", "shield", "wait", "as_completed"],
)
def test_what_asyncio_does_when_the_waiter_is_cancelled(wait, reached):
    """By what each callback is taken for, and by what becomes of the task."""

    async def begins(task):
        await wait(task)

    assert {passes for _, passes in asyncio.run(_waiters(begins))} == {reached}

    async def cancelled():
        task = asyncio.ensure_future(asyncio.sleep(3600))
        waiter = asyncio.ensure_future(begins(task))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        waiter.cancel()
        await asyncio.wait([waiter])
        try:
            return task.cancelled()
        finally:
            task.cancel()

    assert asyncio.run(cancelled()) == reached

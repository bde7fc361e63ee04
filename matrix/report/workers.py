"""Running many calls in several processes where that pays; a call's exception is raised here, as if it ran here."""

from __future__ import annotations

import errno
import gc
import multiprocessing
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from matrix.parent import end_with

WORTH_IT = 12  # calls; fewer are done before the processes are there
Call = tuple[Callable[..., Any], tuple[Any, ...]]
_calls: Sequence[Call] = ()  # what the children were forked with: nothing has to be pickled but a number


def each(workers: int | None, calls: Sequence[Call]) -> list[Any]:
    """What each call returns, in order. ``workers``: how many processes; None decides by the machine and the calls."""
    global _calls
    forks = "fork" in multiprocessing.get_all_start_methods()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    count = workers if workers is not None else cores if len(calls) >= WORTH_IT else 1
    if count < 2 or not forks:
        return [_alone(call, arguments) for call, arguments in calls]
    _calls = calls
    gc.freeze()  # what is there already is no garbage: the children neither look through it nor copy its pages
    try:
        context = multiprocessing.get_context("fork")
        with ProcessPoolExecutor(count, context, end_with, (os.getpid(),)) as pool:
            return list(pool.map(_call, range(len(calls))))
    except BrokenProcessPool as broken:
        raise OSError("one of the processes that build the report was ended from outside") from broken
    except OSError as problem:
        if problem.errno != errno.EMFILE:  # so few files may be open that there is none for the processes' pipes
            raise
    finally:
        _calls = ()
        gc.unfreeze()
    return [_alone(call, arguments) for call, arguments in calls]


def _call(number: int) -> Any:
    return _alone(*_calls[number])


def _alone(call: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    """One call without the garbage collector: what calls build is large, and next to nothing of it is in cycles."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        return call(*arguments)
    finally:
        if enabled:
            gc.enable()  # it runs when its turn has come, between calls at the earliest

"""Reproducers: one file per finding that a maintainer can run, unfolded from a recorded run, executed before it counts.

``reconstruct`` makes each task's code out of the history, ``symptom`` says what the script looks at, ``script`` joins
them with the runtime in ``parts/``, ``run`` executes, ``cli`` is the command.
"""

from __future__ import annotations


class NotWritten(Exception):
    """No script can be written for this line; the message says why."""

"""Runs of many cells: what to run, in which environments, where results are kept, what is asked of them later."""


class RunError(ValueError):
    """What is asked for cannot be run; the message is one line or two."""

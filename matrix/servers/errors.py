"""What can go wrong with a server, as one or two lines for the person who asked for it."""

from __future__ import annotations


class ServerError(Exception):
    """No such server can be had; the text (one or two lines) says what was wrong and what to do next."""


class BadSpec(ServerError):
    """There is no such server by that name, or not for what is asked."""


class NoSpaceError(ServerError):
    """The disk is full: another source would fail as well."""


class CommandFailed(ServerError):
    """An external program could not be run, failed, or took too long."""

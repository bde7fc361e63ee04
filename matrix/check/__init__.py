"""Runs a user's coroutine function under owned orders, on a cell's real driver and server."""

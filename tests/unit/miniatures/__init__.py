"""Miniature drivers: a database in memory, a wire, a driver and an ORM client, right, or wrong in one way each.

They test the testers: no server, no thread, no real driver. ``python -m tests.unit.miniatures`` prints which scenario
catches which fault.
"""

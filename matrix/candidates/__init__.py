"""Candidate fixes of Tortoise's transactions: our own code, put in the place of Tortoise's when their cells begin.

``one_lock``: who is not in the innermost block of a connection waits until it is. ``refuse``: it gets an error. A cell
names its candidate behind Tortoise's release: ``mysql-aiomysql-tortoise1.1.9+one_lock``.
"""

NAMES = ("one_lock", "refuse")
FOR = "1.1.9"  # the release whose classes they replace

"""Runs one cell: its processes, one run of the suite, replays of schedules."""

"""Runs of many cells: what to run, in which environments, where results are kept, what is asked of them later."""

"""What holds for all of the project's own tests."""

import gc

import pytest
from hypothesis import HealthCheck, settings

from matrix.harness.processes import cores

# How fast a machine draws examples, or runs one, decides no test.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


def pytest_collection_finish():
    """What is loaded by now stays: the collector need not walk over it after every run of a scenario (as in a cell)."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(optionalhook=True)  # without pytest-xdist they run as well, one after the other
def pytest_xdist_auto_num_workers():
    """Twice as many as there are cores: many a test waits for processes of its own."""
    return 2 * cores()

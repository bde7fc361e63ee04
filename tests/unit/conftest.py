"""What holds for all of the project's own tests."""

import pytest

from matrix.harness.processes import cores


@pytest.hookimpl(optionalhook=True)  # without pytest-xdist they run as well, one after the other
def pytest_xdist_auto_num_workers():
    """Twice as many as there are cores: many a test waits for processes of its own."""
    return 2 * cores()

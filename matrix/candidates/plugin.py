"""A pytest plugin that puts a candidate in place for suites of others: ``pytest -p matrix.candidates.plugin``, with the
candidate's name in ``MATRIX_CANDIDATE``."""

import os

from .wrappers import apply

apply(os.environ["MATRIX_CANDIDATE"])

"""Mutation testing of the parts that judge: ``tox -e mutation``. mutmut (configured in pyproject.toml) makes the
mutants, explained.toml says why those that no test can kill are no faults."""

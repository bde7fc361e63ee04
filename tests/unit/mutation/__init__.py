"""Mutation testing: ``tox -e mutation``. sets.toml says what is mutated and by which tests each mutant must be noticed:
the parts that judge, and those that keep things safe. mutmut makes the mutants, explained.toml says why those that no
test can kill are no faults."""

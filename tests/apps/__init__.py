"""Three small applications as people write them, each with two faults and their mended versions: a shop behind FastAPI
with a background task, a worker with a queue, a test suite with a transactional fixture. ``python -m tests.apps``
checks all of them on the cells and fills the table of README.md."""

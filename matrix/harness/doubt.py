"""What a lost connection leaves behind: doubt whether that was stored whose answer was lost on its way, and tasks that
never get over it. Pure functions of a recorded history.

Its task was told an error, and stored or not stored are both right, provided it is whole. This is for answers that the
program's own losses have taken (connections that it had ended): a driver that fails by itself behind an answer that
reached it has been told, and what it says of a row can be untrue.
"""

from __future__ import annotations

from .excuses import asked
from .history import ABORTED, DOCUMENTED, Block, History, Operation


def in_doubt(history: History, operation: Operation) -> bool:
    """Whether connections were ended between what an operation asked and the error that it was told."""
    return operation.failed and any(operation.started <= loss < operation.ended for loss, _ in history.losses)


def answer_lost(history: History, block: Block) -> bool:
    """Whether the connection was ended under a transaction's commit, so that nobody was told how it ended."""
    commit = asked(history, block.number, "commit")
    return commit is not None and in_doubt(history, commit)


def permanent(history: History, operation: Operation) -> int:
    """How often its task asked for something later and failed each time with a documented error, as when its context
    keeps a transaction whose connection is dead; 0 where anything succeeded, or where it asked less than twice more."""
    later = [
        other
        for other in history.operations
        if other.session == operation.session and other.started > operation.ended and other.kind != "rollback"
    ]
    failed = [other for other in later if other.failed and other.error and other.error.classed in (DOCUMENTED, ABORTED)]
    return len(later) if len(later) == len(failed) > 1 else 0

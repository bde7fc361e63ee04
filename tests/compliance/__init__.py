"""The suite: one file per family, one function per scenario."""

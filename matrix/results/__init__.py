"""Results: one JSON Lines file per cell, its schema, writing, reading, merging, and what was expected of it.

What a cell imports of this package (``words``, ``write``, ``expectations``) needs the standard library and
``packaging`` only. Pages and tables are made in ``matrix.report``.
"""

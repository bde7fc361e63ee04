"""``python -m matrix.bench``: see measure.py."""

import sys

from matrix.bench.measure import main

if __name__ == "__main__":
    sys.exit(main())

"""The program around the suite: axes (data), servers, results, report. ``python -m matrix --help`` teaches it."""

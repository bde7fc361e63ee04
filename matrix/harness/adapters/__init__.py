"""The adapters, a file per driver; those of further folders (drivers.py) are found as if they stood here."""

import os

from ..drivers import FURTHER

__path__ += [folder for folder in os.environ.get(FURTHER, "").split(os.pathsep) if folder]

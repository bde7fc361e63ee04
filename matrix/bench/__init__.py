"""How long things take on this machine (``tox -e bench``)."""

"""asyncmy. Its exception types are those of ``asyncmy.errors``, modelled on PyMySQL's."""

from __future__ import annotations

import asyncmy
import asyncmy.cursors
import asyncmy.errors

from .mysql_common import MySQLAdapter


class AsyncmyAdapter(MySQLAdapter):
    name = "asyncmy"
    module = asyncmy
    cursors = asyncmy.cursors
    documented = (asyncmy.errors.MySQLError,)


ADAPTER = AsyncmyAdapter()

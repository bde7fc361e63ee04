"""asyncmy. Its exception types are those of ``asyncmy.errors``, modelled on PyMySQL's."""

from __future__ import annotations

from typing import Any, ClassVar

import asyncmy
import asyncmy.cursors
import asyncmy.errors

from .mysql_common import MySQLAdapter


class AsyncmyAdapter(MySQLAdapter):
    name = "asyncmy"
    module = asyncmy
    cursors = asyncmy.cursors
    capabilities = MySQLAdapter.capabilities | {"query limit"}
    pool_settings: ClassVar[dict[str, dict[str, Any]]] = {
        **MySQLAdapter.pool_settings,
        "query limit": {"read_timeout": 1},
    }
    limit_settings: ClassVar[dict[str, str]] = {**MySQLAdapter.limit_settings, "asking": "read_timeout"}
    documented = (asyncmy.errors.MySQLError,)


ADAPTER = AsyncmyAdapter()

"""aiomysql. Its exception types are PyMySQL's (https://aiomysql.readthedocs.io/en/stable/connection.html)."""

from __future__ import annotations

import aiomysql
import aiomysql.cursors
import pymysql.err

from .mysql_common import MySQLAdapter


class AiomysqlAdapter(MySQLAdapter):
    name = "aiomysql"
    module = aiomysql
    cursors = aiomysql.cursors
    documented = (pymysql.err.MySQLError,)


ADAPTER = AiomysqlAdapter()

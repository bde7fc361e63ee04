"""Private, throw-away database servers and ODBC drivers for the test cells. Standard library only.

from matrix.servers import acquire

with acquire("mysql-9.7", progress=print) as server:
    connect(host=server.host, port=server.port, user=server.user, password=server.password)
"""

from __future__ import annotations

from matrix.servers.acquisition import acquire, begin
from matrix.servers.catalogue import Spec, parse_spec
from matrix.servers.errors import ServerError
from matrix.servers.odbc_drivers import OdbcDrivers, odbc
from matrix.servers.poolers import Pooler
from matrix.servers.poolers import start as start_pooler
from matrix.servers.server import Server

__all__ = [
    "OdbcDrivers",
    "Pooler",
    "Server",
    "ServerError",
    "Spec",
    "acquire",
    "begin",
    "odbc",
    "parse_spec",
    "start_pooler",
]

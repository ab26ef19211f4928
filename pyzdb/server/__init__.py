"""A server: queues, the REP sockets behind them, and the database that they ask."""

from pyzdb.server.app import serve
from pyzdb.server.options import Options

__all__ = ["Options", "serve"]

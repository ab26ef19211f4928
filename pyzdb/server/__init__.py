"""A server: queues, the REP sockets behind them, and the database that they ask."""

from pyzdb.server.service import Options, serve

__all__ = ["Options", "serve"]

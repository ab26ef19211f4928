"""A server: queues, the REP sockets behind them, and the database that they ask."""

from pyzdb.server.app import Options, serve

__all__ = ["Options", "serve"]

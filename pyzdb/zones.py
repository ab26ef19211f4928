"""The name that saved files have for zones, which version 0.1.0 reads: Python looks it up to pickle
them."""

from pyzdb.values.zones import Zone, ZoneName

__all__ = ["Zone", "ZoneName"]

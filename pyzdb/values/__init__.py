"""What can be stored."""

from pyzdb.values.tags import from_wire, register
from pyzdb.values.types import Custom, File, Lazy
from pyzdb.values.zones import Zone, ZoneName

__all__ = ["Custom", "File", "Lazy", "Zone", "ZoneName", "from_wire", "register"]

# So snapshots name them, whatever module they are in.
for _each in (Custom, File, from_wire):
    _each.__module__ = __name__
for _zone in (Zone, ZoneName):
    _zone.__module__ = "pyzdb.zones"  # as servers of 0.1.0 do, which refuse other names

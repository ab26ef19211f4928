"""What can be stored."""

from pyzdb.values.tags import from_wire, register
from pyzdb.values.types import Custom, File, Lazy
from pyzdb.values.zones import Zone, ZoneName

__all__ = ["Custom", "File", "Lazy", "Zone", "ZoneName", "from_wire", "register"]

for _each in (Custom, File, Zone, ZoneName, from_wire):
    _each.__module__ = __name__  # so snapshots name it, whatever module it is in

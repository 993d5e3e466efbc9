"""The one place where objects are built: settings in, a running installation out."""

from pve402.bootstrap.building import build
from pve402.bootstrap.components import CANNOT_START, Components
from pve402.bootstrap.ports import published_ports

__all__ = ["CANNOT_START", "Components", "build", "published_ports"]

"""The one place where objects are built: settings in, a running installation out."""

from pve402.bootstrap.components import CANNOT_START, Components, build

__all__ = ["CANNOT_START", "Components", "build"]

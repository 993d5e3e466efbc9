"""The one place where objects are built: settings in, a running installation out."""

from pve402.bootstrap.components import CANNOT_START, Components, build, load_catalogue

__all__ = ["CANNOT_START", "Components", "build", "load_catalogue"]

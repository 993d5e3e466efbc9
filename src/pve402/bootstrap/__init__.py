"""The one place where objects are built: settings in, a running installation out."""

from pve402.bootstrap.components import Components, build, load_catalogue

__all__ = ["Components", "build", "load_catalogue"]

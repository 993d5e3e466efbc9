"""Whether a lease's guest should run, and who decided that."""

from enum import Enum


class Wanted(Enum):
    """The wanted state of a lease's guest; the values are stored and must not change."""

    RUNNING = "running"
    STOPPED = "stopped"  # its time keeps running, and it keeps its cores, memory and disk


class WantedBy(Enum):
    """Who decided; the values are stored and must not change."""

    SERVICE = "service"  # as handed over, or as found when the table was rebuilt
    TENANT = "tenant"

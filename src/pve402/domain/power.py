"""Whether a lease's guest is to run, and who wants it so."""

from enum import Enum


class Wanted(Enum):
    """What the guest of a handed-over lease is to do; the words are stored and must not change."""

    RUNNING = "running"
    STOPPED = "stopped"  # its time goes on, and it keeps its cores, memory and disk


class WantedBy(Enum):
    """Who said so; the words are stored and must not change."""

    SERVICE = "service"  # as it was handed over, or found when the table was rebuilt
    TENANT = "tenant"

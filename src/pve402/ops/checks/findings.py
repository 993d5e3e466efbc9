"""What a check found: that all is well, something to know, or what is wrong and how to mend it."""

import dataclasses
import enum


class Verdict(enum.Enum):
    """How much a finding matters."""

    OK = "ok"  # as it should be
    NOTE = "note"  # works, and the operator should know
    FAIL = "fail"  # leases will fail, or the service will not start


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finding:
    """What one check found. `variable` and `mend` say where to change what."""

    verdict: Verdict
    what: str
    detail: str
    variable: str = ""
    mend: str = ""

    @property
    def text(self) -> str:
        """The finding as one line."""
        remedy = ": ".join(part for part in (self.variable, self.mend) if part)
        return f"{self.what}: {self.detail}" + (f". {remedy}" if remedy else "")


def good(what: str, detail: str) -> Finding:
    """Say that something is as it should be."""
    return Finding(verdict=Verdict.OK, what=what, detail=detail)


def note(what: str, detail: str, *, variable: str = "", mend: str = "") -> Finding:
    """Say something that the operator should know, and that breaks nothing."""
    return Finding(verdict=Verdict.NOTE, what=what, detail=detail, variable=variable, mend=mend)


def bad(what: str, detail: str, *, variable: str = "", mend: str = "") -> Finding:
    """Say what is wrong, which setting it is about, and what to do."""
    return Finding(verdict=Verdict.FAIL, what=what, detail=detail, variable=variable, mend=mend)


class Stop(Exception):
    """A check found something that makes the checks behind it useless."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.text)
        self.finding = finding

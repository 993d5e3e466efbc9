"""What a check found: all is well, something to know, a problem and its fix, or nothing sure."""

import dataclasses
import enum


class Verdict(enum.Enum):
    """How much a finding matters."""

    OK = "ok"  # as it should be
    NOTE = "note"  # works, but the operator should know
    FAIL = "fail"  # leases will fail, or the service will not start
    UNKNOWN = "unknown"  # was to be shown, and could not be


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finding:
    """What one check found. `variable` and `mend` say which setting to change, and how."""

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
    """Report that something is as it should be."""
    return Finding(verdict=Verdict.OK, what=what, detail=detail)


def note(what: str, detail: str, *, variable: str = "", mend: str = "") -> Finding:
    """Report something that the operator should know but that breaks nothing."""
    return Finding(verdict=Verdict.NOTE, what=what, detail=detail, variable=variable, mend=mend)


def bad(what: str, detail: str, *, variable: str = "", mend: str = "") -> Finding:
    """Report a problem, the setting behind it, and what to do."""
    return Finding(verdict=Verdict.FAIL, what=what, detail=detail, variable=variable, mend=mend)


def unknown(what: str, detail: str, *, mend: str = "") -> Finding:
    """Report that something could not be shown, and what to do."""
    return Finding(verdict=Verdict.UNKNOWN, what=what, detail=detail, mend=mend)


class Stop(Exception):
    """A check found something that makes the checks after it useless."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.text)
        self.finding = finding

"""What `cp` says on a terminal while it copies, and at the end."""

import io
import sys

import pytest

from pve402.cli import copy_work


class Terminal(io.StringIO):
    """A window that somebody watches."""

    def isatty(self) -> bool:
        """It is one."""
        return True


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (10, "2.0 MB/s, 40 s left"),
        (100, "0.2 MB/s, 6:40 left"),
        (1000, "20.0 KB/s, 1:06:40 left"),
    ],
)
def test_the_rate_and_the_time_left_are_shown(
    monkeypatch: pytest.MonkeyPatch, seconds: float, shown: str
):
    times = iter([0.0, *[float(seconds)] * 10])
    window = Terminal()
    monkeypatch.setattr(sys, "stderr", window)
    progress = copy_work.Progress(now=lambda: next(times))

    progress.told(20_000_000, 100_000_000)

    assert window.getvalue().startswith(f"\r20.0 MB of 100.0 MB, {shown}")


def test_what_is_left_is_not_said_of_an_unknown_size(monkeypatch: pytest.MonkeyPatch):
    window = Terminal()
    monkeypatch.setattr(sys, "stderr", window)

    copy_work.Progress().told(1_000_000, None)

    assert "1.0 MB, " in window.getvalue()
    assert "left" not in window.getvalue()


def test_a_program_is_told_the_same():
    times = iter([0.0, 4.0])
    progress = copy_work.Progress(now=lambda: next(times))

    assert progress.facts == {"bytes": 0, "seconds": 4.0, "via": "terminal"}

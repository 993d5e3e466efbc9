"""What a run came to is shown at its end, whichever process it was in."""

import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the figures of each run."""
    for outcome in ("passed", "failed"):
        for report in terminalreporter.getreports(outcome):
            for title, figures in report.user_properties:
                terminalreporter.write_line(f"\n{title}\n{figures}")

"""The signals that end the demo; a closed terminal sends SIGHUP."""

import signal
import sys
from typing import Final

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


def end_at_once() -> None:
    """End without a word while there is nothing to clean up, such as during imports."""
    for number in SIGNALS:
        signal.signal(number, lambda *_: sys.exit(130))

"""What every test may ask for; helpers with more to them live in tests/support."""

import gc
import os
import re
import shutil
import signal
import tempfile

import pytest
import structlog
from hypothesis import settings
from tests.support import compiled
from tests.support.recursion import pytest_runtest_setup  # noqa: F401

# A busy machine is no failure, and only a change of the code may turn a check red. What other
# examples find, `make chaos` looks for.
settings.register_profile("repeatable", deadline=None, derandomize=True)
settings.register_profile("exploring", deadline=None, max_examples=1000)
settings.load_profile("repeatable")

pytest_plugins = ["tests.support.postgres", "tests.support.migrated"]

gc.disable()  # nothing that is read before the first test is garbage

_FOLDERS = pytest.StashKey[str]()
#: What an operator's or a tenant's own shell may say, which would be taken for a test's settings.
_OF_THE_SHELL = re.compile(
    r"(PVE|PVE402(?!_SCREENSHOTS)|CDP)_.+|(RPC|FACILITATOR)_(URL.*|PRIVATE_KEY)|DATABASE_URL|NETWORK|PAY_TO|ADDRESS"
    r"|TRUST_FACILITATOR|COLUMNS|LINES|FORCE_COLOR|NO_COLOR"
)


def pytest_configure(config: pytest.Config) -> None:
    """Keep tests and whoever runs them apart: their files, and what their shell says."""
    for name in filter(_OF_THE_SHELL.fullmatch, list(os.environ)):
        del os.environ[name]
    folder = tempfile.mkdtemp(prefix="pve402-home-")
    config.stash[_FOLDERS] = folder
    compiled.keep_for_all_engines()
    _log_plainly()
    os.environ |= {f"XDG_{kind}_HOME": f"{folder}/{kind}" for kind in ("CONFIG", "STATE")}


def _log_plainly() -> None:
    """Spare the time that structlog's usual tracebacks take, up to a second each."""
    *others, console = structlog.get_config()["processors"]
    assert isinstance(console, structlog.dev.ConsoleRenderer)
    plain = structlog.dev.ConsoleRenderer(
        colors=False, exception_formatter=structlog.dev.plain_traceback
    )
    structlog.configure(processors=[*others, plain])


def pytest_collection_finish() -> None:
    """Spare the garbage collector what all tests need; a tenth of their time went into that."""
    gc.freeze()
    gc.enable()


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove it."""
    shutil.rmtree(config.stash[_FOLDERS], ignore_errors=True)


# What nohup or a shell's background starts ignores them, and so would all programs of the tests.
for _number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
    if signal.getsignal(_number) is signal.SIG_IGN:
        default = signal.default_int_handler if _number is signal.SIGINT else signal.SIG_DFL
        signal.signal(_number, default)

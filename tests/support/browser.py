"""Headless Chromium: the machine's own, driven by playwright, with a profile of its own."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, expect, sync_playwright

LIMIT_MS = 60_000
"""How long a page may take, which is long: a busy machine is no failure."""

ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@contextlib.contextmanager
def chromium(profile: Path, *, width: int = 1000, height: int = 640) -> Iterator[BrowserContext]:
    """Run a browser with an empty profile in a folder; windows of this size."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.fail("there is no chromium; `make setup` installs it")
    expect.set_options(timeout=LIMIT_MS)  # its own limit is five seconds
    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            str(profile),
            executable_path=program,
            headless=True,
            args=list(ARGUMENTS),
            viewport={"width": width, "height": height},
            permissions=["clipboard-read", "clipboard-write"],
        )
        context.set_default_timeout(LIMIT_MS)
        try:
            yield context
        finally:
            context.close()

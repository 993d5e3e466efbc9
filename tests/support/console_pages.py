"""The console pages in a browser: windows for tests, and what is read off them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page
from tests.support import browser
from tests.support.console_links import LeaseHolder

LIMIT_MS = 60_000

LIT = """() => {
  const canvas = document.querySelector('#screen canvas');
  if (!canvas || !canvas.width || !canvas.height) return 0;
  const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
  let lit = 0;
  for (let i = 0; i < data.length; i += 4) if (data[i] > 128) lit++;
  return lit;
}"""
"""How many points of a picture are bright; none before it has a size."""

MAY_RETRY = """async (reason) => {
  const style = document.querySelector("link[href$='app/console.css']").href;
  const { mayRetry } = await import(style.replace("console.css", "words.js"));
  return mayRetry(reason);
}"""
"""Whether the page offers to connect again."""

IN_WORDS = """async (seconds) => {
  const style = document.querySelector("link[href$='app/console.css']").href;
  const { inWords } = await import(style.replace("console.css", "durations.js"));
  return inWords(seconds * 1000);
}"""
"""How the page says a number of seconds."""


@pytest.fixture(scope="module")
def profile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the browser keeps what it keeps."""
    return tmp_path_factory.mktemp("browser")


@pytest.fixture(scope="module")
def chromium(profile: Path) -> Iterator[BrowserContext]:
    """A browser."""
    with browser.chromium(profile) as context:
        yield context


@pytest.fixture
def page(chromium: BrowserContext) -> Iterator[Page]:
    """A window in which nothing may go wrong by itself."""
    made = chromium.new_page()
    problems: list[str] = []
    made.on("pageerror", lambda error: problems.append(str(error)))
    made.on("console", lambda said: problems.append(said.text) if said.type == "error" else None)
    yield made
    made.close()
    assert not problems, problems


@pytest.fixture(scope="module")
def shots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where pictures of the pages are kept."""
    chosen = os.environ.get("PVE402_SCREENSHOTS")
    folder = Path(chosen) if chosen else tmp_path_factory.mktemp("screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def show(page: Page, holder: LeaseHolder) -> None:
    """Open a terminal and wait for its prompt."""
    page.goto(holder.link("terminal")["consoleUrl"])
    connected(page)


def connected(page: Page) -> None:
    """Wait until the console is open."""
    page.wait_for_selector("body[data-state=connected]", timeout=LIMIT_MS)


def until_shown(page: Page, text: str) -> str:
    """Wait for a text on the terminal's screen; returns all that is on it."""
    page.wait_for_function(
        "(text) => document.querySelector('.xterm-rows').textContent.includes(text)",
        arg=text,
        timeout=LIMIT_MS,
    )
    return page.inner_text(".xterm-rows")


def notice(page: Page) -> str:
    """Wait for what the page says when a console ends."""
    page.wait_for_selector("#notice:not([hidden])", timeout=LIMIT_MS)
    return page.inner_text("#notice-text")

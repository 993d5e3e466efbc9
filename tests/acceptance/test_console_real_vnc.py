"""noVNC in a real browser, through the bridge, on a VNC server that others wrote: TigerVNC."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page
from tests.support import console_rig, vnc_host
from tests.support.console_pages import LIMIT_MS, LIT, connected
from tests.support.console_rig import Rig

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def typed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file with what was typed into the picture."""
    return tmp_path_factory.mktemp("vnc") / "typed"


@pytest.fixture(scope="module")
def rig(typed: Path) -> Iterator[Rig]:
    """A service whose containers' pictures come from TigerVNC."""
    host = "tests.support.vnc_host"
    with console_rig.running(typed.parent, "--typed", str(typed), host=host) as made:
        yield made


def test_novnc_draws_and_types_on_a_real_vnc_server(page: Page, rig: Rig, typed: Path, shots: Path):
    page.goto(rig.link(kind="vnc")["consoleUrl"])
    connected(page)
    page.wait_for_function(
        "([width, height]) => { const c = document.querySelector('#screen canvas');"
        " return c && c.width === width && c.height === height; }",
        arg=[vnc_host.WIDTH, vnc_host.HEIGHT],
        timeout=LIMIT_MS,
    )
    page.wait_for_function(f"() => ({LIT})() > 1000", timeout=LIMIT_MS)
    before = page.evaluate(LIT)

    page.keyboard.type("Hello, VNC! 42\n")

    until(lambda: typed.read_text().endswith("Hello, VNC! 42\n"))
    page.wait_for_function(f"(before) => ({LIT})() !== before", arg=before, timeout=LIMIT_MS)
    page.screenshot(path=shots / "real-vnc.png")


def test_a_paste_is_typed_whole(page: Page, rig: Rig, typed: Path):
    text = "".join(f"{number:03} the quick brown fox (x) ~ # $\n" for number in range(20))
    page.goto(rig.link(kind="vnc")["consoleUrl"])
    connected(page)
    page.wait_for_function(f"() => ({LIT})() > 1000", timeout=LIMIT_MS)

    page.evaluate("(text) => navigator.clipboard.writeText(text)", text)
    page.click("#paste")

    until(lambda: typed.read_text().endswith(text))


def until(true: Callable[[], bool], limit_seconds: float = LIMIT_MS / 1000) -> None:
    """Wait for something that the other side writes down."""
    give_up_at = time.monotonic() + limit_seconds
    while not true():
        assert time.monotonic() < give_up_at
        time.sleep(0.05)

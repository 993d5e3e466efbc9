"""The page of a container's picture (noVNC) in a real browser, against the devnet's VNC."""

from pathlib import Path

import pytest
from playwright.sync_api import Page
from tests.support import console_links
from tests.support.console_pages import LIT, connected, notice
from tests.support.processes import ServeProcess

pytestmark = [pytest.mark.browser, pytest.mark.namespaces]

SHARE = """() => {
  const picture = document.querySelector("#screen img").getBoundingClientRect();
  const screen = document.querySelector("#screen");
  return [picture.width / screen.clientWidth, picture.height / screen.clientHeight];
}"""
"""How much of the screen's width and height the last picture takes."""

NOVNC_WAITS_MS = 3000
"""How long noVNC waits for the end of a connection before it complains."""


def test_the_picture_shows_what_is_typed(page: Page, service: ServeProcess, shots: Path):
    holder = console_links.lease_holder(service)
    page.goto(holder.link("vnc")["consoleUrl"])
    connected(page)
    page.wait_for_selector("#screen canvas")
    page.wait_for_function(f"() => ({LIT})() > 20")
    before = page.evaluate(LIT)

    page.keyboard.type("echo some text to see; ls /\n")

    page.wait_for_function(f"(before) => ({LIT})() > before + 500", arg=before)
    page.screenshot(path=shots / "vnc.png")


def test_the_picture_ends_with_the_lease(page: Page, service: ServeProcess, shots: Path):
    holder = console_links.lease_holder(service)
    page.goto(holder.link("vnc")["consoleUrl"])
    connected(page)
    page.wait_for_function(f"() => ({LIT})() > 20")

    holder.end()

    assert "lease was ended" in notice(page)
    assert page.is_disabled("#paste")
    page.screenshot(path=shots / "vnc-ended.png")


def test_the_last_picture_fits_as_the_live_one_did(page: Page, service: ServeProcess):
    holder = console_links.lease_holder(service)
    page.goto(holder.link("vnc")["consoleUrl"])
    connected(page)
    page.wait_for_function(f"() => ({LIT})() > 20")
    holder.end()
    notice(page)

    fitted = page.evaluate(SHARE)
    page.click("#scale")

    assert fitted == pytest.approx([1, 1], abs=0.05)
    assert page.evaluate(SHARE) != pytest.approx([1, 1], abs=0.05)


def test_who_looks_on_a_phone_is_told_of_the_terminal(
    page: Page, service: ServeProcess, shots: Path
):
    holder = console_links.lease_holder(service)
    page.goto(holder.link("vnc")["consoleUrl"])
    connected(page)
    page.wait_for_function(f"() => ({LIT})() > 20")

    shown = [page.is_visible(".hint.narrow")]
    page.set_viewport_size({"width": 360, "height": 740})
    shown.append(page.is_visible(".hint.narrow"))

    assert shown == [False, True]
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.screenshot(path=shots / "vnc-phone.png")


def test_a_fresh_link_in_the_same_window_opens_the_picture_again(page: Page, service: ServeProcess):
    holder = console_links.lease_holder(service)
    links = [holder.link("vnc") for _ in range(3)]
    for link in links:
        page.goto(link["consoleUrl"])
        page.wait_for_timeout(100)
        connected(page)
        page.wait_for_selector("#screen canvas")
        page.keyboard.press("Enter")  # who comes back sees what is written from now on
        page.wait_for_function(f"() => ({LIT})() > 20")

    page.wait_for_timeout(NOVNC_WAITS_MS + 500)

    assert page.is_hidden("#notice")


def test_a_picture_that_is_taken_says_so(page: Page, service: ServeProcess):
    holder = console_links.lease_holder(service)
    link = holder.link("vnc")
    with console_links.opened(holder.link("terminal")) as socket:
        console_links.ready(socket)
        page.goto(link["consoleUrl"])

        assert "in use" in notice(page)
    assert console_links.once_free(lambda: holder.ask("vnc")).ok
    page.click("#again")
    connected(page)


def test_the_keyboard_alone_gets_out_of_the_picture_and_back(page: Page, service: ServeProcess):
    holder = console_links.lease_holder(service)
    page.goto(holder.link("vnc")["consoleUrl"])
    connected(page)
    page.wait_for_function(f"() => ({LIT})() > 20")

    page.keyboard.press("Shift+F6")
    assert page.evaluate("document.activeElement.id") == "paste"
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.get_attribute("#scale", "aria-pressed") == "false"
    for _ in range(2):  # past Renew, into the picture
        page.keyboard.press("Tab")

    assert page.evaluate("document.activeElement.tagName") == "CANVAS"
    before = page.evaluate(LIT)
    page.keyboard.type("echo some text to see; ls /\n")
    page.wait_for_function(f"(before) => ({LIT})() > before + 500", arg=before)

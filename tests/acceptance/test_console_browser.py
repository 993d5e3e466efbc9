"""The console pages in a real browser, against a real server, terminal and VNC."""

import hashlib
import re
import time
from pathlib import Path

import pytest
import requests
from playwright.sync_api import BrowserContext, Page, WebSocketRoute
from tests.support import console_links, console_pages
from tests.support.browser_wallet import BrowserWallet
from tests.support.console_links import LeaseHolder
from tests.support.console_pages import connected, notice, show, until_shown
from tests.support.processes import ServeProcess

pytestmark = [pytest.mark.browser, pytest.mark.namespaces]

PASTE = "".join(
    f"{number:07} abcdefghijklmnopqrstuvwxyz ABCDEFGHIJKLMNOP 漢\n" for number in range(1900)
)


@pytest.fixture(scope="module")
def holder(service: ServeProcess) -> LeaseHolder:
    """A tenant whose container these tests share."""
    return console_links.lease_holder(service)


def test_a_command_is_typed_and_its_output_read(page: Page, holder: LeaseHolder, shots: Path):
    show(page, holder)

    page.keyboard.type("echo $((6*7))x\n")

    until_shown(page, "42x")
    assert page.title() == f"demo ({holder.lease['ctid']})"
    assert re.search(r"\d+ min left", page.inner_text("#time-left"))
    page.screenshot(path=shots / "terminal.png")


def test_the_shell_learns_the_size_of_the_window(page: Page, holder: LeaseHolder):
    show(page, holder)
    page.keyboard.type("clear; stty size; echo fi''rst\n")
    before = size_in(until_shown(page, "first"))

    page.set_viewport_size({"width": 640, "height": 420})
    was = f"{before[0]} {before[1]}"
    page.keyboard.type(f"while [ \"$(stty size)\" = '{was}' ]; do sleep 0.1; done\n")
    page.keyboard.type("clear; stty size; echo sec''ond\n")
    after = size_in(until_shown(page, "second"))

    assert after[0] < before[0]
    assert after[1] < before[1]


def test_colours_and_wide_characters(page: Page, holder: LeaseHolder, shots: Path):
    show(page, holder)

    page.keyboard.type(
        r"clear; printf '\033[31mred\033[0m \033[1;42mgreen\033[0m '; echo 漢字ü_done" + "\n"
    )

    until_shown(page, "漢字ü_done")
    red, green, blue = page.wait_for_function(COLOUR, arg="red").json_value()
    assert red > green + 50
    assert red > blue + 50
    assert page.evaluate(WIDTH, "漢字") == pytest.approx(
        4 * page.evaluate(WIDTH, "red") / 3, rel=0.02
    )
    page.screenshot(path=shots / "colours.png")


def test_a_huge_paste_arrives_whole(page: Page, holder: LeaseHolder):
    assert len(PASTE.encode()) > 100_000
    show(page, holder)
    page.keyboard.type(
        f"clear; stty -echo; echo rea''dy; head -c {len(PASTE.encode())} | sha256sum; stty echo\n"
    )
    until_shown(page, "ready")

    page.evaluate("(text) => navigator.clipboard.writeText(text)", PASTE)
    page.click("#paste")

    until_shown(page, hashlib.sha256(PASTE.encode()).hexdigest())


def test_selected_text_is_copied(page: Page, holder: LeaseHolder):
    show(page, holder)
    page.keyboard.type("clear; echo cop''ied-text\n")
    until_shown(page, "copied-text")

    box = page.locator(".xterm-rows > div", has_text="copied-text").last.bounding_box()
    assert box is not None
    page.mouse.dblclick(box["x"] + 20, box["y"] + 8)
    page.keyboard.press("Control+Shift+C")
    page.wait_for_function("() => navigator.clipboard.readText().then((t) => t.includes('copied'))")


def test_several_tabs_show_one_shell(page: Page, holder: LeaseHolder, chromium: BrowserContext):
    show(page, holder)

    with chromium.expect_page() as opened:
        page.click("#another")
    second = opened.value
    connected(second)
    second.keyboard.type("clear; echo from-sec''ond\n")

    until_shown(page, "from-second")
    second.close()


def test_a_used_link_says_so(page: Page, holder: LeaseHolder, shots: Path):
    link = holder.link("terminal")["consoleUrl"]
    page.goto(link)
    connected(page)

    page.goto("about:blank")
    page.goto(link)

    assert "already used" in notice(page)
    assert page.is_hidden("#again")
    page.screenshot(path=shots / "used-link.png")
    page.click("#notice-leases")
    page.wait_for_selector("#sign-in-button")
    assert page.url == f"{holder.service.url}/#leases"


def test_a_page_that_is_loaded_again_asks_for_a_new_link(page: Page, holder: LeaseHolder):
    show(page, holder)

    page.reload()

    assert "only once" in notice(page)


def test_the_end_of_the_lease_is_shown(page: Page, service: ServeProcess, shots: Path):
    ending = console_links.lease_holder(service)
    show(page, ending)

    ending.end()

    assert "lease was ended" in notice(page)
    assert page.is_hidden("#again")
    assert [page.is_disabled(f"#{name}") for name in ("paste", "another")] == [True, True]
    assert page.is_enabled("#copy")
    page.screenshot(path=shots / "ended.png")


def test_the_time_that_is_left_is_said_in_words(page: Page, holder: LeaseHolder):
    page.goto(f"{holder.service.url}/console/terminal")
    expected = {17: "17 s", 245: "4 min 5 s", 300: "5 min", 3700: "1 h 1 min", 180_000: "2 d 2 h"}

    said = {seconds: page.evaluate(console_pages.IN_WORDS, seconds) for seconds in expected}

    assert said == expected


def test_what_may_pass_can_be_tried_again(page: Page, holder: LeaseHolder):
    page.goto(f"{holder.service.url}/console/terminal")
    passing = ("session_lost", "terminal_unreachable", "overloaded", "too_many_consoles", "unknown")
    final = ("lease_ended", "console_ticket_refused", "no_shell", "token_revoked")

    said = {reason: page.evaluate(console_pages.MAY_RETRY, reason) for reason in (*passing, *final)}

    assert said == dict.fromkeys(passing, True) | dict.fromkeys(final, False)


def test_nothing_black_is_left_below_the_last_row(page: Page, holder: LeaseHolder):
    show(page, holder)

    grounds = page.evaluate(
        """() => [document.body, document.querySelector(".xterm-viewport")].map(
             (shown) => getComputedStyle(shown).backgroundColor)"""
    )

    assert len(set(grounds)) == 1


@pytest.mark.parametrize("minutes", ["0", "", "1.5", "-3"])
def test_minutes_that_cannot_be_added_are_said_to_be_wrong(
    page: Page, holder: LeaseHolder, shots: Path, minutes: str
):
    page.goto(f"{holder.service.url}/console/renew#{holder.lease['leaseId']}")
    page.wait_for_function("() => document.getElementById('price').textContent.includes(' on ')")

    page.fill("#minutes", minutes)

    page.wait_for_function("() => document.getElementById('price').textContent.includes('whole')")
    assert page.is_disabled("#pay")
    page.screenshot(path=shots / "renew-wrong.png")


def test_a_container_that_stops_is_shown_and_can_be_opened_again(page: Page, service: ServeProcess):
    stopping = console_links.lease_holder(service)
    show(page, stopping)

    act(stopping, "stop")
    assert "container is stopped" in notice(page)
    act(stopping, "start")

    page.click("#again")
    connected(page)


def test_a_dropped_connection_comes_back_to_the_same_shell(page: Page, holder: LeaseHolder):
    routes: list[WebSocketRoute] = []

    def keep(route: WebSocketRoute) -> None:
        routes.append(route)
        route.connect_to_server()

    page.route_web_socket(re.compile("/console/terminal/ws"), keep)
    show(page, holder)
    page.keyboard.type("clear; A=kept; echo se''t\n")
    until_shown(page, "set")

    routes[0].close(code=1012)
    page.wait_for_function("() => document.body.dataset.state !== 'connected'")
    connected(page)
    page.keyboard.type("clear; echo $A-again\n")

    until_shown(page, "kept-again")


def test_an_ended_shell_can_be_opened_anew(page: Page, holder: LeaseHolder):
    show(page, holder)

    page.keyboard.type("exit\n")
    assert "shell has ended" in notice(page)
    page.click("#again")

    connected(page)
    page.keyboard.type("clear; echo ne''wer\n")
    until_shown(page, "newer")


@pytest.mark.parametrize("kind", ["terminal", "vnc"])
def test_nothing_keeps_a_secret(
    page: Page, service: ServeProcess, chromium: BrowserContext, kind: str
):
    holder = console_links.lease_holder(service)
    asked: list[tuple[str, dict[str, str]]] = []
    page.on("request", lambda made: asked.append((made.url, made.all_headers())))
    links = [holder.link(kind), holder.link(kind)]
    for link in links:
        page.goto(link["consoleUrl"])
        connected(page)

    entries = chromium.new_cdp_session(page).send("Page.getNavigationHistory")["entries"]
    places = {
        "requests": str(asked),
        # What was typed or clicked stays in the browser's own records; by then it opens nothing.
        "history": str([entry["url"] for entry in entries]),
        "storage": page.evaluate("JSON.stringify([localStorage, sessionStorage, document.cookie])"),
        "document": page.url + page.content(),
        "service log": service.process.said(),
        "devnet log": service.devnet.process.said(),
    }
    secrets = [
        *(link["ticket"] for link in links),
        holder.lease["accessToken"],
        service.devnet.settings["PVE_TOKEN_SECRET"],
    ]
    for secret in secrets:
        assert [name for name, text in places.items() if secret in text] == []
    assert "PVEVNC:" not in "".join(text for name, text in places.items() if name != "devnet log")
    assert all(url.startswith((service.url, "data:")) for url, _headers in asked)


def test_no_credential_of_proxmox_reaches_the_browser(page: Page, holder: LeaseHolder):
    """What a tenant's page is sent, in either direction, names neither Proxmox VE nor a login."""
    seen: list[str] = []
    page.on("websocket", lambda socket: socket.on("framereceived", lambda f: seen.append(str(f))))
    show(page, holder)
    page.keyboard.type("echo do''ne\n")
    until_shown(page, "done")

    settings = holder.service.devnet.settings
    for secret in (
        settings["PVE_TOKEN_SECRET"],
        settings["PVE_HOST"],
        "PVEVNC:",
        "PVE:",
        "root@pam",
    ):
        assert secret not in "".join(seen)


def test_the_keyboard_alone_is_enough(page: Page, holder: LeaseHolder):
    show(page, holder)

    page.keyboard.press("Shift+F6")
    assert page.evaluate("document.activeElement.id") == "copy"
    for _ in range(3):
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")

    assert page.get_attribute("#reader", "aria-pressed") == "true"
    for _ in range(3):  # past New tab and Renew, into the terminal
        page.keyboard.press("Tab")
    page.keyboard.type("clear; echo spo''ken\n")
    page.wait_for_function(
        "() => document.querySelector('.xterm-accessibility-tree')?.textContent.includes('spoken')"
    )


def test_the_width_of_a_phone(page: Page, holder: LeaseHolder, shots: Path):
    page.set_viewport_size({"width": 360, "height": 740})
    show(page, holder)
    page.keyboard.type("clear; ls -la /etc | head -20; echo en''d\n")
    until_shown(page, "end")

    page.click('[data-key="up"]')
    page.click('[data-key="control"]')
    page.keyboard.type("c")

    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    until_shown(page, "^C")
    page.screenshot(path=shots / "phone.png")


def test_a_lease_is_renewed_with_the_wallet_of_the_browser(
    page: Page, service: ServeProcess, chromium: BrowserContext, shots: Path
):
    account = service.devnet.wallet()
    tenant = service.tenant(account)
    bought = tenant.post(f"{service.url}/lease/container", json=console_links.OFFER).json()
    holder = LeaseHolder(service=service, lease=bought)
    show(page, holder)
    left = page.inner_text("#time-left")
    second = chromium.new_page()
    wallet = BrowserWallet(page=second, devnet=service.devnet, account=account).put_in()

    second.goto(
        page.get_attribute("#renew", "href") and service.url + page.get_attribute("#renew", "href")
    )
    second.wait_for_selector("#pay:enabled")
    second.screenshot(path=shots / "renew.png")
    second.click("#pay")
    second.get_by_role("button", name="Go on to Test wallet").click()
    second.wait_for_function(
        "() => document.getElementById('outcome').textContent.startsWith('Paid')"
    )

    second.close()
    page.wait_for_function(
        "(left) => document.getElementById('time-left').innerText !== left", arg=left
    )
    assert re.match(r"1 h (28|29) min left", page.inner_text("#time-left"))
    item = requests.get(
        f"{service.url}/lease/{bought['leaseId']}", headers=holder.headers, timeout=30
    ).json()
    assert item["expiresAt"] > bought["expiresAt"]
    assert int(wallet.signed[0]["value"]) + int(bought["amount"]) == 2_000_000 - wallet.balance


COLOUR = """(text) => {
  const spans = [...document.querySelectorAll('.xterm-rows span')];
  const span = spans.findLast((found) => found.textContent === text);
  return span && getComputedStyle(span).color.match(/\\d+/g).map(Number);
}"""

WIDTH = """(text) => {
  const rows = document.querySelector('.xterm-rows');
  const walker = document.createTreeWalker(rows, NodeFilter.SHOW_TEXT);
  let width = 0;
  while (walker.nextNode()) {
    const start = walker.currentNode.data.lastIndexOf(text);
    if (start < 0) continue;
    const range = document.createRange();
    range.setStart(walker.currentNode, start);
    range.setEnd(walker.currentNode, start + text.length);
    width = range.getBoundingClientRect().width;
  }
  return width;
}"""


def size_in(screen: str) -> tuple[int, int]:
    found = re.search(r"^(\d+) (\d+)$", screen, re.MULTILINE)
    assert found is not None, screen
    return int(found[1]), int(found[2])


def act(holder: LeaseHolder, action: str) -> None:
    """Start or stop the container behind the service's back."""
    settings = holder.service.devnet.settings
    token = f"{settings['PVE_TOKEN_ID']}={settings['PVE_TOKEN_SECRET']}"
    path = f"/api2/json/nodes/pve/lxc/{holder.lease['ctid']}/status/{action}"
    requests.post(
        settings["PVE_HOST"] + path, headers={"Authorization": f"PVEAPIToken={token}"}, timeout=30
    )
    wanted = {"stop": "stopped", "start": "running"}[action]
    while holder.service.devnet.guest(holder.lease["ctid"])["status"] != wanted:
        time.sleep(0.1)

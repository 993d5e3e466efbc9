"""Published ports in a real browser: login, warning, websockets, and pages of other tenants."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import BrowserContext, Page, expect
from tests.support import browser, commands, port_names
from tests.support.console_links import LeaseHolder
from tests.support.console_pages import connected
from tests.support.port_names import Port
from tests.support.processes import ServeProcess

pytestmark = pytest.mark.browser
LIMIT_MS = 60_000


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrowserContext]:
    """A browser; its tests follow one person's visits."""
    with browser.chromium(tmp_path_factory.mktemp("browser")) as context:
        yield context


@pytest.fixture
def page(chromium: BrowserContext) -> Iterator[Page]:
    """A window."""
    made = chromium.new_page()
    yield made
    made.close()


@pytest.fixture(scope="module")
def public(named: Port) -> Port:
    """A public port with the same server."""
    made = port_names.serve(named.container, 8085)
    assert made.publish(access="public").ok
    return made


def login_url(port: Port) -> str:
    url: str = port_names.ports(port.container, "POST", "/login", json={"port": port.port}).json()[
        "url"
    ]
    return url


def until_titled(page: Page, title: str) -> None:
    page.wait_for_function("title => document.title === title", arg=title, timeout=LIMIT_MS)


def test_a_link_logs_one_browser_in_once(page: Page, named: Port):
    address = f"http://{named.host}/page"
    page.goto(address)
    assert page.inner_text("h1") == "Log in first"
    link = login_url(named)

    page.goto(link)
    page.wait_for_url(f"http://{named.host}/", timeout=LIMIT_MS)
    page.goto(address)

    until_titled(page, "it came back")
    assert "pve402" not in page.evaluate("document.cookie")
    page.goto(link)
    expect(page.locator("[role=status]")).to_contain_text("has been used", timeout=LIMIT_MS)


def test_a_public_page_comes_after_a_warning_once(page: Page, public: Port):
    address = f"http://{public.host}/page?a=1"
    page.goto(address)
    assert public.host in page.inner_text("main")

    page.click("text=Continue to the page")

    until_titled(page, "it came back")
    assert page.url == address
    page.reload()
    until_titled(page, "it came back")


def test_another_tenants_page_uses_no_login(page: Page, named: Port, public: Port):
    page.goto(login_url(named))
    page.wait_for_url(f"http://{named.host}/", timeout=LIMIT_MS)
    page.goto(f"http://{public.host}/page")
    warning = page.locator("text=Continue to the page")
    if warning.count():  # unless another test of this browser has been there
        warning.click()
    until_titled(page, "it came back")
    there = f"http://{named.host}/note"

    for script in (FETCH, POST, IMAGE, FRAME):
        page.evaluate(script, there)
    assert page.evaluate(SOCKET, f"ws://{named.host}/socket") == "refused"
    assert named.ask("/noted", headers=named.token).json() == []

    page.evaluate("url => { location.href = url }", there)  # a person may follow a link
    page.wait_for_url(there, timeout=LIMIT_MS)
    assert named.ask("/noted", headers=named.token).json() == ["GET"]


FETCH = "url => fetch(url, {mode: 'no-cors', credentials: 'include'}).catch(() => null)"
POST = """url => fetch(url, {mode: 'no-cors', method: 'POST', credentials: 'include'})
  .catch(() => null)"""
IMAGE = """url => new Promise(done => {
  const image = new Image();
  image.onload = image.onerror = () => done();
  image.src = url;
})"""
FRAME = """url => new Promise(done => {
  const frame = document.createElement('iframe');
  frame.onload = () => done();
  frame.src = url;
  document.body.append(frame);
})"""
SOCKET = """url => new Promise(done => {
  const socket = new WebSocket(url);
  socket.onopen = () => done('open');
  socket.onerror = () => done('refused');
})"""


@pytest.mark.parametrize("kind", ["terminal", "vnc"])
def test_a_console_lists_the_ports_when_asked(page: Page, naming: ServeProcess, kind: str):
    container = commands.lease(naming)
    mine, public = (Port(container=container, port=port) for port in (3000, 8080))
    assert mine.publish().ok
    assert public.publish(access="public").ok
    lease = {"ctid": container.ctid, "accessToken": container.token}
    page.goto(LeaseHolder(service=naming, lease=lease).link(kind)["consoleUrl"])
    connected(page)

    page.click("#ports summary")

    told = [
        f"Port 3000, for you, after a login: http://{mine.host}",
        f"Port 8080, for everybody: http://{public.host}",
    ]
    expect(page.locator("#port-list li")).to_have_text(told, timeout=LIMIT_MS)
    assert public.unpublish().ok
    page.click("#ports summary")
    page.click("#ports summary")
    expect(page.locator("#port-list li")).to_have_text(told[:1], timeout=LIMIT_MS)

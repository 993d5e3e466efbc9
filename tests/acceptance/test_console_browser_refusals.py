"""What a browser is refused: pages of others, links of another kind, containers of others.

Chromium names the origin itself, so what these pages are refused is what an attacker's would be.
"""

import http.server
import threading
from collections.abc import Iterator

import pytest
import requests
from playwright.sync_api import BrowserContext, Page
from tests.support import console_links
from tests.support.console_links import LeaseHolder
from tests.support.console_pages import connected, notice, show, until_shown
from tests.support.processes import ServeProcess

pytestmark = [pytest.mark.browser, pytest.mark.namespaces]

OPEN = """([url, ticket]) => new Promise((resolve) => {
  const socket = new WebSocket(url);
  socket.onopen = () => socket.send(JSON.stringify({ ticket }));
  socket.onmessage = (event) => resolve(`answered ${event.data}`);
  socket.onclose = (event) => resolve(event.code);
})"""


@pytest.fixture(scope="module")
def holder(service: ServeProcess) -> LeaseHolder:
    """A tenant whose container these tests share."""
    return console_links.lease_holder(service)


class Elsewhere(http.server.BaseHTTPRequestHandler):
    """A site of somebody else's on this machine; Chromium keeps sites of the Internet off it."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"hi")

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@pytest.fixture
def foreign_page(chromium: BrowserContext) -> Iterator[Page]:
    """A page of that site, in the same browser."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        made = chromium.new_page()
        made.goto(f"http://127.0.0.1:{server.server_port}/")
        yield made
        made.close()
        server.shutdown()


def test_a_page_of_another_origin_is_turned_away_and_the_link_stays_good(
    page: Page, foreign_page: Page, holder: LeaseHolder
):
    link = holder.link("terminal")

    code = foreign_page.evaluate(OPEN, [link["websocketUrl"], link["ticket"]])
    page.goto(link["consoleUrl"])

    assert code == 4403
    connected(page)


def test_a_page_of_another_origin_may_not_frame_a_console(foreign_page: Page, holder: LeaseHolder):
    link = holder.link("terminal")["consoleUrl"]

    foreign_page.evaluate(
        "(url) => new Promise((resolve) => { const frame = document.createElement('iframe');"
        " frame.onload = resolve; frame.src = url; document.body.append(frame); })",
        link,
    )

    (_, framed) = foreign_page.frames
    assert framed.query_selector(".xterm") is None
    assert "/console/terminal" not in framed.url


def test_a_link_of_one_kind_does_not_open_the_other(page: Page, holder: LeaseHolder):
    link = holder.link("terminal")

    page.goto(link["consoleUrl"].replace("/terminal#", "/vnc#"))

    assert "already used" in notice(page)
    page.goto(link["consoleUrl"])
    connected(page)


def test_a_link_opens_the_container_of_its_lease_alone(
    page: Page, service: ServeProcess, holder: LeaseHolder
):
    other = console_links.lease_holder(service)
    asked = f"{service.url}/management/console/{holder.lease['ctid']}"
    show(page, holder)
    page.keyboard.type("echo mine >/root/whose; clear; echo d''one\n")
    until_shown(page, "done")

    refused = requests.post(asked, json={}, headers=other.headers, timeout=30)
    show(page, other)
    page.keyboard.type("clear; cat /root/whose; echo lo''oked\n")

    assert "No such file" in until_shown(page, "looked")
    assert page.title() == f"demo ({other.lease['ctid']})"
    assert refused.status_code == 404

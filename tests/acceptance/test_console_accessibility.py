"""The web pages as axe-core judges them: contrast, names, roles, by WCAG 2.2 A and AA.

What no program can judge is in test_console_browser.py: the keyboard alone, and what is spoken.
"""

import json
from typing import Any, Literal

import pytest
from playwright.sync_api import Page
from tests.support import console_links, project
from tests.support.console_links import LeaseHolder
from tests.support.console_pages import connected, notice, show
from tests.support.processes import ServeProcess

pytestmark = [pytest.mark.browser, pytest.mark.namespaces]

AXE = project.ROOT / "tests/npm/node_modules/axe-core/axe.min.js"
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
SIZES = {"desktop": (1000, 640), "phone": (360, 740)}


@pytest.fixture(scope="module")
def holder(service: ServeProcess) -> LeaseHolder:
    """A tenant whose container these tests share."""
    return console_links.lease_holder(service)


@pytest.mark.parametrize("size", SIZES)
def test_the_terminal(page: Page, holder: LeaseHolder, size: str):
    resize(page, size)
    show(page, holder)

    assert faults(page) == []
    page.click("#reader")
    assert faults(page) == []


@pytest.mark.parametrize("size", SIZES)
def test_the_picture(page: Page, holder: LeaseHolder, size: str):
    resize(page, size)
    page.goto(holder.link("vnc")["consoleUrl"])
    connected(page)

    assert faults(page) == []


@pytest.mark.parametrize("size", SIZES)
def test_the_renewal(page: Page, holder: LeaseHolder, size: str):
    resize(page, size)
    page.goto(f"{holder.service.url}/console/renew#{holder.lease['leaseId']}")
    page.wait_for_function("() => document.getElementById('price').textContent.includes(' on ')")

    assert faults(page) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_the_shop(page: Page, service: ServeProcess, size: str, scheme: Literal["light", "dark"]):
    resize(page, size)
    page.emulate_media(color_scheme=scheme)
    page.goto(service.url)
    page.wait_for_selector("#pay:enabled")

    for view in ("rent", "leases", "receipts"):
        page.click(f"nav a[href='#{view}']")
        assert faults(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= SIZES[size][0]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_the_api(page: Page, service: ServeProcess, size: str, scheme: Literal["light", "dark"]):
    resize(page, size)
    page.emulate_media(color_scheme=scheme)
    page.goto(f"{service.url}/docs")
    shown = "[id='link-post-/lease/container']" if size == "desktop" else "text='/lease/container'"
    page.wait_for_selector(shown)

    assert faults(page) == []


@pytest.mark.parametrize("kind", ["terminal", "vnc"])
def test_a_page_with_a_notice(page: Page, holder: LeaseHolder, kind: str):
    page.goto(f"{holder.service.url}/console/{kind}")

    assert "only once" in notice(page)
    assert faults(page) == []


def test_a_fault_is_noticed(page: Page, holder: LeaseHolder):
    page.goto(f"{holder.service.url}/console/terminal")
    page.evaluate("document.getElementById('notice').style.color = '#6a4f32'")
    page.evaluate("document.getElementById('copy').textContent = ''")

    found = " ".join(faults(page))

    assert "color-contrast" in found
    assert "button-name" in found


def resize(page: Page, size: str) -> None:
    width, height = SIZES[size]
    page.set_viewport_size({"width": width, "height": height})


def faults(page: Page) -> list[str]:
    """What axe-core finds wrong with the page as it is now, with the elements."""
    page.evaluate(AXE.read_text())
    chosen = json.dumps({"runOnly": RULES, "resultTypes": ["violations"]})
    found: list[dict[str, Any]] = page.evaluate(
        f"axe.run(document, {chosen}).then((results) => results.violations)"
    )
    return [
        f"{rule['id']}: {node['html'][:120]} {node.get('failureSummary', '')[:200]}"
        for rule in found
        for node in rule["nodes"]
    ]

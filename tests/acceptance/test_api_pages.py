"""The API's page in a browser: shown by this service alone, on phone and desk, light and dark."""

from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import pytest
import requests
from playwright.sync_api import Page, expect
from tests.support.processes import ServeProcess

pytestmark = [pytest.mark.browser, pytest.mark.namespaces]

SHOWN_MS = 60_000
SIZES = {"desktop": (1280, 800), "phone": (390, 844)}
REFUSED = """() => {
  window.refused = [];
  const note = (refusal) => window.refused.push(refusal.violatedDirective);
  document.addEventListener("securitypolicyviolation", note);
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_the_api_is_shown_by_the_service_alone(
    page: Page, service: ServeProcess, shots: Path, size: str, scheme: Literal["light", "dark"]
):
    width, height = SIZES[size]
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.add_init_script(f"({REFUSED})()")
    page.set_viewport_size({"width": width, "height": height})
    page.emulate_media(color_scheme=scheme)

    page.goto(f"{service.url}/docs")
    shown(page, "/lease/container" if size == "phone" else "Lease Container")
    page.screenshot(path=shots / f"docs-{size}-{scheme}.png")

    assert {urlsplit(url).netloc for url in asked} == {urlsplit(service.url).netloc}
    assert page.evaluate("window.refused") == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert brightness(page) == scheme


def test_every_operation_has_its_place(page: Page, service: ServeProcess):
    document = requests.get(f"{service.url}/openapi.json", timeout=30).json()
    operations = [each for path in document["paths"].values() for each in path.values()]
    page.goto(f"{service.url}/docs")
    page.click("[id='link-post-/lease/-ctid-/renew']")
    shown(page, "/lease/{ctid}/renew")

    listed = page.evaluate("document.querySelector('rapi-doc').shadowRoot.textContent")

    assert [each["summary"] for each in operations if each["summary"] not in listed] == []


def shown(page: Page, text: str) -> None:
    """Wait for a text of the viewer."""
    expect(page.get_by_text(text).first).to_be_visible(timeout=SHOWN_MS)


def brightness(page: Page) -> str:
    """Whether the viewer's ground is light or dark."""
    ground: str = page.evaluate(
        "getComputedStyle(document.querySelector('rapi-doc').shadowRoot"
        ".querySelector('.main-content, #the-main-body')).backgroundColor"
    )
    page_ground: str = page.evaluate("getComputedStyle(document.body).backgroundColor")
    found = page_ground if ground.startswith("rgba(0, 0, 0, 0") else ground
    return "dark" if int(found.partition("(")[2].partition(",")[0]) < 128 else "light"

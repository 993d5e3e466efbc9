"""The web pages: what they may load, how long they are kept, and what they are made of."""

import gzip
import posixpath
import re

import pytest
from tests.support.api_fixtures import Api, make_api

from pve402.api.routes import pages

PAGES = ("/", "/console/terminal", "/console/vnc", "/console/renew", "/docs")
PAYING = ("/", "/console/renew")
STYLED = ("/console/terminal", "/docs")
TYPED = (*PAYING, "/docs")
BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


@pytest.mark.parametrize("path", PAGES)
async def test_a_page_may_load_and_call_this_service_alone(api: Api, path: str):
    reply = await api.client.get(path, headers=BROWSER)

    policy = dict(
        part.split(" ", 1) for part in reply.headers["content-security-policy"].split("; ")
    )
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == "'self'"
    assert policy["connect-src"] == "'self' wss://rent.example.com"
    assert policy["frame-ancestors"] == "'none'"
    assert ("'unsafe-inline'" in policy["style-src"]) == (path in STYLED)
    assert policy.get("require-trusted-types-for") == ("'script'" if path in TYPED else None)


@pytest.mark.parametrize("path", PAGES)
async def test_a_page_is_not_kept_and_tells_nobody_where_one_comes_from(api: Api, path: str):
    reply = await api.client.get(path, headers=BROWSER)

    assert reply.headers["cache-control"] == "no-store"
    assert reply.headers["referrer-policy"] == "no-referrer"
    assert reply.headers["content-type"] == "text/html; charset=utf-8"


@pytest.mark.parametrize("path", PAGES)
async def test_all_that_a_page_names_is_there_and_may_be_kept_for_ever(api: Api, path: str):
    page = (await api.client.get(path, headers=BROWSER)).body.decode()
    named = re.findall(r'(?:src|href)="(/console/static/[^"]+)"', page)

    replies = [await api.client.get(name) for name in named]

    assert len(named) >= 2
    assert {reply.status for reply in replies} == {200}
    assert all("immutable" in reply.headers["cache-control"] for reply in replies)
    assert not re.search(r"https?://|<script>|\son\w+=|{{", page)


async def test_a_file_is_compressed_for_those_who_ask_for_it(api: Api):
    name = "vendor/rapidoc/dist/rapidoc-min.js"
    path = f"/console/static/{pages.site().digest}/{name}"

    whole = await api.client.get(path)
    small = await api.client.get(path, headers={"Accept-Encoding": "gzip, br"})

    assert "content-encoding" not in whole.headers
    assert small.headers["content-encoding"] == "gzip"
    assert gzip.decompress(small.body) == whole.body == pages.site().files[name]
    assert len(small.body) < 260_000


@pytest.mark.parametrize("accept", [None, "*/*", "application/json", "application/json, text/html"])
async def test_a_program_finds_no_shop(api: Api, accept: str | None):
    reply = await api.client.get("/", headers={"Accept": accept} if accept else {})

    assert (reply.status, reply.json()["code"]) == (404, "not_found")


async def test_a_shop_that_is_switched_off_is_not_there():
    api = make_api(has_shop=False)

    replies = [await api.client.get(path, headers=BROWSER) for path in PAYING]

    assert [reply.status for reply in replies] == [404, 200]
    assert b'data-shop="no"' in replies[1].body


async def test_a_file_of_another_version_is_not_here(api: Api):
    old = await api.client.get("/console/static/0123456789abcdef/app/frame.js")
    outside = await api.client.get(f"/console/static/{pages.site().digest}/../pages/terminal.html")

    assert (old.status, outside.status) == (404, 404)


@pytest.mark.parametrize(
    ("suffix", "kind"),
    [(".js", "text/javascript"), (".mjs", "text/javascript"), (".css", "text/css")],
)
async def test_files_are_served_as_what_they_are(api: Api, suffix: str, kind: str):
    name = next(name for name in pages.site().files if name.endswith(suffix))

    reply = await api.client.get(f"/console/static/{pages.site().digest}/{name}")

    assert reply.headers["content-type"] == f"{kind}; charset=utf-8"
    assert reply.headers["x-content-type-options"] == "nosniff"


def test_every_import_of_our_modules_is_a_file_of_ours():
    files = pages.site().files
    for name, content in files.items():
        if not name.startswith(("app/", "shop/", "docs/")):
            continue
        for target in re.findall(r'from "(\.[^"]+)"', content.decode()):
            path = posixpath.normpath(posixpath.join(posixpath.dirname(name), target))
            assert path in files, (name, target)

"""A browser that opens an address for programs is led to the shop; programs get what they got."""

import pytest
from tests.support.api_fixtures import Api, make_api

CHROMIUM = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
PATHS = {"/management/list": 402, "/lease/10000": 402, "/lease/container": 405, "/nowhere": 404}


@pytest.mark.parametrize(("path", "status"), PATHS.items())
async def test_a_browser_gets_a_page_that_leads_to_the_shop(api: Api, path: str, status: int):
    reply = await api.client.get(path, headers=CHROMIUM)

    assert reply.status == status
    assert reply.headers["content-type"] == "text/html; charset=utf-8"
    assert b'<a href="/">' in reply.body


async def test_without_a_shop_the_page_leads_to_none():
    api = make_api()
    api.app.state.has_shop = False

    reply = await api.client.get("/management/list", headers=CHROMIUM)

    assert b'<a href="/">' not in reply.body
    assert b"/openapi.json" in reply.body


@pytest.mark.parametrize("accept", ["*/*", "application/json", "application/json, text/html", ""])
async def test_a_program_gets_the_terms_as_json(api: Api, accept: str):
    reply = await api.client.get("/management/list", headers={"Accept": accept})

    assert (reply.status, reply.headers["content-type"]) == (402, "application/json")
    assert reply.json()["x402Version"] == 1


async def test_the_page_carries_the_terms_of_version_2(api: Api):
    page = await api.client.get("/management/list", headers=CHROMIUM)
    plain = await api.client.get("/management/list")

    assert page.headers["payment-required"] == plain.headers["payment-required"]
    assert page.headers["cache-control"] == "no-store"

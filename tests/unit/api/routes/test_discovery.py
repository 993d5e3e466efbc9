"""What programs that look for services find: the guide, the list, and prices in the document."""

import dataclasses
import json
import re
from fractions import Fraction

from tests.support.api_fixtures import PUBLIC_URL, Api


async def test_the_guide_has_the_form_that_models_are_given(api: Api):
    reply = await api.client.get("/llms.txt")

    lines = reply.body.decode().splitlines()
    assert (reply.status, lines[0]) == (200, "# pve402")
    assert reply.headers["content-type"] == "text/plain; charset=utf-8"
    assert lines[2].startswith("> ")
    links = re.findall(r"^- \[.+\]\((.+)\): .+", reply.body.decode(), re.MULTILINE)
    assert links
    for link in links:
        found = await api.client.get(link.removeprefix(PUBLIC_URL))
        assert found.status == 200, link


async def test_the_guide_tells_what_is_on_sale_and_how_to_ask_for_it(api: Api):
    text = (await api.client.get("/llms.txt")).body.decode()

    for name, sku in api.leases.catalogue.skus.items():
        assert f"- `{name}`:" in text
        assert sku.description in text
    (asked,) = re.findall(r"`({.*})`", text)
    wish = {**json.loads(asked), "password": "root_password_here"}
    assert (await api.client.post("/lease/container", wish)).status == 402


async def test_the_list_names_what_answers_402(api: Api):
    reply = await api.client.get("/.well-known/x402")

    listed = reply.json()
    assert (reply.status, listed["version"]) == (200, 1)
    for url in listed["resources"]:
        assert (await api.client.post(url.removeprefix(PUBLIC_URL))).status == 402


async def test_the_document_tells_what_each_paid_route_costs(api: Api):
    paths = (await api.client.get("/openapi.json")).json()["paths"]

    asks = await api.client.post("/lease/container")
    lease = paths["/lease/container"]["post"]["x-payment-info"]["price"]
    fee = paths["/management/list"]["get"]["x-payment-info"]["price"]
    least = Fraction(lease["min"]) * 10**6
    assert lease["mode"] == "dynamic"
    assert int(asks.json()["accepts"][0]["maxAmountRequired"]) == -(-least // 1)
    assert Fraction(lease["max"]) > Fraction(lease["min"])
    assert fee == {"mode": "fixed", "currency": "USD", "amount": "0.001"}
    for operations in paths.values():
        for operation in operations.values():
            told = operation.get("x-payment-info")
            assert (told is not None) == ("402" in operation["responses"])
            assert told is None or told["protocols"] == [{"x402": {}}]


async def test_the_documents_prices_follow_the_catalogue(api: Api):
    await api.client.get("/openapi.json")

    dearer = dataclasses.replace(api.leases.catalogue, management_fee_usd=Fraction(1, 4))
    api.leases.catalogue = dearer
    paths = (await api.client.get("/openapi.json")).json()["paths"]

    price = paths["/management/list"]["get"]["x-payment-info"]["price"]
    assert price["amount"] == "0.25"


async def test_the_document_says_where_the_guide_is(api: Api):
    document = (await api.client.get("/openapi.json")).json()

    assert "POST /lease/container" in document["info"]["x-guidance"]
    assert document["x-agentcash-guidance"]["llmsTxtUrl"] == f"{PUBLIC_URL}/llms.txt"

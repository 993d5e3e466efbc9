"""What paid routes tell catalogues: judged by both official packages, and held to our models."""

import base64
import dataclasses
import json
import re
import subprocess
from typing import Any

import pytest
from pydantic import BaseModel
from tests.support import project
from tests.support.api_fixtures import PUBLIC_URL, make_api
from x402.extensions import bazaar, payment_identifier

from pve402 import schemas
from pve402.api.transport import routing
from pve402.domain import ssh_keys
from pve402.payments import networks, payment_required

EVERY_NETWORK = tuple(network.caip2 for network in networks.NETWORKS)
API = make_api(networks=EVERY_NETWORK)
ROUTES = [
    route for route in API.app.routes if isinstance(route, routing.PlainRoute) and route.listed
]
VALUES = {
    "ctid": "l8w0o5w0v1q9n7x3k2j4h6g5f4",
    "execId": "e0123456789abcdef01234567",
    "name": "before-upgrade",
    "imageId": "l8w0o5w0v1q9n7x3k2j4h6g5f4",
}
PATHS = [re.sub(r"{(\w+)}", lambda name: VALUES[name[1]], route.path) for route in ROUTES]
FORMS = [
    json.loads(form)
    for route, path in zip(ROUTES, PATHS, strict=True)
    for form in route.listed.declared(path, PUBLIC_URL).forms
]


def _id(route: routing.PlainRoute) -> str:
    return f"{min(route.methods)} {route.path}"


def test_every_form_is_valid_for_the_official_python_package() -> None:
    for form in FORMS:
        for judge in (
            bazaar.validate_discovery_extension,
            bazaar.validate_discovery_extension_spec,
        ):
            said = judge(form["bazaar"])
            assert (said.valid, said.errors) == (True, []), form["bazaar"]


def test_every_form_is_valid_for_the_official_typescript_package() -> None:
    done = subprocess.run(
        ["node", project.ROOT / "tests/npm/validate.mjs"],
        input=json.dumps(FORMS),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [[] for _form in FORMS]


@pytest.mark.parametrize("route", ROUTES, ids=_id)
async def test_the_402_of_every_paid_route_declares_it_and_stays_small(
    route: routing.PlainRoute,
) -> None:
    path = PATHS[ROUTES.index(route)]
    path = path.replace(VALUES["ctid"], "10000") if path.startswith("/lease/") else path

    reply = await API.client.request(min(route.methods), path)

    header = reply.headers["payment-required"]
    document = json.loads(base64.b64decode(header))
    found = bazaar.extract_discovery_info(document, {})
    assert reply.status == 402
    assert len(header) < payment_required.MOST_HEADER_BYTES
    assert len(document["accepts"]) >= 4
    assert found is not None
    assert found.method == min(route.methods)
    assert found.resource_url == PUBLIC_URL + re.sub(r"{(\w+)}", r":\1", route.path)


@pytest.mark.parametrize("route", ROUTES, ids=_id)
def test_the_example_of_a_body_is_a_valid_request(route: routing.PlainRoute) -> None:
    shape = route.listed.shape
    example = route.listed.resource.body

    if shape.request is None:
        assert example is None or shape.text_body
    else:
        assert issubclass(shape.request, BaseModel)
        shape.request.model_validate(example.value)


async def test_a_catalogue_that_replays_the_example_of_a_lease_gets_its_price() -> None:
    first = await API.client.post("/lease/container")

    body = _declared(first)["bazaar"]["info"]["input"]["body"]
    replayed = await API.client.post("/lease/container", body)

    assert replayed.status == 402
    assert _lowest(replayed) == _lowest(first)
    wish = schemas.LeaseRequest.model_validate(body)
    assert wish.password is None
    assert ssh_keys.tidy(wish.ssh_public_keys[0]) == schemas.EXAMPLE_KEY


async def test_the_example_of_a_lease_follows_the_catalogue() -> None:
    own = make_api()
    on_sale = own.leases.catalogue
    sku = dataclasses.replace(on_sale.skus["standard-lxc"], name="other")
    own.leases.catalogue = dataclasses.replace(on_sale, skus={"other": sku})

    reply = await own.client.post("/lease/container")

    assert _declared(reply)["bazaar"]["info"]["input"]["body"]["sku"] == "other"


async def test_purchases_take_an_identifier_and_nothing_requires_one() -> None:
    named = {}
    for path in ("/lease/container", "/lease/10000/renew", "/management/exec/10000"):
        named[path] = _declared(await API.client.post(path)).get("payment-identifier")

    assert named.pop("/management/exec/10000") is None
    for declared in named.values():
        sent = payment_identifier.append_payment_identifier_to_extensions(
            {"payment-identifier": declared}
        )
        assert declared["info"] == {"required": False}
        assert payment_identifier.is_valid_payment_id(sent["payment-identifier"]["info"]["id"])


def _declared(reply: Any) -> dict[str, Any]:
    document = json.loads(base64.b64decode(reply.headers["payment-required"]))
    return document["extensions"]


def _lowest(reply: Any) -> str:
    return reply.json()["accepts"][0]["maxAmountRequired"]

"""The OpenAPI document: kept in docs/reference, and true."""

import json

import pytest
from tests.support import fake_leases, project, wallets
from tests.support.api_fixtures import BODY, NETWORK, Api

from pve402.api import app

PUBLIC_URL = "https://rent.example.com"
DOCUMENT = json.loads(app.openapi_text(PUBLIC_URL))
OPERATIONS = [
    (path, method, operation)
    for path, operations in DOCUMENT["paths"].items()
    for method, operation in operations.items()
]
PAID = {"/lease/container", "/lease/{ctid}/renew", "/management/list", "/stats/lxc"}


def test_the_kept_document_is_current():
    kept = (project.ROOT / "docs" / "reference" / "openapi.json").read_text()

    assert kept == app.openapi_text(PUBLIC_URL), (
        "renew it: .venv/bin/pve402 openapi > docs/reference/openapi.json"
    )


@pytest.mark.parametrize("path", sorted(PAID))
def test_paid_routes_name_both_payment_headers_and_the_402(path: str):
    for operation in DOCUMENT["paths"][path].values():
        names = {parameter["name"] for parameter in operation["parameters"]}
        assert names >= {"X-PAYMENT", "PAYMENT-SIGNATURE"}
        assert "PAYMENT-REQUIRED" in operation["responses"]["402"]["headers"]


@pytest.mark.parametrize("operation", [operation for _path, _method, operation in OPERATIONS])
def test_every_reference_resolves(operation: dict):
    for reference in _references(operation):
        kind, name = reference.removeprefix("#/components/").split("/")
        assert name in DOCUMENT["components"][kind]


@pytest.mark.parametrize(("path", "method", "operation"), OPERATIONS)
def test_every_operation_is_described(path: str, method: str, operation: dict):
    assert operation["summary"]
    assert operation["description"]
    assert {"200", "202", "204"} & set(operation["responses"]), (path, method)


def test_every_refusal_has_the_one_shape():
    for _path, _method, operation in OPERATIONS:
        for status, response in operation["responses"].items():
            if status in {"402", "503"} or status < "400":
                continue
            schema = response["content"]["application/json"]["schema"]
            assert schema == {"$ref": "#/components/schemas/Problem"}


async def test_answers_have_just_the_documented_fields(api: Api):
    owner = f"{NETWORK}:{wallets.ALICE.address.lower()}"
    api.leases.add(fake_leases.make_lease(owner))
    unpaid = await api.client.post("/lease/container", BODY)
    signed = wallets.payment_headers(wallets.ALICE, unpaid)
    answers = {
        "LeaseAnswer": await api.client.post("/lease/container", BODY, headers=signed),
        "Quote": await api.client.post("/lease/quote", BODY),
        "CatalogueAnswer": await api.client.get("/catalogue"),
        "AllNodeStats": await api.client.get("/stats/node"),
        "PaymentRequired": unpaid,
    }

    for schema, reply in answers.items():
        documented = DOCUMENT["components"]["schemas"][schema]["properties"]
        assert set(reply.json()) == set(documented), schema


def _references(node: object) -> list[str]:
    if isinstance(node, dict):
        own = [node["$ref"]] if "$ref" in node else []
        return own + [found for value in node.values() for found in _references(value)]
    if isinstance(node, list):
        return [found for value in node for found in _references(value)]
    return []

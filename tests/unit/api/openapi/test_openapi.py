"""The OpenAPI document: kept in docs/reference, and true."""

import json
import re
from collections.abc import Iterator

import jsonschema_rs
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


#: The words of JSON Schema 2020-12 that the document uses, and OpenAPI's `example`.
WORDS = {
    *("$ref", "type", "properties", "required", "items", "enum", "const", "anyOf", "format"),
    *("minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems", "pattern"),
    *("maxProperties", "additionalProperties", "propertyNames", "default", "description"),
    *("title", "examples"),
}
SCHEMAS = sorted(DOCUMENT["components"]["schemas"])


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_schema_is_json_schema(name: str):
    schema = DOCUMENT["components"]["schemas"][name]

    assert jsonschema_rs.meta.is_valid(schema)
    for inner in _schemas(schema):
        assert set(inner) <= WORDS
        assert inner.get("default", 0) is not None


@pytest.mark.parametrize(
    ("name", "field", "bounds"),
    [
        ("LeaseRequest", "runtimeMinutes", (1, 2**53)),
        ("LeaseRequest", "cores", (1, 2**53)),
        ("LeaseQuoteRequest", "memoryMB", (1, 2**53)),
        ("LeaseQuoteRequest", "diskGB", (1, 2**53)),
        ("RenewRequest", "runtimeMinutes", (1, 2**53)),
        ("ExecRequest", "maxOutputBytes", (0, 16 * 2**20)),
        ("ExecRequest", "timeoutSeconds", (0.1, 30 * 24 * 3600)),
    ],
)
def test_bounds_are_kept(name: str, field: str, bounds: tuple[float, float]):
    found = DOCUMENT["components"]["schemas"][name]["properties"][field]
    number = next(iter(found.get("anyOf", [found])))

    assert (number["minimum"], number["maximum"]) == bounds


def test_operations_have_names_that_a_person_would_choose():
    names = [operation["operationId"] for _path, _method, operation in OPERATIONS]

    assert len(set(names)) == len(names)
    for name in names:
        assert re.fullmatch(r"[a-z]+([A-Z][a-z]+)+", name)


def test_a_problem_lists_every_code():
    listed = DOCUMENT["components"]["schemas"]["Problem"]["properties"]["code"]["enum"]
    page = (project.ROOT / "docs" / "reference" / "errors.md").read_text()

    assert {"no_capacity", "unauthenticated", "not_found", "internal_error"} < set(listed)
    assert [code for code in listed if f"`{code}`" not in page and f" {code}`" not in page] == []


def _schemas(schema: dict) -> Iterator[dict]:
    """A schema and all within it; names of fields are no words."""
    yield schema
    inner = [*schema.get("properties", {}).values(), *schema.get("anyOf", [])]
    inner += [schema[word] for word in ("items", "additionalProperties") if word in schema]
    for each in inner:
        if isinstance(each, dict):
            yield from _schemas(each)


def _references(node: object) -> list[str]:
    if isinstance(node, dict):
        own = [node["$ref"]] if "$ref" in node else []
        return own + [found for value in node.values() for found in _references(value)]
    if isinstance(node, list):
        return [found for value in node for found in _references(value)]
    return []


def test_every_part_of_a_path_is_described():
    lacking = [
        f"{method} {path}: {name}"
        for path, method, operation in OPERATIONS
        for name in re.findall(r"{(\w+)}", path)
        if name not in {one["name"] for one in operation.get("parameters", [])}
    ]

    assert lacking == []

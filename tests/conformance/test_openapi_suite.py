"""schemathesis over the whole OpenAPI document, of a service in a process of its own.

Unpaid first, as anybody calls; then by a tenant whose client pays whatever is asked, up to its cap.
"""

import os
from collections.abc import Iterator
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import checks
from tests.support import project
from tests.support.api_fixtures import BODY
from tests.support.processes import ServeProcess

EXAMPLES = int(os.environ.get("PVE402_EXAMPLES", "25"))
PAID_EXAMPLES = int(os.environ.get("PVE402_PAID_EXAMPLES", "12"))
CHECKS = [
    checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]
COMMAND = {"command": "id", "timeoutSeconds": 3, "openStdin": False, "encoding": "utf-8"}
SERVABLE: dict[str, dict[str, Any]] = {
    "POST /lease/container": BODY,
    "POST /lease/{ctid}/renew": {"runtimeMinutes": 5},
    "POST /management/exec/{ctid}": COMMAND,
}
UNSERVABLE = {"template", "sshPublicKeys", "argv", "user", "cwd", "maxOutputBytes", "stdin"}
CREDENTIALS = {"authorization", "payment-signature", "x-payment"}
PAID = {
    *("POST /lease/container", "POST /lease/{ctid}/renew", "GET /lease/{ctid}"),
    *("GET /management/list", "GET /stats/lxc"),
    *("POST /management/exec/{ctid}", "GET /management/exec/{ctid}"),
}
PATIENT = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
DOCUMENT = schemathesis.openapi.from_path(project.ROOT / "docs/reference/openapi.json")
OPERATIONS = [found.ok() for found in DOCUMENT.get_all_operations()]
# Its answer goes on for an hour, and the tool reads answers to their end; tests of watches read it.
ENDLESS = "GET /management/folders/{ctid}/watch"


@pytest.fixture(scope="session")
def tenant(service: ServeProcess) -> requests.Session:
    """A session that pays by itself."""
    return service.tenant(service.devnet.wallet(1_000_000_000))


@pytest.fixture
def leased(service: ServeProcess, tenant: requests.Session) -> Iterator[str]:
    """The ctid of a container of the tenant's."""
    reply = tenant.post(f"{service.url}/lease/container", json=BODY, timeout=60)
    assert reply.status_code == 200, reply.text
    bought = reply.json()
    yield str(bought["ctid"])
    token = {"Authorization": f"Bearer {bought['accessToken']}"}
    requests.delete(f"{service.url}/lease/{bought['leaseId']}", headers=token, timeout=60)


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.label)
def test_what_anybody_sends(service: ServeProcess, operation: Any):
    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=PATIENT, database=None)
    @given(case=operation.as_strategy())
    def sends(case: schemathesis.Case) -> None:
        response = case.call(base_url=service.url, timeout=60)
        case.validate_response(response, checks=CHECKS)

    sends()


@pytest.mark.parametrize(
    "operation",
    [one for one in OPERATIONS if one.label != ENDLESS],
    ids=lambda operation: operation.label,
)
def test_what_a_paying_tenant_sends(
    service: ServeProcess, tenant: requests.Session, leased: str, operation: Any
):
    paid = []

    @settings(
        max_examples=PAID_EXAMPLES, deadline=None, suppress_health_check=PATIENT, database=None
    )
    @given(case=operation.as_strategy())
    def pays(case: schemathesis.Case) -> None:
        _make_servable(case, leased)
        response = case.call(base_url=service.url, session=tenant, timeout=60)
        case.validate_response(response, checks=CHECKS)
        paid.append("payment-response" in response.headers)

    pays()
    print(operation.label, sum(paid), "of", len(paid), "paid")
    assert any(paid) or operation.label not in PAID


def _make_servable(case: schemathesis.Case, leased: str) -> None:
    """Keep what was made up, except what would be refused before money is mentioned."""
    if "ctid" in case.path_parameters:
        case.path_parameters["ctid"] = leased
    for name in [name for name in case.headers if name.lower() in CREDENTIALS]:
        del case.headers[name]
    if isinstance(case.body, dict):
        servable = SERVABLE.get(case.operation.label, {})
        kept = {name: case.body[name] for name in case.body if name not in UNSERVABLE}
        case.body = kept | servable if servable else case.body

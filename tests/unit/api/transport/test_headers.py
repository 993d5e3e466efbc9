"""Headers: CORS for browsers, security headers for all, routing errors in the one shape."""

import pytest
from tests.support.api_fixtures import BODY, Api

from pve402.api.transport import address

ORIGIN = {"Origin": "https://shop.example.com"}
EXPOSED = {"PAYMENT-REQUIRED", "PAYMENT-RESPONSE", "X-PAYMENT-RESPONSE", "Retry-After"}


@pytest.mark.parametrize("path", ["/lease/container", "/management/list", "/lease/10000/renew"])
@pytest.mark.parametrize("header", ["x-payment", "payment-signature", "authorization"])
async def test_a_preflight_is_answered_unpaid(api: Api, path: str, header: str):
    asked = {
        **ORIGIN,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": f"content-type, {header}, idempotency-key",
    }

    reply = await api.client.request("OPTIONS", path, headers=asked)

    assert reply.status == 200
    assert header in reply.headers["access-control-allow-headers"]
    assert "POST" in reply.headers["access-control-allow-methods"]


async def test_a_plain_options_is_answered_unpaid(api: Api):
    reply = await api.client.request("OPTIONS", "/lease/container")

    assert reply.status == 204
    assert "POST" in reply.headers["allow"]


async def test_a_browser_can_read_the_402_and_its_headers(api: Api):
    reply = await api.client.post("/lease/container", BODY, headers=ORIGIN)

    assert reply.status == 402
    assert reply.headers["access-control-allow-origin"] == "*"
    exposed = {name.strip() for name in reply.headers["access-control-expose-headers"].split(",")}
    assert exposed >= EXPOSED


async def test_a_wrong_method_is_told_all_that_the_path_takes(api: Api):
    reply = await api.client.request("PUT", "/lease/10000")

    assert (reply.status, reply.headers["allow"]) == (405, "DELETE, GET, HEAD")


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nowhere", 404, "not_found"),
        ("GET", "/lease/container/", 404, "not_found"),
        ("PUT", "/lease/container", 405, "method_not_allowed"),
    ],
)
async def test_routing_errors_have_the_shape_of_all_others(api: Api, method, path, status, code):
    reply = await api.client.request(method, path)

    assert (reply.status, reply.code) == (status, code)
    assert set(reply.json()) == {"detail", "code"}


async def test_who_is_lost_is_shown_the_description(api: Api):
    reply = await api.client.get("/")

    assert reply.status == 404
    assert "/openapi.json" in reply.json()["detail"]


async def test_security_headers_are_on_every_answer(api: Api):
    for path in ("/catalogue", "/management/list", "/nowhere"):
        reply = await api.client.get(path)
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert reply.headers["referrer-policy"] == "no-referrer"
        assert "frame-ancestors 'none'" in reply.headers["content-security-policy"]
        assert "max-age" in reply.headers["strict-transport-security"]


@pytest.mark.parametrize("asked", [{}, ORIGIN], ids=["program", "page"])
async def test_caches_are_told_that_the_origin_makes_a_difference(api: Api, asked: dict):
    reply = await api.client.get("/catalogue", headers=asked)

    assert reply.headers["vary"] == "Origin"


@pytest.mark.parametrize("path", ["/catalogue", "/nowhere"])
async def test_programs_get_the_headers_of_pages_but_those_of_cors(api: Api, path: str):
    page = await api.client.get(path, headers=ORIGIN)
    program = await api.client.get(path)

    added = {name for name in page.headers if name.startswith("access-control-")}
    assert added == {"access-control-allow-origin", "access-control-expose-headers"}
    assert set(page.headers) - added == set(program.headers)


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        ("203.0.113.7", None, "203.0.113.7"),
        ("203.0.113.7", "198.51.100.1", "203.0.113.7"),
        ("10.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "1.1.1.1, 198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "198.51.100.1, 10.0.0.2", "198.51.100.1"),
        ("10.0.0.1", "nonsense", "10.0.0.1"),
        ("10.0.0.1", "198.51.100.1, nonsense", "10.0.0.1"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("::ffff:10.0.0.1", "2001:db8::1", "2001:db8::1"),
        (None, "198.51.100.1", None),
    ],
)
def test_a_forwarded_address_counts_behind_our_own_proxies_alone(peer, forwarded, expected):
    headers = [] if forwarded is None else [(b"x-forwarded-for", forwarded.encode())]
    scope = {"client": (peer, 1) if peer else None, "headers": headers}

    assert address.ClientAddresses(["10.0.0.0/8"]).of(scope) == expected

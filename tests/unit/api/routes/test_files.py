"""Requests for files: what is refused as written, before anything is done in a container."""

import pytest
from tests.support import fake_leases, wallets
from tests.support.api_fixtures import NETWORK, Api

from pve402.leases import service

ALICE = f"{NETWORK}:{wallets.ALICE.address.lower()}"
TOKEN = "token-0123456789abcdef"
DIGEST = f"sha-256={'B' * 43}="
BEARER = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture
def files(api: Api) -> Api:
    """An application with a lease, whose owner calls."""
    made = api.leases.add(fake_leases.make_lease(ALICE))
    api.access.callers[TOKEN] = service.Caller(owner=ALICE, lease_id=made.lease_id)
    return api


@pytest.mark.parametrize("method", ["PUT", "GET"])
@pytest.mark.parametrize(
    "query",
    [
        "path=/tmp/a%FFb",
        "path=/tmp/%C3",
        "path=/tmp/%C3%28",
        "path=/tmp/%ED%A0%80",
        "path=/tmp/%F8%88%80%80%80",
        "path=%80",
        "path=/tmp/a&path=/tmp/b",
        "path=/tmp/a%00b",
        "path=tmp/a",
        "path=/tmp/",
        "path=",
        "",
    ],
)
async def test_a_path_that_cannot_be_meant_is_422(files: Api, method: str, query: str):
    path = f"/management/files/10000?{query}"

    reply = await files.client.request(method, path, b"data", headers=BEARER)

    assert (reply.status, reply.code) == (422, "invalid_request")


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"Content-Range": "bytes 0-3/10"}, 422, "invalid_request"),
        ({"Content-Range": "bytes 0-3/*"}, 422, "invalid_request"),
        ({"Content-Range": "nonsense"}, 422, "invalid_request"),
        ({"Content-Encoding": "gzip"}, 415, "content_encoding_refused"),
        ({"Content-Encoding": "identity, br"}, 415, "content_encoding_refused"),
        ({"Content-Encoding": "X-Custom"}, 415, "content_encoding_refused"),
        ({"If-Match": "abc"}, 422, "invalid_request"),
        ({"If-None-Match": '"abc'}, 422, "invalid_request"),
        ({"If-Match": '*, "abc"'}, 422, "invalid_request"),
        ({"Content-Digest": "md5=:abc:"}, 422, "invalid_request"),
        ({"Repr-Digest": "sha-512=:abc:"}, 422, "invalid_request"),
        ({"Repr-Digest": f"sha-256=:{'A' * 43}=:", "Digest": DIGEST}, 422, "invalid_request"),
        ({"Content-MD5": "AAAAAAAAAAAAAAAAAAAAAA=="}, 422, "invalid_request"),
        ({"Range": "bytes=0-3"}, 422, "invalid_request"),
        ({"If-Unmodified-Since": "Mon, 01 Jan 2001 00:00:00 GMT"}, 422, "invalid_request"),
        ({"Content-Type": "multipart/form-data; boundary=x"}, 415, "content_encoding_refused"),
        ({"Content-Type": " Multipart/ByteRanges"}, 415, "content_encoding_refused"),
    ],
)
async def test_a_header_that_would_change_what_is_stored_is_refused(
    files: Api, headers: dict[str, str], status: int, code: str
):
    path = "/management/files/10000?path=/tmp/a"

    reply = await files.client.request("PUT", path, b"data", headers={**BEARER, **headers})

    assert (reply.status, reply.code) == (status, code)

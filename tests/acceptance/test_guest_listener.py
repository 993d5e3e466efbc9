"""The listener for containers hands out uploads and answers nothing else."""

import pytest
import requests
from tests.support import processes

PATHS = (
    *("/", "/healthz", "/readyz", "/catalogue", "/management/list", "/lease/10000"),
    *("/openapi.json", "/console", "/guest/files/none"),
)


@pytest.fixture
def url(serve) -> str:
    """The listener's address, of a service that is ready."""
    port = processes.free_port()
    url = f"http://127.0.0.1:{port}"
    service = serve(PVE402_GUEST_URL=url, PVE402_GUEST_BIND=f"127.0.0.1:{port}")
    assert requests.get(f"{service.url}/healthz", timeout=10).status_code == 200
    return url


def test_nothing_but_links_is_answered(url: str):
    got = {path: requests.get(url + path, timeout=10).status_code for path in PATHS}
    sold = requests.post(f"{url}/lease/container", json={}, timeout=10)

    assert set(got.values()) == {404}
    assert sold.status_code == 404
    assert requests.get(f"{url}/guest/files/none", timeout=10).json()["code"] == "link_unknown"


def test_an_address_is_answered_only_so_often(url: str):
    with requests.Session() as session:  # more than twice as many, as a minute may end meanwhile
        answers = (session.get(f"{url}/guest/files/none", timeout=10) for _ in range(1300))
        refused = next(answer for answer in answers if answer.status_code != 404)

    assert refused.status_code == 429
    assert refused.json()["code"] == "rate_limited"
    assert 0 < int(refused.headers["retry-after"]) <= 60

"""Reading the address of a host and refusing what cannot work."""

from typing import Any

import pytest

from pve402.proxmox.options import ProxmoxOptions, TimeLimits, api_url, fingerprint_digest

TOKEN = {"token_id": "svc@pve!test", "token_secret": "secret"}
COLONS = ":".join(["AB"] * 32)


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("192.168.1.100", "https://192.168.1.100:8006/api2/json"),
        ("192.168.1.100:443", "https://192.168.1.100:443/api2/json"),
        ("pve.example", "https://pve.example:8006/api2/json"),
        ("https://pve.example", "https://pve.example:8006/api2/json"),
        ("https://pve.example:8006/", "https://pve.example:8006/api2/json"),
        ("https://pve.example:443", "https://pve.example/api2/json"),
        ("https://pve.example:8006/api2/json", "https://pve.example:8006/api2/json"),
        (" pve ", "https://pve:8006/api2/json"),
        ("fd00::1", "https://[fd00::1]:8006/api2/json"),
        ("[fd00::1]:8007", "https://[fd00::1]:8007/api2/json"),
        ("http://127.0.0.1:18006", "http://127.0.0.1:18006/api2/json"),
        ("http://localhost:18006", "http://localhost:18006/api2/json"),
    ],
)
def test_a_host_is_read_with_or_without_scheme_and_port(host: str, url: str) -> None:
    assert str(api_url(host)) == str(type(api_url(host))(url))


@pytest.mark.parametrize(
    "host",
    [
        "",
        "https://",
        "ftp://pve",
        "http://pve.example",
        "http://192.168.1.100:8006",
        "https://root:hunter22@pve",
        "https://pve/other",
        "https://pve/?a=b",
        "pve:99999",
        "pve:port",
        "[fd00::1",
    ],
)
def test_a_host_that_cannot_be_meant_is_refused_without_showing_it(host: str) -> None:
    with pytest.raises(ValueError, match=r"host|https") as caught:
        api_url(host)
    assert "hunter22" not in str(caught.value)


@pytest.mark.parametrize("text", [COLONS, COLONS.replace(":", ""), COLONS.lower(), f" {COLONS} "])
def test_a_fingerprint_is_read_with_or_without_colons(text: str) -> None:
    assert fingerprint_digest(text) == b"\xab" * 32


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"token_id": "svc@pve", "token_secret": "secret"},
        {"token_id": "svc!test", "token_secret": "secret"},
        {"token_id": "svc@pve!test", "token_secret": ""},
        {"token_id": "svc@pve!test", "token_secret": "hunter22\r\nX-Evil: 1"},
        {"token_id": "svc@pve!" + "t" * 57, "token_secret": "hunter22"},
        {"token_id": "svc@pve!te\nst", "token_secret": "hunter22"},
        {**TOKEN, "username": "a@pve", "password": "hunter22"},
        {"username": "a@pve"},
        {"username": "root", "password": "hunter22"},
        {**TOKEN, "fingerprint_sha256": "AB:CD"},
        {**TOKEN, "fingerprint_sha256": "zz" * 32},
    ],
)
def test_a_login_that_cannot_work_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"must|give") as caught:
        ProxmoxOptions(host="pve", **wrong)
    assert "hunter22" not in str(caught.value)


@pytest.mark.parametrize(
    "wrong",
    [
        {"read_seconds": 3},
        {"write_seconds": 0},
        {"connect_seconds": -1},
        {"idle_connection_seconds": 5},
    ],
)
def test_time_limits_that_proxmox_cannot_keep_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must"):
        TimeLimits(**wrong)

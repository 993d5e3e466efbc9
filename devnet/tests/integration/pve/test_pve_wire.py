"""Requests at the edge of HTTP: bodies, methods, lengths, compression, hostile characters."""

import json
import urllib.parse
from typing import Any

import pytest
from devnet.tests.integration.pve.conftest import Client

CREATE = "/api2/json/nodes/pve/lxc"


async def exchange(client: Client, method: str, path: str, **request: Any) -> tuple[int, str, str]:
    headers = {**client.headers, **request.pop("headers", {})}
    url = client.proxmox.base_url + path
    async with client.http.request(method, url, headers=headers, **request) as response:
        return response.status, response.reason or "", await response.text()


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "PATCH", "TRACE"])
async def test_other_methods_are_not_available(client: Client, method: str) -> None:
    status, reason, body = await exchange(client, method, "/api2/json/version")

    assert (status, reason, body) == (501, f"method '{method}' not available", "")


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("{nope", '\'"\' expected, at character offset 1 (before "nope")'),
        ("nope", "malformed JSON string"),
        ("[" * 100_000, "malformed JSON string"),
        ("[]", "Not a HASH reference"),
    ],
)
async def test_a_body_that_is_no_json_object(client: Client, body: str, text: str) -> None:
    headers = {"Content-Type": "application/json"}

    status, _, answer = await exchange(client, "POST", CREATE, data=body, headers=headers)

    assert status == 500
    assert answer.startswith(text)


async def test_a_body_of_another_kind(client: Client) -> None:
    headers = {"Content-Type": "text/xml"}

    status, reason, _ = await exchange(client, "POST", CREATE, data="<a/>", headers=headers)

    assert (status, reason) == (506, "upload 'Content-Type 'text/xml' not implemented")


async def test_a_body_beyond_half_a_mebibyte(client: Client) -> None:
    status, reason, _ = await exchange(client, "POST", CREATE, data={"x": "a" * 600_000})

    assert (status, reason) == (501, "for data too large")


async def test_a_body_without_a_length(client: Client) -> None:
    async def chunks() -> Any:
        yield b"vmid=100"

    status, reason, _ = await exchange(client, "POST", CREATE, data=chunks())

    assert (status, reason) == (501, "chunked transfer encoding not supported")


async def test_a_get_with_a_body(client: Client) -> None:
    status, reason, _ = await exchange(client, "GET", "/api2/json/version", data={"a": "b"})

    assert (status, reason) == (501, "Unexpected content for method 'GET'")


@pytest.mark.parametrize(
    "body",
    [
        '{"vmid": 1e400, "ostemplate": true}',
        '{"vmid": ' + "9" * 5000 + "}",
        '{"vmid": [100], "ostemplate": {"a": null}}',
        '{"vmid": null}',
        '{"ostemplate": "\\ud800"}',
    ],
)
async def test_hostile_json_is_a_parameter_error(client: Client, body: str) -> None:
    headers = {"Content-Type": "application/json"}

    status, _, answer = await exchange(client, "POST", CREATE, data=body, headers=headers)

    assert status == 400
    assert "vmid" in json.loads(answer)["errors"]


@pytest.mark.parametrize(
    ("characters", "expected"),
    [("\r\nX-Evil: 1", (501, "no such uri", "no such uri")), ("\rX", (400, "Bad Request", ""))],
)
async def test_a_line_end_never_reaches_the_status_line(
    client: Client, characters: str, expected: tuple[int, str, str]
) -> None:
    path = "/api2/json/no" + urllib.parse.quote(characters)

    assert await exchange(client, "GET", path) == expected


async def test_long_answers_are_compressed_for_who_asks(client: Client) -> None:
    url = f"{client.proxmox.base_url}/api2/json/access/permissions"
    for wanted, encoding in (("gzip", "gzip"), ("identity", None)):
        headers = {**client.headers, "Accept-Encoding": wanted}
        async with client.http.get(url, headers=headers) as response:
            assert response.headers.get("Content-Encoding") == encoding
            assert (await response.json())["data"]["/"]


async def test_refused_credentials_are_answered_late(client: Client) -> None:
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    client.proxmox.world.clock.sleep = sleep
    client.headers = {}

    status, reason, body = await exchange(client, "GET", "/api2/json/version")

    assert (status, reason, body) == (401, "No ticket", "")
    assert waits == [client.proxmox.options.auth_failure_seconds]


async def test_too_many_headers_close_the_connection(client: Client) -> None:
    headers = {f"X-{n}": "a" for n in range(70)}

    with pytest.raises(Exception, match=r"disconnected|reset"):
        await exchange(client, "POST", CREATE, headers=headers)

"""Messages of programs that are cut, too long, compressed, or no messages at all."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support import e2b_gateway
from tests.support.e2b_gateway import Gateway

from pve402.e2b import connect

START = "/process.Process/Start"
STREAM = {"Content-Type": "application/connect+json"}


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Gateway]:
    async with e2b_gateway.unserved(tmp_path) as made:
        yield made


async def test_a_stream_is_refused_by_its_last_message(gateway: Gateway) -> None:
    good = connect.envelope({"process": {"cmd": "true"}})
    cases = {
        b"": "missing",
        good[:-1]: "missing",
        b"\x01" + good[1:]: "compressed",
        b"\x00\xff\xff\xff\xff": "too long",
        b"\x00\x00\x00\x00\x03[1]": "not an object",
        b"\x00\x00\x00\x00\x01{": "not JSON",
        b"\x00\x00\x00\x75\x30" + b"[" * 30_000: "not JSON",
    }
    for sent, why in cases.items():
        headers = {**gateway.inside(), **STREAM}
        async with gateway.http.post(gateway.url + START, data=sent, headers=headers) as answer:
            said = await answer.read()

        assert (answer.status, said[0]) == (200, 2)
        assert why in connect.parsed(said[5:])["error"]["message"], sent[:20]


async def test_calls_that_cannot_be_read_are_refused(gateway: Gateway) -> None:
    cases = {
        ("/process.Process/SendInput", '{"process": 3}'): (400, "invalid_argument"),
        ("/process.Process/SendInput", '{"process": {"pid": 7}}'): (404, "not_found"),
        ("/process.Process/Connect", "[]"): (400, "invalid_argument"),
        ("/process.Process/Fly", "{}"): (501, "unimplemented"),
        ("/filesystem.Filesystem/Stat", "{}"): (401, "unauthenticated"),
        ("/filesystem.Filesystem/Stat", "{"): (400, "invalid_argument"),
    }
    headers = {**gateway.inside(), "Content-Type": "application/json", "Authorization": "Basic ?"}
    for (path, sent), (status, code) in cases.items():
        async with gateway.http.post(gateway.url + path, data=sent, headers=headers) as answer:
            said = await answer.read()
            told = connect.parsed(said[5:])["error"] if said[:1] == b"\2" else connect.parsed(said)

        assert told["code"] == code, path
        assert answer.status in {status, 200}


async def test_another_codec_is_told_so(gateway: Gateway) -> None:
    headers = {**gateway.inside(), "Content-Type": "application/proto"}
    async with gateway.http.post(gateway.url + START, data=b"", headers=headers) as answer:
        assert answer.status == 415


async def test_input_that_names_no_process_is_refused(gateway: Gateway) -> None:
    for message in ({"start": 3}, {"start": {"process": []}}, {"data": 3}):
        sent = connect.envelope(message)
        headers = {**gateway.inside(), **STREAM}
        url = f"{gateway.url}/process.Process/StreamInput"
        async with gateway.http.post(url, data=sent, headers=headers) as answer:
            said = await answer.read()

        assert connect.parsed(said[5:])["error"]["code"] == "invalid_argument", message

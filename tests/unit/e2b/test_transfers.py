"""Uploads that are cut, damaged or no uploads at all, and paths that are none."""

from __future__ import annotations

import gzip
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.support import e2b_gateway, tenant_service
from tests.support.e2b_gateway import Gateway
from tests.unit.e2b.test_hostile_service import Liar

from pve402 import client

PACKED = gzip.compress(b"x" * 100_000)
FORM = "multipart/form-data"


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Gateway]:
    async with (
        tenant_service.serving(Liar().handle) as service,
        client.Client(service.url, token="t" * 20) as tenant,
        e2b_gateway.running(tmp_path, tenant) as made,
    ):
        made.kept.keep(e2b_gateway.noted())
        yield made


@pytest.mark.parametrize(
    ("data", "headers", "why"),
    [
        (PACKED[:-9], {"Content-Encoding": "gzip"}, "not whole"),
        (PACKED + b"more", {"Content-Encoding": "gzip"}, "not whole"),
        (PACKED + b"x" * 200_000, {"Content-Encoding": "gzip"}, "not whole"),
        (b"x", {"Content-Encoding": "gzip"}, "not gzip"),
        (b"x", {"Content-Encoding": "br"}, "only gzip"),
        (b"x", {"Content-Type": FORM}, "the form cannot be read"),
        (b"x", {"Content-Type": f"{FORM}; boundary=b"}, "the form"),
        (b"--b\r\nA\r\n\r\nx", {"Content-Type": f"{FORM}; boundary=b"}, "the form"),
        (
            b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nx',
            {"Content-Type": f"{FORM}; boundary=b"},
            "the form cannot be read",
        ),
    ],
)
async def test_a_damaged_upload_is_refused(
    gateway: Gateway, data: bytes, headers: dict[str, str], why: str
) -> None:
    status, said, _ = await gateway.ask(
        "POST", "/files?path=a", data=data, headers={**gateway.inside(), **headers}
    )

    assert (status, said["code"]) == (400, 400)
    assert why in said["message"]


async def test_a_whole_upload_is_taken(gateway: Gateway) -> None:
    headers = {**gateway.inside(), "Content-Encoding": "gzip"}

    status, said, _ = await gateway.ask("POST", "/files?path=a", data=PACKED, headers=headers)

    assert (status, said[0]["name"]) == (200, "a")


@pytest.mark.parametrize("call", ["Stat", "ListDir", "MakeDir", "Remove"])
async def test_a_path_that_is_no_text_is_refused(gateway: Gateway, call: str) -> None:
    wish: dict[str, Any] = {"path": "/\ud800"}

    status, said, _ = await gateway.ask(
        "POST", f"/filesystem.Filesystem/{call}", json=wish, headers=gateway.inside()
    )

    assert (status, said["code"]) == (400, "invalid_argument")


async def test_a_machine_without_room_says_so(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "none"))

    status, said, _ = await gateway.ask(
        "POST", "/files?path=a", data=b"x", headers=gateway.inside()
    )

    assert (status, said["code"]) == (429, 429)
    assert said["message"].startswith("the gateway's machine cannot keep the file: ")


@pytest.mark.parametrize(
    ("code", "status", "answered"),
    [("file_refused", 409, 400), ("file_exists", 409, 409), ("too_many_streams", 429, 429)],
)
async def test_refusals_of_the_service_are_told_in_words(
    tmp_path: Path, code: str, status: int, answered: int
) -> None:
    refusing = tenant_service.says({"code": code, "detail": "It cannot be."}, status)
    async with (
        tenant_service.tenant_of(refusing) as tenant,
        e2b_gateway.running(tmp_path, tenant) as made,
    ):
        made.kept.keep(e2b_gateway.noted())

        found, said, _ = await made.ask("GET", "/files?path=/etc", headers=made.inside())

    assert found == said["code"] == answered
    assert "_" not in said["message"].replace("file_exists", "")

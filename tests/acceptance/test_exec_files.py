"""Files into containers and out of them."""

from __future__ import annotations

import base64
import hashlib
import os

import pytest
import requests
from tests.support import commands
from tests.support.commands import Container
from tests.support.processes import ServeProcess


@pytest.fixture(scope="module")
def container(service: ServeProcess) -> Container:
    """A container for the tests of this module."""
    return commands.lease(service)


def _put(container: Container, path: str, data: bytes, **more: str) -> requests.Response:
    headers = {**container.bearer, **more.pop("headers", {})}  # type: ignore[dict-item]
    query = {"path": path, **more}
    return requests.put(container.files_url, params=query, data=data, headers=headers, timeout=60)


def _get(container: Container, path: str, **headers: str) -> requests.Response:
    return requests.get(
        container.files_url,
        params={"path": path},
        headers={**container.bearer, **headers},
        timeout=60,
    )


def _digest(data: bytes) -> str:
    return f"sha-256=:{base64.b64encode(hashlib.sha256(data).digest()).decode()}:"


def test_a_file_goes_in_and_comes_out_unchanged(container: Container):
    data = os.urandom(700_001)

    put = _put(container, "/root/data.bin", data)
    got = _get(container, "/root/data.bin")

    code = hashlib.sha256(data).hexdigest()
    answer = put.json()
    assert answer.pop("bytesPerSecond") > 0
    assert answer == {
        "ctid": container.ctid,
        "path": "/root/data.bin",
        "sizeBytes": 700_001,
        "mode": "0644",
        "sha256": code,
        "via": "terminal",
    }
    assert got.content == data
    assert (got.headers["etag"], got.headers["repr-digest"]) == (f'"{code}"', _digest(data))


def test_the_mode_is_set_and_told(container: Container):
    _put(container, "/root/tool", b"#!/bin/sh\necho it runs\n", mode="0755")

    assert container.run(argv=["/root/tool"])["stdout"] == "it runs\n"
    assert _get(container, "/root/tool").headers["pve402-file-mode"] == "0755"


def test_an_empty_file_is_a_file(container: Container):
    assert _put(container, "/root/empty", b"").json()["sizeBytes"] == 0
    assert _get(container, "/root/empty").content == b""


def test_a_path_may_hold_anything(container: Container):
    path = "/root/it's a $(name) -- é"

    _put(container, path, b"found")

    assert _get(container, path).content == b"found"


def test_a_body_without_its_checksum_changes_nothing(container: Container):
    _put(container, "/root/kept", b"old")

    refused = _put(container, "/root/kept", b"new", headers={"Content-Digest": _digest(b"other")})
    taken = _put(container, "/root/new", b"new", headers={"Content-Digest": _digest(b"new")})

    assert (refused.status_code, taken.status_code) == (422, 200)
    assert _get(container, "/root/kept").content == b"old"
    assert container.output("ls -a /root | grep pve402- || echo none") == "none\n"


def test_a_file_that_is_known_is_not_sent_again(container: Container):
    etag = _put(container, "/root/same", b"same").headers["etag"]

    again = _get(container, "/root/same", **{"If-None-Match": etag})

    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/no/such/file", 404, "file_missing"),
        ("/etc", 409, "file_refused"),
        ("relative", 422, "invalid_request"),
        ("", 422, "invalid_request"),
        ("/root/", 422, "invalid_request"),
        ("/" + "x" * 4096, 422, "invalid_request"),
    ],
)
def test_what_is_no_file_is_refused(container: Container, path: str, status: int, code: str):
    reply = _get(container, path)

    assert (reply.status_code, reply.json()["code"]) == (status, code)


@pytest.mark.parametrize(
    ("path", "more", "status"),
    [
        ("/no/such/place/file", {}, 404),
        ("/root/x", {"mode": "rwx"}, 422),
        ("/root/x", {"headers": {"Content-Digest": "md5=:AAAA:"}}, 422),
        ("/etc", {}, 409),
    ],
)
def test_what_cannot_be_written_is_refused(container: Container, path, more, status):
    assert _put(container, path, b"x", **more).status_code == status


def test_an_announced_size_beyond_the_limit_is_refused_unread(container: Container):
    reply = requests.put(
        container.files_url,
        params={"path": "/root/huge"},
        data=b"",
        headers={**container.bearer, "Content-Length": str(2**40)},
        timeout=30,
    )

    assert (reply.status_code, reply.json()["code"]) == (413, "file_too_large")


def test_a_broken_upload_leaves_nothing_behind(container: Container):
    def half():
        yield b"x" * 100_000
        raise ConnectionError("the client fell over")

    with pytest.raises(requests.ConnectionError):
        requests.put(
            container.files_url,
            params={"path": "/root/broken"},
            data=half(),
            headers=container.bearer,
            timeout=30,
        )

    assert _get(container, "/root/broken").status_code == 404
    wait = "for i in 1 2 3 4 5 6 7 8 9; do ls -a /root | grep -q pve402- || break; sleep 1; done"
    assert container.output(f"{wait}; ls -a /root | grep pve402- || echo none") == "none\n"


@pytest.mark.parametrize("name", ["é", "日本", "a b", "a+b", "%25", "a%b", "it's", "new\nline"])
def test_a_name_of_any_characters_is_kept(container: Container, name: str):
    put = _put(container, f"/tmp/{name}", b"named")

    assert put.json()["path"] == f"/tmp/{name}"
    assert _get(container, f"/tmp/{name}").content == b"named"
    assert container.run(argv=["test", "-f", f"/tmp/{name}"])["exitCode"] == 0


def test_a_file_is_made_once_and_replaced_only_by_who_knows_it(container: Container):
    first = _put(container, "/root/once", b"first", headers={"If-None-Match": "*"})  # type: ignore[arg-type]
    again = _put(container, "/root/once", b"again", headers={"If-None-Match": "*"})  # type: ignore[arg-type]
    etag = first.headers["etag"]
    replaced = _put(container, "/root/once", b"second", headers={"If-Match": etag})  # type: ignore[arg-type]
    stale = _put(container, "/root/once", b"third", headers={"If-Match": etag})  # type: ignore[arg-type]
    missing = _put(container, "/root/never", b"x", headers={"If-Match": "*"})  # type: ignore[arg-type]

    statuses = [reply.status_code for reply in (first, again, replaced, stale, missing)]
    assert statuses == [200, 412, 200, 412, 412]
    assert _get(container, "/root/once").content == b"second"


GROWING = {
    "by lines": "while :; do date >>{0}; sleep 0.01; done",
    "by blocks": "while :; do head -c 70000 /dev/zero >>{0}; sleep 0.05; done",
    "slowly": "while :; do echo x >>{0}; sleep 0.05; done",
    "from nothing": ": >{0}; while :; do echo $$ >>{0}; sleep 0.01; done",
    "by a program": "(while :; do echo y; sleep 0.01; done) >>{0}",
}


@pytest.mark.parametrize("how", GROWING)
def test_a_file_that_grows_is_read_as_it_was_at_one_moment(container: Container, how: str):
    path = f"/tmp/grows-{how.replace(' ', '-')}.log"
    script = f"echo first >{path}; {GROWING[how].format(path)}"
    grower = container.run(command=script, detach=True, timeoutSeconds=20)["execId"]

    replies = [_get(container, path) for _ in range(2)]

    container.call("DELETE", grower)
    for reply in replies:
        assert reply.status_code == 200
        assert int(reply.headers["content-length"]) == len(reply.content)
        assert reply.headers["repr-digest"] == _digest(reply.content)


def test_a_range_of_a_file_comes_out_if_it_is_still_the_one_known(container: Container):
    data = os.urandom(200_000)
    etag = _put(container, "/root/ranged", data).headers["etag"]

    part = _get(container, "/root/ranged", Range="bytes=1000-150999", **{"If-Range": etag})
    last = _get(container, "/root/ranged", Range="bytes=-5")
    other = _get(container, "/root/ranged", Range="bytes=0-0", **{"If-Range": '"other"'})
    behind = _get(container, "/root/ranged", Range="bytes=200000-")

    assert (part.status_code, part.headers["content-range"]) == (206, "bytes 1000-150999/200000")
    assert part.content == data[1000:151_000]
    assert part.headers["etag"] == etag
    assert (last.status_code, last.content) == (206, data[-5:])
    assert (other.status_code, other.content) == (200, data)
    assert (behind.status_code, behind.json()["code"]) == (416, "range_unsatisfiable")
    assert behind.headers["content-range"] == "bytes */200000"


def test_a_folder_goes_out_and_in_as_an_archive(container: Container):
    container.output("mkdir -p /root/site/css /root/copy; echo hi >/root/site/css/main; ")
    where = f"{container.service.url}/management/archives/{container.ctid}"

    def call(method: str, path: str, **more: str | bytes) -> requests.Response:
        query = {"path": path, **{k: v for k, v in more.items() if k != "data"}}
        return requests.request(
            method,
            where,
            params=query,
            data=more.get("data"),
            headers=container.bearer,
            timeout=60,
        )

    packed = call("GET", "/root/site", format="tar.gz")
    unpacked = call("PUT", "/root/copy", data=packed.content)
    refused = [
        call("GET", "/root/none"),
        call("GET", "/root/site/css/main"),
        call("GET", "/root/site", format="zip"),
        call("PUT", "/root/none", data=packed.content),
        call("PUT", "/root/copy", data=b"no archive" * 100),
    ]

    assert packed.headers["content-type"] == "application/gzip"
    assert unpacked.json()["sizeBytes"] == len(packed.content)
    assert container.output("cat /root/copy/css/main; ls -A /root/copy") == "hi\ncss\n"
    assert [(one.status_code, one.json()["code"]) for one in refused] == [
        (404, "file_missing"),
        (409, "not_a_folder"),
        (422, "invalid_request"),
        (404, "file_missing"),
        (409, "archive_refused"),
    ]

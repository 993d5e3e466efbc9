"""Files through the client: what can be put, how one that comes is checked, where it goes."""

import hashlib
import os
import socket
import stat
import threading
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path

import pytest
from aiohttp import web
from tests.support import tenant_service

from pve402 import client
from pve402.client import files

DATA = b"hello world"
SHA256 = b64encode(hashlib.sha256(DATA).digest()).decode()
FILE = {"ctid": "10000", "path": "/x", "sizeBytes": 0, "mode": None, "sha256": None}


class Store:
    """Keeps what is put, with its digest and mode."""

    def __init__(self, change: Callable[[], None] | None = None) -> None:
        self._change = change
        self.put: list[bytes] = []
        self.modes: list[str] = []
        self.digests_fit: list[bool] = []

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.content.readany()
        if self._change is not None:
            self._change()
        body += await request.content.read()
        told = request.headers["Content-Digest"].removeprefix("sha-256=:").removesuffix(":")
        self.put.append(body)
        self.modes.append(request.query["mode"])
        self.digests_fit.append(told == b64encode(hashlib.sha256(body).digest()).decode())
        if not self.digests_fit[-1]:
            return web.json_response({"detail": "wrong", "code": "invalid_request"}, status=422)
        return web.json_response(FILE)


async def _put(local: Path, mode: int | None = None, store: Store | None = None) -> Store:
    store = store or Store()
    async with (
        tenant_service.serving(store.handle) as service,
        client.Client(service.url, token="t" * 20) as tenant,
    ):
        await files.put_file(tenant, "10000", local, "/root/x", mode=mode)
    return store


def _files(folder: Path) -> list[Path]:
    return list(folder.iterdir())


def _written(path: Path, data: bytes) -> threading.Thread:
    writer = threading.Thread(target=path.write_bytes, args=(data,))
    writer.start()
    return writer


@pytest.mark.parametrize("size", [0, 1, 65536, 65537, 3_000_000])
@pytest.mark.parametrize("kind", ["file", "link", "fifo", "pipe", "descriptor"])
async def test_whatever_can_be_read_is_put_whole(tmp_path: Path, kind: str, size: int) -> None:
    data, path = os.urandom(size), tmp_path / "it"
    if kind in {"file", "link"}:
        (tmp_path / "real").write_bytes(data)
        (tmp_path / "real").chmod(0o640)
        path.symlink_to(tmp_path / "real")
        store = await _put(path if kind == "link" else tmp_path / "real")
    elif kind == "fifo":
        os.mkfifo(path)
        writer = _written(path, data)
        store = await _put(path)
        writer.join()
    else:
        reading, writing = os.pipe()
        writer = _written(Path(f"/dev/fd/{writing}"), data)
        writer.join(0.2)
        os.close(writing)
        folder = "/dev/fd" if kind == "pipe" else f"/proc/{os.getpid()}/fd"
        store = await _put(Path(f"{folder}/{reading}"))
        writer.join()
        os.close(reading)

    assert (store.put, store.digests_fit) == ([data], [True])
    assert store.modes == ["0640" if kind in {"file", "link"} else "0644"]


@pytest.mark.parametrize("path", ["/proc/version", "/proc/self/status", "/proc/self/environ"])
async def test_a_file_without_a_size_is_put_whole(path: str) -> None:
    store = await _put(Path(path), mode=0o600)

    assert store.digests_fit == [True]
    assert store.put[0] or path.endswith("environ")


@pytest.mark.parametrize("how", ["written on", "cut off", "written over", "replaced", "removed"])
async def test_a_file_may_change_while_it_is_put(tmp_path: Path, how: str) -> None:
    path, data = tmp_path / "it", os.urandom(8_000_000)
    path.write_bytes(data)

    def change() -> None:
        if how == "written on":
            with path.open("ab") as file:
                file.write(b"more" * 100_000)
        elif how == "cut off":
            os.truncate(path, 70_000)
        elif how == "written over":
            path.write_bytes(bytes(8_000_000))
        elif how == "replaced":
            (tmp_path / "new").write_bytes(b"new")
            (tmp_path / "new").rename(path)
        else:
            path.unlink()

    store = Store(change)
    if how in {"cut off", "written over"}:
        with pytest.raises(client.FileDamaged, match="it changed while it was read"):
            await _put(path, store=store)
        assert store.digests_fit == [False]
        return
    await _put(path, store=store)
    assert (store.put, store.digests_fit) == ([data], [True])


@pytest.mark.parametrize("kind", ["file", "pipe", "socket", "impatient pipe", "empty"])
async def test_stdin_is_read_on_from_where_it_is(tmp_path: Path, kind: str) -> None:
    if kind in {"file", "empty"}:
        path = tmp_path / "it"
        path.write_bytes(b"taken" if kind == "empty" else b"takenrest")
        path.chmod(0o750)
        given = os.open(path, os.O_RDONLY)
        assert os.read(given, 5) == b"taken"
    elif kind == "socket":
        ours, theirs = socket.socketpair()
        ours.sendall(b"rest")
        ours.close()
        given = theirs.detach()
    else:
        given, writing = os.pipe()
        os.set_blocking(given, kind == "pipe")
        threading.Timer(0.1, lambda: (os.write(writing, b"rest"), os.close(writing))).start()
    before = os.dup(0)
    os.dup2(given, 0)
    try:
        store = await _put(Path("/dev/stdin"))
    finally:
        os.dup2(before, 0)
        os.close(before)
        os.close(given)

    assert (store.put, store.digests_fit) == ([b"" if kind == "empty" else b"rest"], [True])
    assert store.modes == ["0750" if kind in {"file", "empty"} else "0644"]


async def test_a_device_without_content_is_an_empty_file() -> None:
    store = await _put(Path("/dev/null"), mode=0o600)

    assert (store.put, store.modes) == ([b""], ["0600"])


async def test_what_never_ends_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "LARGEST_FILE_BYTES", 1_000_000)

    with pytest.raises(client.FileTooLarge, match=r"/dev/zero is larger than 1000000 bytes"):
        await _put(Path("/dev/zero"))


async def test_a_file_that_the_service_does_not_take_is_not_sent(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(files, "LARGEST_FILE_BYTES", 10)
    (tmp_path / "large").write_bytes(DATA)

    with pytest.raises(client.FileTooLarge):
        await _put(tmp_path / "large")


@pytest.mark.parametrize("kind", ["missing", "folder", "socket", "dangling", "below a file"])
async def test_what_cannot_be_read_is_an_error_of_the_system(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "it"
    if kind == "folder":
        path.mkdir()
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(str(path))
    elif kind == "dangling":
        path.symlink_to(tmp_path / "nothing")
    elif kind == "below a file":
        path.write_bytes(b"")
        path /= "x"

    with pytest.raises(OSError, match=str(tmp_path)):
        await _put(path)


@pytest.mark.parametrize(
    ("digest", "fits"),
    [
        (f"sha-256=:{SHA256}:", True),
        (f" SHA-256=:{SHA256}: ", True),
        (f"sha-512=:AA==:, sha-256=:{SHA256}:", True),
        (f"sha-256=:{SHA256}:, md5=:AA==:", True),
        ("sha-512=:AA==:", True),
        ("", True),
        ("sha-256=:AA==:", False),
        ("md5=:AA==:,sha-256=:AA==:", False),
    ],
)
async def test_a_file_is_checked_by_its_digest(tmp_path: Path, digest: str, fits: bool) -> None:
    local = tmp_path / "it"
    headers = {"Repr-Digest": digest} if digest else {}
    async with (
        tenant_service.serving(tenant_service.file(DATA, **headers)) as service,
        client.Client(service.url, token="t" * 20) as tenant,
    ):
        if not fits:
            with pytest.raises(client.FileDamaged):
                await files.get_file(tenant, "10000", "/etc/a b", local)
        else:
            assert await files.get_file(tenant, "10000", "/etc/a b", local) == len(DATA)

    assert [file.read_bytes() for file in _files(tmp_path)] == ([DATA] if fits else [])
    assert service.asked[0].path == "/management/files/10000?path=/etc/a%20b"


@pytest.mark.parametrize("kind", ["new", "file", "link", "fifo", "null"])
async def test_a_file_comes_to_where_it_should(tmp_path: Path, kind: str) -> None:
    local, real = tmp_path / "it", tmp_path / "real"
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(local.read_bytes()))
    if kind == "file":
        local.write_bytes(b"before")
    elif kind == "link":
        real.write_bytes(b"before")
        local.symlink_to(real)
    elif kind == "fifo":
        os.mkfifo(local)
        reader.start()
    elif kind == "null":
        local = Path("/dev/null")

    async with (
        tenant_service.serving(tenant_service.file(DATA)) as service,
        client.Client(service.url, token="t" * 20) as tenant,
    ):
        await files.get_file(tenant, "10000", "/etc/hosts", local)

    if kind == "null":
        assert stat.S_ISCHR(local.stat().st_mode)
    elif kind == "fifo":
        reader.join()
        assert read == [DATA]
        assert local.is_fifo()
    else:
        assert local.read_bytes() == DATA
        assert local.is_symlink() is (kind == "link")


@pytest.mark.parametrize(("limit", "comes"), [(11, True), (10, False), (0, False), (12, True)])
async def test_a_download_is_bounded(tmp_path: Path, limit: int, comes: bool) -> None:
    local = tmp_path / "it"
    async with (
        tenant_service.serving(tenant_service.file(DATA)) as service,
        client.Client(service.url, token="t" * 20) as tenant,
    ):
        if comes:
            await files.get_file(tenant, "10000", "/x", local, most_bytes=limit)
        else:
            with pytest.raises(client.FileTooLarge, match=str(limit)):
                await files.get_file(tenant, "10000", "/x", local, most_bytes=limit)

    assert _files(tmp_path) == ([local] if comes else [])


async def test_a_page_is_not_taken_for_a_file(tmp_path: Path) -> None:
    async with (
        tenant_service.serving(tenant_service.says("<html>")) as service,
        client.Client(service.url, token="t" * 20) as tenant,
    ):
        with pytest.raises(client.UnexpectedAnswer, match="not a file"):
            await files.get_file(tenant, "10000", "/etc/hosts", tmp_path / "it")

    assert _files(tmp_path) == []

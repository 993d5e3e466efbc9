"""Files both ways, whole or not at all."""

import hashlib
import os
from collections.abc import AsyncIterator

import pytest

from pve402.hub import errors
from pve402.hub.files import Files
from pve402.hub.hub import Hub
from pve402.hub.request import ExecRequest
from pve402.proxmox.guests import GuestRef

pytestmark = pytest.mark.namespaces


async def test_file_goes_in_and_comes_out_unchanged(hub: Hub, any_guest: GuestRef) -> None:
    files, data = Files(hub), os.urandom(150_000)
    path = "/tmp/a file 'x' ü"
    put = await files.put_file(any_guest, path, _chunks(data), mode=0o640)
    assert put.sha256 == hashlib.sha256(data).hexdigest()
    download = await files.get_file(any_guest, path)
    assert download.info.size_bytes == len(data)
    assert download.info.mode == 0o640
    assert b"".join([chunk async for chunk in download.chunks]) == data


async def test_large_file_comes_out_in_pieces(hub: Hub, guest: GuestRef) -> None:
    make = "seq 1 900000 >/tmp/large; sha256sum </tmp/large"
    digest = (await hub.exec(guest, ExecRequest(command=make))).stdout.split()[0].decode()
    download = await Files(hub).get_file(guest, "/tmp/large")
    pieces = [chunk async for chunk in download.chunks]
    assert hashlib.sha256(b"".join(pieces)).hexdigest() == digest == download.info.sha256
    assert len(pieces) > 2


async def test_empty_file(hub: Hub, any_guest: GuestRef) -> None:
    files = Files(hub)
    await files.put_file(any_guest, "/tmp/empty", _chunks(b""))
    download = await files.get_file(any_guest, "/tmp/empty")
    assert (download.info.size_bytes, [chunk async for chunk in download.chunks]) == (0, [])


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("/no/such/dir/file", errors.FileMissing),
        ("/tmp", errors.FileRefused),
        ("relative", errors.RequestRefused),
        ("/tmp/", errors.RequestRefused),
        ("/proc/1/nothing", errors.FileRefused),
    ],
)
async def test_paths_that_cannot_be_written(
    hub: Hub, guest: GuestRef, path: str, error: type[Exception]
) -> None:
    with pytest.raises(error):
        await Files(hub).put_file(guest, path, _chunks(b"data"))


async def test_a_missing_directory_is_said_to_be_missing(hub: Hub, any_guest: GuestRef) -> None:
    with pytest.raises(errors.FileMissing, match="no such directory"):
        await Files(hub).put_file(any_guest, "/no/such/dir/file", _chunks(b"data"))


async def test_missing_file_and_directory_cannot_be_read(hub: Hub, guest: GuestRef) -> None:
    with pytest.raises(errors.FileMissing):
        await Files(hub).get_file(guest, "/tmp/not-there")
    with pytest.raises(errors.FileRefused):
        await Files(hub).get_file(guest, "/tmp")


async def test_limits_leave_nothing_behind(hub: Hub, guest: GuestRef) -> None:
    files = Files(hub)
    with pytest.raises(errors.FileTooLarge):
        await files.put_file(guest, "/tmp/big", _chunks(b"x" * 9000), limit_bytes=5000)
    with pytest.raises(errors.RequestRefused):
        await files.put_file(guest, "/tmp/big", _chunks(b"x"), sha256="0" * 64)
    listed = await hub.exec(guest, ExecRequest(command="ls -A /tmp | grep -e big -e pve402"))
    assert listed.stdout == b""


async def test_source_that_breaks_leaves_nothing_behind(hub: Hub, guest: GuestRef) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"x" * 5000
        raise ConnectionError

    with pytest.raises(ConnectionError):
        await Files(hub).put_file(guest, "/tmp/broken", broken())
    listed = await hub.exec(guest, ExecRequest(command="ls -A /tmp | grep -e broken -e pve402"))
    assert listed.stdout == b""


async def test_reading_beyond_the_limit_is_refused(hub: Hub, guest: GuestRef) -> None:
    with pytest.raises(errors.FileTooLarge):
        await Files(hub).get_file(guest, "/etc/passwd", limit_bytes=3)


async def _chunks(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), 7000):
        yield data[start : start + 7000]

"""Files both ways, whole or not at all."""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator

import pytest
from tests.support import guest_consoles
from tests.support.guest_consoles import shared_hub  # noqa: F401

from pve402.hub import errors
from pve402.hub.files import FileInfo, Files
from pve402.hub.hub import Hub
from pve402.hub.request import ExecRequest
from pve402.proxmox.guests import GuestRef

pytestmark = guest_consoles.SHARING_A_HUB


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


async def _in(hub: Hub, guest: GuestRef, command: str) -> str:
    result = await hub.exec(guest, ExecRequest(command=command))
    assert result.exit_code == 0, result.stderr
    return result.stdout.decode()


@pytest.mark.parametrize(
    ("make", "path", "written", "facts"),
    [
        ("echo old >f; chmod 600 f; chown 1000:1001 f", "f", "f", "600 1000 1001"),
        ("echo old >f; chown 1000:1000 f; chmod 4755 f", "f", "f", "4755 1000 1000"),
        ("echo old >f; chmod 444 f", "f", "f", "444 0 0"),
        ("echo old >f; chmod 640 f; ln -s f g", "g", "f", "640 0 0"),
        (
            "mkdir e; echo old >e/f; chmod 600 e/f; ln -s e/f g; ln -s $PWD/g h",
            "h",
            "e/f",
            "600 0 0",
        ),
        ("mkdir e; ln -s ../d/e/new g", "g", "e/new", "644 0 0"),
        ("mkdir e; ln -s e l", "l/f", "e/f", "644 0 0"),
        ("echo old >f; chmod 611 f; ln f g; chown 7:8 g", "f", "f", "611 7 8"),
        ("true", "new", "new", "644 0 0"),
        ("echo old >'-n'; chmod 700 ./-n", "-n", "-n", "700 0 0"),
        ("echo old >'a b'; ln -s 'a b' 'c d'", "c d", "a b", "644 0 0"),
    ],
)
async def test_a_file_that_is_there_keeps_what_is_its_own(
    hub: Hub, any_guest: GuestRef, make: str, path: str, written: str, facts: str
) -> None:
    await _in(hub, any_guest, f"rm -rf /tmp/d; mkdir /tmp/d; cd /tmp/d; {make}")
    before = await _in(hub, any_guest, "cd /tmp/d; find . -type l | sort")

    put = await Files(hub).put_file(any_guest, f"/tmp/d/{path}", _chunks(b"new"))

    stat = f"cd /tmp/d; cat './{written}'; stat -c ' %a %u %g' './{written}'"
    assert (await _in(hub, any_guest, stat)).strip() == f"new {facts}"
    assert put.mode == int(facts.split(maxsplit=1)[0], 8)
    assert await _in(hub, any_guest, "cd /tmp/d; find . -type l | sort") == before
    assert not await _in(hub, any_guest, "find /tmp/d -name '.pve402*'")


async def test_other_names_of_a_replaced_file_keep_the_old_one(
    hub: Hub, any_guest: GuestRef
) -> None:
    await _in(hub, any_guest, "rm -rf /tmp/d; mkdir /tmp/d; cd /tmp/d; printf old >f; ln f g")

    await Files(hub).put_file(any_guest, "/tmp/d/f", _chunks(b"new"))

    assert await _in(hub, any_guest, "cd /tmp/d; cat f g; stat -c %h f g") == "newold1\n1\n"


async def test_another_mode_is_given_where_it_is_asked_for(hub: Hub, any_guest: GuestRef) -> None:
    await _in(
        hub, any_guest, "rm -rf /tmp/d; mkdir /tmp/d; cd /tmp/d; : >f; chown 5:6 f; ln -s f g"
    )

    put = await Files(hub).put_file(any_guest, "/tmp/d/g", _chunks(b"new"), mode=0o751)

    assert put.mode == 0o751
    assert (await _in(hub, any_guest, "stat -c '%a %u %g' /tmp/d/f")).strip() == "751 5 6"


@pytest.mark.parametrize("path", ["/dev/null", "/tmp/d/fifo", "/tmp/d/to-device", "/tmp/d/loop"])
async def test_what_is_no_file_is_not_replaced(hub: Hub, any_guest: GuestRef, path: str) -> None:
    make = "mkfifo fifo; ln -s /dev/null to-device; ln -s loop loop"
    await _in(hub, any_guest, f"rm -rf /tmp/d; mkdir /tmp/d; cd /tmp/d; {make}; ls -l /dev/null")

    with pytest.raises(errors.FileRefused):
        await Files(hub).put_file(any_guest, path, _chunks(b"new"))

    assert (await _in(hub, any_guest, f"[ -f {path} ] || echo as before")).strip() == "as before"


@pytest.mark.parametrize("size", [1, 65_535, 65_537, 2_100_000])
async def test_of_a_growing_file_what_was_summed_is_read(
    hub: Hub, any_guest: GuestRef, size: int
) -> None:
    make = f"head -c {size} /dev/zero | tr '\\0' x >/tmp/log"
    await _in(hub, any_guest, make)
    grow = "while :; do echo more >>/tmp/log; done"
    growing = await hub.start(any_guest, ExecRequest(command=grow))
    try:
        for _ in range(3):
            download = await Files(hub).get_file(any_guest, "/tmp/log")
            data = b"".join([chunk async for chunk in download.chunks])
            assert len(data) == download.info.size_bytes >= size
            assert hashlib.sha256(data).hexdigest() == download.info.sha256
            assert data.startswith(b"x" * size)
    finally:
        growing.cancel()
        await growing.wait()


@pytest.mark.parametrize(
    "path",
    [
        "/proc/self/stat",
        "/proc/uptime",
        "/proc/self/status",
        "/proc/sys/kernel/random/uuid",
        "/tmp/changes",
        "/tmp/shrinks",
    ],
)
async def test_of_a_file_that_changes_what_is_read_is_summed(
    hub: Hub, any_guest: GuestRef, path: str
) -> None:
    write = "while :; do echo $$ $n >/tmp/changes; head -c $((n % 900)) /dev/zero >/tmp/shrinks;"
    changing = await hub.start(
        any_guest, ExecRequest(command=f"n=9; {write} n=$((n + 1)); sleep 0.01; done")
    )
    try:
        await _in(hub, any_guest, f"while ! [ -e {path} ]; do sleep 0.1; done")
        for _ in range(3):
            download = await Files(hub).get_file(any_guest, path)
            data = b"".join([chunk async for chunk in download.chunks])
            assert len(data) == download.info.size_bytes
            assert hashlib.sha256(data).hexdigest() == download.info.sha256
    finally:
        changing.cancel()
        await changing.wait()


async def test_a_large_file_that_changed_never_arrives_whole(hub: Hub, guest: GuestRef) -> None:
    await _in(hub, guest, "head -c 2200000 /dev/zero >/tmp/changed")
    download = await Files(hub).get_file(guest, "/tmp/changed")
    await _in(hub, guest, "head -c 2200000 /dev/zero | tr '\\0' x >/tmp/changed")
    arrived = 0

    async def read() -> None:
        nonlocal arrived
        async for chunk in download.chunks:
            arrived += len(chunk)

    with pytest.raises(errors.OutputDamaged):
        await read()
    assert arrived < download.info.size_bytes


@pytest.mark.parametrize("count", [2, 5])
async def test_of_uploads_under_one_condition_only_one_is_kept(
    hub: Hub, any_guest: GuestRef, count: int
) -> None:
    files, before = Files(hub), hashlib.sha256(b"before").hexdigest()
    await files.put_file(any_guest, "/tmp/once", _chunks(b"before"))
    arrived = asyncio.Barrier(count)

    async def body(number: int) -> AsyncIterator[bytes]:
        await arrived.wait()
        yield str(number).encode()

    def check(found: FileInfo | None) -> None:
        if found is None or found.sha256 != before:
            raise Changed

    ended = await asyncio.gather(
        *(
            files.put_file(any_guest, "/tmp/once", body(number), check=check)
            for number in range(count)
        ),
        return_exceptions=True,
    )

    kept = [number for number, end in enumerate(ended) if not isinstance(end, Changed)]
    assert len(kept) == 1
    assert await _in(hub, any_guest, "cat /tmp/once") == str(kept[0])
    assert not await _in(hub, any_guest, "find /tmp -name '.pve402-[0-9a-f]*' -type f")


async def test_what_the_guest_wrote_during_a_conditional_upload_stays(
    hub: Hub, any_guest: GuestRef
) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b"ours"
        await _in(hub, any_guest, "echo theirs >/tmp/made-meanwhile")

    def check(found: FileInfo | None) -> None:
        if found is not None:
            raise Changed

    await _in(hub, any_guest, "rm -f /tmp/made-meanwhile")
    with pytest.raises(Changed):
        await Files(hub).put_file(any_guest, "/tmp/made-meanwhile", body(), check=check)

    assert await _in(hub, any_guest, "cat /tmp/made-meanwhile") == "theirs\n"


class Changed(Exception):
    """The file is not what the upload is meant for."""


@pytest.mark.parametrize(
    ("first", "size"), [(0, 1), (65_535, 2), (70_000, 4_000_000), (6_099_990, 10), (3, 6_099_997)]
)
async def test_a_part_of_a_file_comes_out(
    hub: Hub, any_guest: GuestRef, first: int, size: int
) -> None:
    await _in(hub, any_guest, "yes 0123456789abcdefghi | head -c 6100000 >/tmp/numbers")
    download = await Files(hub).get_file(any_guest, "/tmp/numbers")
    whole = (b"0123456789abcdefghi\n" * 305_000)[first : first + size]
    assert b"".join([chunk async for chunk in download.part(first, size)]) == whole


async def test_a_part_of_a_file_that_changes_does_not_end(hub: Hub, guest: GuestRef) -> None:
    await _in(hub, guest, "head -c 3000000 /dev/zero >/tmp/changing")
    download = await Files(hub).get_file(guest, "/tmp/changing")
    reading = download.part(10, 2_900_000)
    await anext(reading)
    await _in(hub, guest, "head -c 3000000 /dev/urandom >/tmp/changing")
    with pytest.raises(errors.OutputDamaged):
        await anext(reading)


async def test_a_large_file_is_summed_only_if_asked(hub: Hub, guest: GuestRef) -> None:
    await _in(hub, guest, "truncate -s 70000000 /tmp/sparse")
    files = Files(hub)
    assert (await files.get_file(guest, "/tmp/sparse")).info.sha256 == ""
    summed = await files.get_file(guest, "/tmp/sparse", is_summed=True)
    assert summed.info.sha256 == hashlib.sha256(bytes(70_000_000)).hexdigest()


async def test_a_folder_comes_out_and_goes_in_as_an_archive(hub: Hub, any_guest: GuestRef) -> None:
    files = Files(hub)
    await _in(
        hub,
        any_guest,
        "mkdir -p /tmp/in/a /tmp/out && cd /tmp/in && head -c 100000 /dev/urandom >a/b && "
        "ln -s a/b link && chmod 640 a/b && touch ./-x",
    )
    for is_packed in (False, True):
        archive = await files.get_archive(any_guest, "/tmp/in", is_packed=is_packed)
        data = b"".join([chunk async for chunk in archive])
        put = await files.put_archive(any_guest, "/tmp/out", _chunks(data))
        assert put.sha256 == hashlib.sha256(data).hexdigest()
        listed = await _in(
            hub,
            any_guest,
            "cd /tmp/out && cmp a/b ../in/a/b && stat -c %a a/b && readlink link && ls -A && "
            "rm -r ./*",
        )
        assert listed.split() == ["640", "a/b", "-x", "a", "link"]


@pytest.mark.parametrize(
    ("folder", "data", "error"),
    [
        ("/no/such", b"", errors.FileMissing),
        ("/tmp", b"this is no archive" * 100, errors.ArchiveRefused),
        ("/tmp", b"\x1f\x8b cut off", errors.ArchiveRefused),
    ],
)
async def test_what_is_no_archive_or_has_no_folder_leaves_nothing(
    hub: Hub, any_guest: GuestRef, folder: str, data: bytes, error: type[Exception]
) -> None:
    with pytest.raises(error):
        await Files(hub).put_archive(any_guest, folder, _chunks(data))
    assert await _in(hub, any_guest, "ls -A /tmp | grep pve402 || true") == ""


@pytest.mark.parametrize(
    ("folder", "error"), [("/no/such", errors.FileMissing), ("/etc/passwd", errors.NotAFolder)]
)
async def test_what_is_no_folder_is_not_packed(
    hub: Hub, guest: GuestRef, folder: str, error: type[Exception]
) -> None:
    with pytest.raises(error):
        await Files(hub).get_archive(guest, folder, is_packed=False)


async def test_an_archive_beyond_the_limit_is_cut_off(hub: Hub, guest: GuestRef) -> None:
    await _in(hub, guest, "mkdir /tmp/big && head -c 900000 /dev/zero >/tmp/big/zeros")
    archive = await Files(hub).get_archive(guest, "/tmp/big", is_packed=False, limit_bytes=200_000)
    with pytest.raises(errors.FileTooLarge):
        async for _ in archive:
            pass

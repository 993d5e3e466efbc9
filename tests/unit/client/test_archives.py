"""Folders from a container: whatever its archive tries, nothing leaves the local folder."""

import gzip
import io
import tarfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from aiohttp import web
from tests.support import tenant_service

from pve402 import client
from pve402.client import archives

Fill = Callable[[tarfile.TarFile], None]


def packed(fill: Fill) -> bytes:
    kept = io.BytesIO()
    with tarfile.open(fileobj=kept, mode="w:gz") as archive:
        fill(archive)
    return kept.getvalue()


def member(name: str, data: bytes = b"", **facts: object) -> Fill:
    def fill(archive: tarfile.TarFile) -> None:
        found = tarfile.TarInfo(name)
        found.size = len(data)
        for fact, value in facts.items():
            setattr(found, fact, value)
        archive.addfile(found, io.BytesIO(data))

    return fill


def both(*fills: Fill) -> Fill:
    def fill(archive: tarfile.TarFile) -> None:
        for each in fills:
            each(archive)

    return fill


async def get(answer: bytes, local: Path, most_bytes: int = 1000) -> None:
    async def handle(request: web.Request) -> web.Response:
        assert request.query == {"path": "/srv/site", "format": "tar.gz"}
        return web.Response(body=answer, content_type="application/gzip")

    async with (
        tenant_service.serving(handle) as service,
        client.Client(service.url, token="t" * 20) as tenant,
    ):
        await archives.get_folder(tenant, "10000", "/srv/site", local, most_bytes=most_bytes)


async def test_a_folder_arrives_with_its_files_and_modes(tmp_path: Path):
    fill = both(
        member("./css", type=tarfile.DIRTYPE, mode=0o755),
        member("./css/main", b"body", mode=0o640),
        member("./link", type=tarfile.SYMTYPE, linkname="css/main"),
    )

    await get(packed(fill), tmp_path / "new" / "site")

    site = tmp_path / "new" / "site"
    assert (site / "link").read_bytes() == b"body"
    assert (site / "css" / "main").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize(
    "fill",
    [
        member("../outside", b"x"),
        member("/../outside", b"x"),
        both(
            member("./a", type=tarfile.SYMTYPE, linkname=".."),
            member("./a/outside", b"x"),
        ),
        member("./a", type=tarfile.LNKTYPE, linkname="../../outside"),
        member("./a", type=tarfile.CHRTYPE, devmajor=1, devminor=3),
        member("./a", type=tarfile.FIFOTYPE),
        member("./a", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
        member("./b/a", type=tarfile.SYMTYPE, linkname="../../outside"),
        member("/a", type=tarfile.SYMTYPE, linkname="../outside"),
    ],
    ids=[
        *("parent", "absolute", "through a link", "hard link", "device", "pipe"),
        *("link to the root", "link to the parent", "absolute link to the parent"),
    ],
)
async def test_what_would_leave_the_folder_is_refused(tmp_path: Path, fill: Fill):
    with pytest.raises(client.FileDamaged):
        await get(packed(fill), tmp_path / "site")

    assert not (tmp_path / "outside").exists()


@pytest.mark.parametrize(
    "answer",
    [b"", b"nothing", packed(member("./a", b"x" * 900))[:-20]],
    ids=["empty", "text", "cut off"],
)
async def test_what_is_no_archive_is_refused(tmp_path: Path, answer: bytes):
    with pytest.raises(client.FileDamaged):
        await get(answer, tmp_path / "site")


async def test_set_id_bits_are_left_out(tmp_path: Path):
    await get(packed(member("./tool", b"x", mode=0o6755)), tmp_path)

    assert (tmp_path / "tool").stat().st_mode & 0o7777 == 0o755


async def test_more_than_was_allowed_is_refused(tmp_path: Path):
    bomb = gzip.compress(gzip.decompress(packed(member("./big", bytes(5_000_000)))))

    with pytest.raises(client.FileTooLarge):
        await get(bomb, tmp_path / "site")

    assert list((tmp_path / "site").iterdir()) == []


def headers(*some: tarfile.TarInfo) -> bytes:
    """An archive of headers alone, as no library writes it."""
    return gzip.compress(b"".join(one.tobuf(tarfile.GNU_FORMAT) for one in some) + bytes(4096))


def header(name: str, size: int, kind: bytes = tarfile.REGTYPE, **facts: object) -> tarfile.TarInfo:
    found = tarfile.TarInfo(name)
    found.size, found.type = size, kind
    for fact, value in facts.items():
        setattr(found, fact, value)
    return found


@pytest.mark.parametrize(
    "answer",
    [
        headers(header("./a", -512)),
        headers(header("./a", 2**40, tarfile.GNUTYPE_LONGNAME)),
        headers(header("./a", -512, tarfile.XHDTYPE)),
        headers(*[header("./a", 0, tarfile.XHDTYPE)] * 2000),
        headers(header("./a", 0, mtime=2**70)),
        headers(header("./a", 0, tarfile.LNKTYPE, linkname="b")),
        packed(member("./a", b"x" * 900))[:-60] + bytes(60),
    ],
    ids=["backwards", "long name", "no length", "deep", "late", "link to nothing", "damaged"],
)
async def test_headers_that_lie_are_refused(tmp_path: Path, answer: bytes):
    with pytest.raises(client.FileDamaged):
        await get(answer, tmp_path / "site")


async def test_a_long_header_takes_no_memory(tmp_path: Path):
    long = header("./a", 2**27, tarfile.GNUTYPE_LONGNAME).tobuf(tarfile.GNU_FORMAT)
    bomb = gzip.compress(long + bytes(2**27), compresslevel=1)

    tracemalloc.start()
    try:
        with pytest.raises(client.FileDamaged):
            await get(bomb, tmp_path / "site")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert peak < 2**26


async def test_links_too_long_to_be_followed_lead_nowhere(tmp_path: Path):
    outside = tmp_path / "outside"
    outside.write_bytes(b"mine")
    deep, fills = "", []
    for step in "abcdefghijklmnop":
        fills.append(member(f"{deep}{'d' * 247}", type=tarfile.DIRTYPE, mode=0o755))
        fills.append(member(f"{deep}{step}", type=tarfile.SYMTYPE, linkname="d" * 247))
        deep += "d" * 247 + "/"
    long = "/".join("abcdefghijklmnop") + "/" + "l" * 254
    fills += [
        member(long, type=tarfile.SYMTYPE, linkname="../" * 16),
        member("escape", type=tarfile.SYMTYPE, linkname=f"{long}/.."),
        member("again", type=tarfile.LNKTYPE, linkname="escape/outside"),
        member("again", b"theirs"),
    ]

    with pytest.raises(client.FileDamaged):
        await get(packed(both(*fills)), tmp_path / "site")

    assert outside.read_bytes() == b"mine"


async def test_a_file_is_not_written_through_a_link_that_was_there(tmp_path: Path):
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "a").symlink_to("b")

    with pytest.raises(client.FileDamaged):
        await get(packed(member("./a", b"theirs")), tmp_path / "site")

    assert not (tmp_path / "site" / "b").exists()


async def test_no_link_decides_where_another_leads(tmp_path: Path):
    fill = both(
        member("./there", type=tarfile.SYMTYPE, linkname="here/../b"),
        member("./here", type=tarfile.SYMTYPE, linkname="."),
    )

    await get(packed(fill), tmp_path / "site")

    assert (tmp_path / "site" / "there").resolve() == tmp_path / "site" / "b"


async def test_the_same_folder_arrives_twice(tmp_path: Path):
    fill = both(
        member("./a", b"1", mode=0o644),
        member("./b", type=tarfile.LNKTYPE, linkname="./a"),
        member("./c", type=tarfile.SYMTYPE, linkname="a"),
    )

    for _ in range(2):
        await get(packed(fill), tmp_path)

    assert (tmp_path / "c").read_bytes() == b"1"
    assert (tmp_path / "a").samefile(tmp_path / "b")

"""Folders, and what is in them, by real shells; names hold any bytes."""

import asyncio

import pytest
from tests.support import guest_consoles
from tests.support.guest_consoles import shared_hub  # noqa: F401

from pve402.hub import errors
from pve402.hub.entries import LARGEST_PAGE, Entries, Entry
from pve402.hub.hub import Hub
from pve402.hub.request import ExecRequest
from pve402.proxmox.guests import GuestRef

pytestmark = guest_consoles.SHARING_A_HUB

AWKWARD = (
    b"plain",
    b" blanks  ",
    b"new\nline",
    b"\n",
    b"end\n",
    b"81a4 5 0 0 0",
    b"x\n81a4 5 0 0 0\n.forged",
    b"-rf",
    b"--",
    b"*",
    b"?[a]{b,c}",
    b".[!.]*",
    b"..?*",
    b"...",
    b".hidden",
    b"..dots",
    b"'\"`$(touch forged)\\",
    b"back\\slash\\",
    b"\x1b[31m\r\x07",
    b"\x01\x7f\x04\x1c",
    bytes(range(0x80, 0xA0)),
    b"\xff\xfe",
    "ümläut €".encode(),
    b"x" * 255,
)


@pytest.fixture
def entries(hub: Hub) -> Entries:
    return Entries(hub)


async def test_awkward_names_come_back_exactly(
    hub: Hub, entries: Entries, any_guest: GuestRef
) -> None:
    await _fresh(hub, any_guest, "mkdir e")
    turns = asyncio.Semaphore(6)

    async def worked_on(name: bytes) -> None:
        path = b"/tmp/d/" + name
        async with turns:
            await entries.make(any_guest, path, mode=0o710)
            await entries.change(any_guest, path, mode=0o2751, owner="7:8")
            await entries.move(any_guest, path, b"/tmp/d/e/" + name)

    await asyncio.gather(*map(worked_on, AWKWARD))
    expected = [b"e", *(b"e/" + name for name in AWKWARD)]
    found = await _whole(entries, any_guest, depth=8)
    assert sorted(entry.name for entry in found) == sorted(expected)
    facts = {(entry.kind, entry.mode, entry.uid, entry.gid) for entry in found[1:]}
    assert facts == {("folder", 0o2751, 7, 8)}
    assert await _whole(entries, any_guest, depth=8, limit=9) == found
    for name in AWKWARD[-7:]:
        path = b"/tmp/d/e/" + name
        assert (await entries.look(any_guest, path)).name == path
        await entries.remove(any_guest, path)
    left = await _whole(entries, any_guest, depth=2)
    assert {entry.name for entry in left} == set(expected[:-7])


async def test_a_tree_is_listed_page_by_page(
    hub: Hub, entries: Entries, any_guest: GuestRef
) -> None:
    await _fresh(
        hub,
        any_guest,
        "mkdir -p a/b/c .h/x e 'n\n'/y; : >a/f; : >a/b/c/deep; ln -s a loop; ln -s .. a/up",
    )
    shallow = [b"a", b"e", b"loop", b"n\n", b".h"]
    assert sorted(entry.name for entry in await _whole(entries, any_guest)) == sorted(shallow)
    tree = [entry.name for entry in await _whole(entries, any_guest, depth=8)]
    inner = [b"a/b", b"a/b/c", b"a/b/c/deep", b"a/f", b"a/up", b"n\n/y", b".h/x"]
    assert sorted(tree) == sorted(shallow + inner)
    assert tree.index(b"a") < tree.index(b"a/b") < tree.index(b"a/b/c/deep") < tree.index(b"a/f")
    for depth, limit in ((8, 1), (2, 3)):
        at_once = await _whole(entries, any_guest, depth=depth)
        assert await _whole(entries, any_guest, depth=depth, limit=limit) == at_once


async def test_changes_between_pages_hide_nothing_else(
    hub: Hub, entries: Entries, any_guest: GuestRef
) -> None:
    await _fresh(hub, any_guest, "mkdir -p b/x d; : >b/x/1; : >b/x/2; : >c")
    page = await entries.page(any_guest, b"/tmp/d", depth=3, limit=3)
    assert (page.entries[-1].name, page.after) == (b"b/x/1", b"b/x/1")
    await _in(hub, any_guest, "cd /tmp/d; rm -r b; : >a; : >bb")
    rest = await entries.page(any_guest, b"/tmp/d", depth=3, limit=9, after=b"b/x/1")
    assert [entry.name for entry in rest.entries] == [b"bb", b"c", b"d"]
    assert rest.after is None


async def test_facts_of_files_links_and_others(
    hub: Hub, entries: Entries, any_guest: GuestRef
) -> None:
    make = "printf 12345 >f; chown 5:6 f; chmod 4640 f; TZ=UTC touch -d '1970-01-02 00:00:00' f"
    await _fresh(hub, any_guest, f"{make}; mkfifo p; ln -s 'to\n' l")
    file = await entries.look(any_guest, b"/tmp/d/f")
    assert (file.kind, file.size_bytes, file.mode, file.uid, file.gid) == ("file", 5, 0o4640, 5, 6)
    assert file.modified_at_s == 86400
    assert (await entries.look(any_guest, b"/tmp/d/l")).target == b"to\n"
    kinds = {entry.name: entry.kind for entry in await _whole(entries, any_guest)}
    assert kinds == {b"f": "file", b"p": "other", b"l": "link"}
    assert (await entries.look(any_guest, b"/")).kind == "folder"


async def test_a_huge_folder_is_read_in_pages(
    hub: Hub, entries: Entries, any_guest: GuestRef
) -> None:
    await _fresh(hub, any_guest, "i=0; while [ $i -lt 1200 ]; do : >$i; i=$((i + 1)); done")
    page = await entries.page(any_guest, b"/tmp/d", depth=1, limit=LARGEST_PAGE)
    assert len(page.entries) == LARGEST_PAGE
    found = await _whole(entries, any_guest, limit=LARGEST_PAGE)
    assert len({entry.name for entry in found}) == len(found) == 1200
    await entries.remove(any_guest, b"/tmp/d", is_recursive=True)


async def test_long_names_end_a_page_early(hub: Hub, entries: Entries, guest: GuestRef) -> None:
    await _fresh(
        hub, guest, f"n={'y' * 245}; i=0; while [ $i -lt 900 ]; do : >$n$i; i=$((i + 1)); done"
    )
    page = await entries.page(guest, b"/tmp/d", depth=1, limit=LARGEST_PAGE)
    assert len(page.entries) < 850
    assert len(await _whole(entries, guest, limit=LARGEST_PAGE)) == 900


async def test_links_are_not_followed_where_something_changes(
    hub: Hub, entries: Entries, any_guest: GuestRef
) -> None:
    await _fresh(hub, any_guest, "mkdir e; : >e/kept; chmod 700 e; ln -s e l; ln -s e m; : >f")
    page = await entries.page(any_guest, b"/tmp/d/l", depth=2, limit=9)
    assert [entry.name for entry in page.entries] == [b"kept"]
    with pytest.raises(errors.FileRefused, match="no mode"):
        await entries.change(any_guest, b"/tmp/d/l", mode=0o777, owner="9")
    await entries.change(any_guest, b"/tmp/d/l", owner="9:9")
    with pytest.raises(errors.FileExists):
        await entries.move(any_guest, b"/tmp/d/f", b"/tmp/d/l", replaces=True)
    await entries.move(any_guest, b"/tmp/d/l", b"/tmp/d/k")
    await entries.remove(any_guest, b"/tmp/d/k", is_recursive=True)
    await entries.remove(any_guest, b"/tmp/d/m")
    facts = await _in(hub, any_guest, "cd /tmp/d; ls -A; ls -A e; stat -c '%a %u' e")
    assert facts.split() == ["e", "f", "kept", "700", "0"]


async def test_folders_are_made_moved_and_removed_only_as_asked(
    hub: Hub, entries: Entries, any_guest: GuestRef
) -> None:
    await _fresh(hub, any_guest, ": >f; echo two >g")
    with pytest.raises(errors.FileMissing, match="create it first"):
        await entries.make(any_guest, b"/tmp/d/a/b")
    await entries.make(any_guest, b"/tmp/d/a/b", mode=0o700, with_parents=True)
    await entries.make(any_guest, b"/tmp/d/a/b", with_parents=True)
    modes = [(await entries.look(any_guest, b"/tmp/d/" + name)).mode for name in (b"a", b"a/b")]
    assert modes == [0o755, 0o700]
    for path in (b"/tmp/d/a", b"/tmp/d/f"):
        with pytest.raises(errors.FileExists):
            await entries.make(any_guest, path)
    with pytest.raises(errors.FolderNotEmpty):
        await entries.remove(any_guest, b"/tmp/d/a")
    with pytest.raises(errors.FileExists):
        await entries.move(any_guest, b"/tmp/d/g", b"/tmp/d/f")
    with pytest.raises(errors.FileExists):
        await entries.move(any_guest, b"/tmp/d/g", b"/tmp/d/a", replaces=True)
    with pytest.raises(errors.FileRefused):
        await entries.move(any_guest, b"/tmp/d/a", b"/tmp/d/a/b/c")
    await entries.move(any_guest, b"/tmp/d/g", b"/tmp/d/f", replaces=True)
    await entries.move(any_guest, b"/tmp/d/a", b"/tmp/d/c")
    await entries.remove(any_guest, b"/tmp/d/c", is_recursive=True)
    assert await _in(hub, any_guest, "cd /tmp/d; ls -A; cat f") == "f\ntwo\n"


async def test_what_cannot_be_done_says_why(
    hub: Hub, entries: Entries, any_guest: GuestRef
) -> None:
    await _fresh(hub, any_guest, ": >f")
    with pytest.raises(errors.NotAFolder):
        await entries.page(any_guest, b"/tmp/d/f", depth=1, limit=1)
    for missing in (b"/tmp/d/none", b"/tmp/d/f/below"):
        with pytest.raises(errors.FileMissing):
            await entries.page(any_guest, missing, depth=1, limit=1)
        with pytest.raises(errors.FileMissing):
            await entries.look(any_guest, missing)
        with pytest.raises(errors.FileMissing):
            await entries.remove(any_guest, missing, is_recursive=True)
        with pytest.raises(errors.FileMissing):
            await entries.change(any_guest, missing, mode=0o600)
        with pytest.raises(errors.FileMissing):
            await entries.move(any_guest, missing, b"/tmp/d/g")
    with pytest.raises(errors.FileMissing):
        await entries.move(any_guest, b"/tmp/d/f", b"/tmp/d/no/g")
    with pytest.raises(errors.FileRefused):
        await entries.change(any_guest, b"/tmp/d/f", owner="nobody-of-this-name")
    with pytest.raises(errors.FileRefused):
        await entries.make(any_guest, b"/proc/new")


@pytest.mark.parametrize(
    "path", [b"", b"f", b"/", b"/tmp/", b"/tmp/.", b"/tmp/..", b"/a\0b", b"/" + b"x" * 4096]
)
async def test_paths_that_name_no_entry_reach_no_guest(
    entries: Entries, guest: GuestRef, path: bytes
) -> None:
    with pytest.raises(errors.RequestRefused):
        await entries.remove(guest, path, is_recursive=True)
    with pytest.raises(errors.RequestRefused):
        await entries.move(guest, b"/tmp/x", path)


async def _whole(
    entries: Entries, guest: GuestRef, *, depth: int = 1, limit: int = LARGEST_PAGE
) -> list[Entry]:
    found: list[Entry] = []
    after = b""
    while True:
        page = await entries.page(guest, b"/tmp/d", depth=depth, limit=limit, after=after)
        assert len(page.entries) <= limit
        found += page.entries
        if page.after is None:
            return found
        after = page.after


async def _fresh(hub: Hub, guest: GuestRef, make: str = "true") -> None:
    await _in(hub, guest, f"rm -rf /tmp/d; mkdir /tmp/d; cd /tmp/d; {make}")


async def _in(hub: Hub, guest: GuestRef, command: str) -> str:
    result = await hub.exec(guest, ExecRequest(command=command))
    assert result.exit_code == 0, result.stderr
    return result.stdout.decode()

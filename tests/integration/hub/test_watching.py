"""Changes in a folder: as inotifywait tells them, or as they are found by looking."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest
from tests.support import guest_consoles
from tests.support.guest_consoles import shared_hub  # noqa: F401

from pve402.hub import errors, watching
from pve402.hub.hub import Hub
from pve402.hub.request import ExecRequest
from pve402.hub.watching import Change, Watching
from pve402.proxmox.guests import GuestRef

pytestmark = guest_consoles.SHARING_A_HUB

#: What inotifywait 3.22.6 wrote, of which `rm -r` of the folder is the last.
TOLD = (
    r"CREATE a b\0ATTRIB a b\0CLOSE_WRITE,CLOSE a b\0CREATE new\nline\0MOVED_FROM a b\0MOVED_TO c\0"
    r"CREATE,ISDIR d\0OPEN x\0Q_OVERFLOW \0DELETE,ISDIR d\0DELETE_SELF \0"
)


async def sh(hub: Hub, guest: GuestRef, command: str) -> None:
    result = await hub.exec(guest, ExecRequest(command=command))
    assert result.exit_code == 0, result.stderr


async def install(hub: Hub, guest: GuestRef, told: str) -> None:
    """Put a program in the place of inotifywait that tells this."""
    script = (
        "#!/bin/sh\n"
        'case $* in *help*) echo " --no-newline"; exit ;; esac\n'
        "echo 'Watches established.' >&2\nsleep 1\n"
        f"printf '{told}'\nsleep 600\n"
    )
    await hub.exec(
        guest,
        ExecRequest(
            command="mkdir -p /usr/local/bin /tmp/watched && cat >/usr/local/bin/inotifywait && "
            "chmod 755 /usr/local/bin/inotifywait",
            stdin=script.encode(),
        ),
    )


async def collect(changes: AsyncGenerator[Change], into: list[tuple[str, bytes]]) -> None:
    async for change in changes:
        into += [(change.kind, change.name)]


async def noted(changes: AsyncGenerator[Change], into: list[Change]) -> AsyncGenerator[Change]:
    """The same changes, noted as they pass."""
    async with aclosing(changes):
        async for change in changes:
            into.append(change)
            yield change


async def all_of(changes: AsyncGenerator[Change], *wanted: tuple[str, bytes]) -> bool:
    """Whether all these come, among others; then the watch ends."""
    missing = set(wanted)
    async with asyncio.timeout(30):
        while missing:
            change = await anext(changes)
            missing.discard((change.kind, change.name))
    await changes.aclose()
    return True


async def test_what_inotifywait_tells_is_told(hub: Hub, guest: GuestRef) -> None:
    await install(hub, guest, TOLD)
    seen: list[tuple[str, bytes]] = []

    with pytest.raises(errors.FileMissing):
        await collect(Watching(hub).watch(guest, b"/tmp/watched"), seen)

    assert seen == [
        ("inotify", b""),
        ("created", b"a b"),
        ("changed", b"a b"),
        ("changed", b"a b"),
        ("created", b"new\nline"),
        ("removed", b"a b"),
        ("created", b"c"),
        ("created", b"d"),
        ("overflow", b""),
        ("removed", b"d"),
    ]


async def test_a_hostile_tool_ends_the_watch(hub: Hub, guest: GuestRef) -> None:
    await install(hub, guest, r"no event at all\0")
    with pytest.raises(errors.OutputDamaged):
        await collect(Watching(hub).watch(guest, b"/tmp/watched"), [])


async def test_a_tool_that_tells_nothing_ends_the_watch(
    hub: Hub, guest: GuestRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "LONGEST_SECONDS", 0.5)
    await install(hub, guest, "")
    await sh(hub, guest, "sed -i /established/d /usr/local/bin/inotifywait")

    with pytest.raises(errors.OutputDamaged):
        await anext(Watching(hub).watch(guest, b"/tmp/watched"))


async def test_without_it_the_folder_is_looked_at(
    hub: Hub, any_guest: GuestRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "LOOK_SECONDS", 0.2)
    await sh(hub, any_guest, "rm -f /usr/local/bin/inotifywait")
    await sh(
        hub, any_guest, "mkdir -p /tmp/looked; cd /tmp/looked; rm -f *; echo 1 >kept; echo 1 >old"
    )
    changes = Watching(hub).watch(any_guest, b"/tmp/looked")
    assert await anext(changes) == Change(kind="looking")

    await sh(hub, any_guest, "cd /tmp/looked; mkdir new; rm old; echo longer >kept")

    expected = (("created", b"new"), ("removed", b"old"), ("changed", b"kept"))
    assert await all_of(changes, *expected)


async def test_folders_below_are_looked_at_as_deep_as_asked(
    hub: Hub, guest: GuestRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "LOOK_SECONDS", 0.2)
    await install(hub, guest, TOLD)
    await sh(hub, guest, "rm -rf /tmp/deep; mkdir -p /tmp/deep/a/b; echo 1 >/tmp/deep/a/old")
    changes = Watching(hub).watch(guest, b"/tmp/deep", depth=2)
    assert await anext(changes) == Change(kind="looking")

    await sh(hub, guest, "cd /tmp/deep; : >a/b/deeper; rm a/old; mkdir -p c/d/e")

    expected = (("removed", b"a/old"), ("created", b"c"), ("created", b"c/d"))
    seen: list[Change] = []
    assert await all_of(noted(changes, seen), *expected)
    assert {change.name for change in seen} <= {b"a", b"a/b", b"a/old", b"c", b"c/d"}


async def test_only_some_folders_of_a_guest_are_watched_at_a_time(
    hub: Hub, guest: GuestRef
) -> None:
    here = Watching(hub)
    await sh(hub, guest, "rm -f /usr/local/bin/inotifywait")
    open_ones = [here.watch(guest, b"/tmp") for _ in range(watching.MOST_WATCHES)]
    for each in open_ones:
        await anext(each)

    with pytest.raises(errors.TooManyWatches):
        await anext(here.watch(guest, b"/tmp"))

    await open_ones[0].aclose()
    again = here.watch(guest, b"/tmp")
    assert (await anext(again)).kind == "looking"
    for each in (again, *open_ones):
        await each.aclose()


@pytest.mark.parametrize(
    ("folder", "error"), [(b"/no/such", errors.FileMissing), (b"/etc/passwd", errors.NotAFolder)]
)
async def test_what_is_no_folder_is_not_watched(
    hub: Hub, guest: GuestRef, folder: bytes, error: type[Exception]
) -> None:
    with pytest.raises(error):
        await anext(Watching(hub).watch(guest, folder))

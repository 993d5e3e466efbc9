"""Streams into real shells: bytes both ways, a reader that stops, a client that comes back."""

import dataclasses
import hashlib
from collections.abc import AsyncIterator

import pytest
from tests.support import guest_consoles
from tests.support.guest_consoles import shared_hub  # noqa: F401

from pve402.hub import errors
from pve402.hub.credit import WINDOW
from pve402.hub.hub import Hub
from pve402.hub.request import EventKind, ExecRequest
from pve402.hub.stream import INPUT_WINDOW, Stream
from pve402.proxmox.guests import GuestRef

pytestmark = guest_consoles.SHARING_A_HUB

EVERY_BYTE = bytes(range(256)) * 40


def sh(command: str) -> ExecRequest:
    return ExecRequest(command=command)


async def output(stream: Stream, position: int = 0) -> AsyncIterator[tuple[EventKind, bytes]]:
    """Read and confirm output until the program has ended."""
    while True:
        changed = stream.changed
        piece = stream.read(position)
        if piece is not None:
            yield piece
            position += len(piece[1])
            stream.confirm(position)
        elif stream.is_over:
            return
        else:
            await changed.wait()


async def collected(stream: Stream, position: int = 0) -> bytes:
    return b"".join([data async for _, data in output(stream, position)])


async def test_every_byte_passes_both_ways(hub: Hub, any_guest: GuestRef) -> None:
    stream = await hub.open_stream(any_guest, sh("cat; echo end >&2"))
    stream.attach(0)

    stream.write(EVERY_BYTE)
    stream.end_input()

    pieces = [piece async for piece in output(stream)]
    assert b"".join(data for kind, data in pieces if kind is EventKind.STDOUT) == EVERY_BYTE
    assert b"".join(data for kind, data in pieces if kind is EventKind.STDERR) == b"end\n"
    assert stream.exit_code == 0
    assert stream.taken == stream.received == len(EVERY_BYTE)


async def test_a_reader_that_stops_stops_the_program_and_not_others(
    hub: Hub, any_guest: GuestRef
) -> None:
    stream = await hub.open_stream(
        any_guest, sh("i=0; while [ $i -lt 40 ]; do head -c 65536 /dev/zero; i=$((i+1)); done")
    )
    stream.attach(0)
    before = -1
    while (kept := stream.kept_bytes) != before or not kept:  # until the program stands still
        before = kept
        assert (await hub.exec(any_guest, sh("sleep 0.3; echo on"))).stdout == b"on\n"

    assert 0 < kept <= WINDOW + 64 * 1024
    assert stream.exit_code is None
    assert len(await collected(stream)) == 40 * 65536
    assert stream.exit_code == 0


async def test_a_client_comes_back_where_it_was(hub: Hub, any_guest: GuestRef) -> None:
    stream = await hub.open_stream(any_guest, sh("read a; echo $a; read b; echo $b"))
    first = stream.attach(0)
    stream.write(b"one\n")
    while stream.read(0) is None:
        await stream.changed.wait()
    stream.detach(first)

    found = await hub.find_stream(any_guest, stream.stream_id)
    second = found.attach(0)
    assert not found.is_attached(first)
    assert found.is_attached(second)
    found.write(b"two\n")
    assert await collected(found) == b"one\ntwo\n"


async def test_what_a_program_started_for_itself_outlives_its_client(
    hub: Hub, any_guest: GuestRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "options", dataclasses.replace(hub.options, leave_seconds=0.3))
    stream = await hub.open_stream(
        any_guest,
        sh("setsid sh -c 'echo $$ >/tmp/lives; exec sleep 60' </dev/null & exec sleep 61"),
    )
    stream.attach(0)
    found = await hub.exec(
        any_guest, sh("until [ -s /tmp/lives ]; do sleep 0.05; done; cat /tmp/lives")
    )

    stream.leave()

    assert await stream.wait_over(20)
    alive = await hub.exec(any_guest, sh(f"kill -0 {int(found.stdout)}"))
    assert alive.exit_code == 0
    await hub.exec(any_guest, sh(f"kill {int(found.stdout)}; rm /tmp/lives"))


async def test_streams_take_no_places_of_commands(hub: Hub, guest: GuestRef) -> None:
    streams = [await hub.open_stream(guest, sh("cat")) for _ in range(hub.options.max_streams)]
    with pytest.raises(errors.TooManyStreams):
        await hub.open_stream(guest, sh("cat"))
    assert (await hub.exec(guest, sh("echo on"))).stdout == b"on\n"
    for stream in streams:
        stream.leave()
    for stream in streams:
        assert await stream.wait_over(30)


async def test_input_beyond_the_window_is_refused(
    hub: Hub, any_guest: GuestRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "options", dataclasses.replace(hub.options, leave_seconds=0.3))
    stream = await hub.open_stream(any_guest, sh("sleep 60"))
    stream.attach(0)
    stream.write(b"x" * INPUT_WINDOW)
    with pytest.raises(errors.RequestRefused):
        stream.write(b"x" * INPUT_WINDOW)
    stream.leave()
    assert await stream.wait_over(30)


async def test_followed_output_is_whole_beyond_every_limit(hub: Hub, any_guest: GuestRef) -> None:
    size = 3_000_000
    command = f"head -c {size} /dev/zero | tr '\\0' 'x'"
    execution = await hub.start(
        any_guest, ExecRequest(command=command, output_limit_bytes=100_000, flows=True)
    )
    digest, seen = hashlib.sha256(), 0
    async for event in execution.follow():
        digest.update(event.data)
        seen += len(event.data)
        assert execution.kept_bytes < 100_000 + WINDOW + 64 * 1024
    assert seen == size
    assert digest.hexdigest() == hashlib.sha256(b"x" * size).hexdigest()
    result = await execution.wait()
    assert (result.exit_code, result.truncated, result.has_forgotten) == (0, False, True)

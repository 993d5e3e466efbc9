"""An ended stream stays for a client whose connection broke before it had the end."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from tests.support.fake_agent import FakeGuests
from tests.support.simulated_time import simulated_time  # noqa: F401 -- a fixture

from pve402.hub import errors
from pve402.hub.hub import TIDY_SECONDS, Hub
from pve402.hub.options import HubOptions
from pve402.hub.request import EventKind, ExecRequest
from pve402.hub.stream import Stream
from pve402.proxmox.guests import GuestRef

GUEST = GuestRef(node="one", vmid=1)
OTHER = GuestRef(node="one", vmid=2)
REST = b"what the client does not have"
OPTIONS = HubOptions(
    idle_seconds=5.0, max_streaming_guests_per_node=1, kept_executions=4, kept_bytes_per_guest=1000
)
pytestmark = pytest.mark.usefixtures("simulated_time")


@pytest.fixture
async def hub(simulated_time: None) -> AsyncIterator[Hub]:  # noqa: F811 -- the fixture
    """A hub whose guests' programs end at once."""
    async with Hub(OPTIONS, FakeGuests().open_terminal) as hub:
        yield hub


async def ended(hub: Hub, guest: GuestRef = GUEST, rest: bytes = REST) -> Stream:
    """A stream whose client had left, without the rest, when the program ended."""
    stream = await hub.open_stream(guest, ExecRequest(command="true"))
    stream.detach(stream.attach(0))
    stream.add_output(EventKind.STDOUT, rest)
    assert await stream.wait_over(1)
    await asyncio.sleep(0.1)
    return stream


async def test_a_client_that_comes_back_gets_the_rest_and_the_end(hub: Hub) -> None:
    stream = await ended(hub)
    await asyncio.sleep(OPTIONS.absence_seconds - 1)  # the idle session is closed meanwhile

    found = await hub.find_stream(GUEST, stream.stream_id)

    client = found.attach(0)
    assert found.read(0) == (EventKind.STDOUT, REST)
    assert found.exit_code == 0
    found.detach(client)
    await asyncio.sleep(OPTIONS.absence_seconds - 1)  # it breaks again
    assert await hub.find_stream(GUEST, stream.stream_id) is stream


async def test_it_is_forgotten_after_the_time_to_come_back(hub: Hub) -> None:
    stream = await ended(hub)

    await asyncio.sleep(OPTIONS.absence_seconds + TIDY_SECONDS)

    with pytest.raises(errors.StreamNotFound):
        await hub.find_stream(GUEST, stream.stream_id)
    assert hub.budget.kept_bytes == 0


async def test_it_is_forgotten_when_its_client_is_done(hub: Hub) -> None:
    stream = await ended(hub)
    stream.leave()

    await asyncio.sleep(TIDY_SECONDS)

    with pytest.raises(errors.StreamNotFound):
        await hub.find_stream(GUEST, stream.stream_id)


async def test_only_so_many_are_kept(hub: Hub) -> None:
    streams = [await ended(hub) for _ in range(OPTIONS.kept_executions + 1)]

    with pytest.raises(errors.StreamNotFound):
        await hub.find_stream(GUEST, streams[0].stream_id)
    for stream in streams[1:]:
        assert await hub.find_stream(GUEST, stream.stream_id) is stream
    assert hub.budget.kept_bytes == len(REST) * OPTIONS.kept_executions


async def test_one_that_a_client_reads_is_not_forgotten_for_room(hub: Hub) -> None:
    read, left = await ended(hub, rest=b"x" * 500), await ended(hub, rest=b"x" * 500)
    read.attach(0)

    last = await ended(hub, rest=b"x" * 500)

    assert last.error is None
    assert await hub.find_stream(GUEST, read.stream_id) is read
    with pytest.raises(errors.StreamNotFound):
        await hub.find_stream(GUEST, left.stream_id)


async def test_it_takes_no_place_of_a_stream(hub: Hub) -> None:
    await ended(hub)
    await ended(hub, OTHER)


async def test_it_ends_with_its_guest(hub: Hub) -> None:
    stream = await ended(hub)

    await hub.close_guest(GUEST)

    with pytest.raises(errors.StreamNotFound):
        await hub.find_stream(GUEST, stream.stream_id)
    assert hub.budget.kept_bytes == 0


async def test_what_was_not_sent_cannot_be_confirmed(hub: Hub) -> None:
    stream = await ended(hub)
    stream.attach(0)
    stream.confirm(10)

    with pytest.raises(errors.RequestRefused):
        stream.read(0)

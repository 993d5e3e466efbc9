"""Whatever fails between taking a slot and using it gives the slot back."""

import asyncio
import contextlib

import pytest
from tests.support.fake_agent import FakeGuests, FakeTerminal
from tests.support.simulated_time import simulated_time

from pve402.hub import agent, errors
from pve402.hub.hub import Hub
from pve402.hub.options import HubOptions
from pve402.hub.request import ExecRequest
from pve402.proxmox.guests import GuestRef

__all__ = ["simulated_time"]

pytestmark = pytest.mark.usefixtures("simulated_time")
GUEST = GuestRef(node="pve", vmid=101)
OPTIONS = HubOptions(max_commands=3, acknowledge_seconds=0.5, silence_seconds=2.0)
LONG = ExecRequest(argv=("printf", "%s", *["x" * 400] * 60))
FAULTS = (ConnectionError, asyncio.CancelledError)


async def recover(hub: Hub) -> None:
    """A session that a fault is only just ending may take one more program with it."""
    with contextlib.suppress(errors.SessionFailed):
        await hub.exec(GUEST, ExecRequest(command="true"))


async def use_all(hub: Hub) -> None:
    """Run as many programs at once as there are slots."""
    async with asyncio.timeout(10):
        await asyncio.gather(*(hub.exec(GUEST, LONG) for _ in range(OPTIONS.max_commands)))


async def broken(hub: Hub, guests: FakeGuests, at: int, error: type[BaseException]) -> None:
    guests.faults.arm(at, error)
    try:
        await hub.exec(GUEST, LONG)
    except (error, errors.HubError):
        pass
    finally:
        guests.faults.disarm()


@pytest.mark.parametrize("error", FAULTS)
@pytest.mark.parametrize("is_warm", [False, True], ids=["cold", "warm"])
async def test_a_fault_at_any_step_leaves_all_slots_free(
    error: type[BaseException], is_warm: bool
) -> None:
    guests = FakeGuests()
    is_reached, at = True, 0
    while is_reached:
        at += 1
        async with Hub(OPTIONS, guests.open_terminal) as hub:
            if is_warm:
                await use_all(hub)
            await broken(hub, guests, at, error)
            is_reached = guests.faults.steps >= at

            await recover(hub)
            await use_all(hub)

            assert guests.open_terminals == 1
        assert guests.open_terminals == 0


async def test_a_call_that_cannot_be_written_gives_its_slot_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    guests = FakeGuests()
    async with Hub(OPTIONS, guests.open_terminal) as hub:
        await hub.session(GUEST)
        with monkeypatch.context() as patched:
            patched.setattr(agent, "call_lines", lambda *_: [b"x" * 5000])
            for _ in range(10):
                with pytest.raises(ValueError, match="too long"):
                    await hub.exec(GUEST, LONG)

        await use_all(hub)


@pytest.mark.parametrize("error", FAULTS)
async def test_a_fault_while_the_terminal_is_reserved_frees_it(error: type[BaseException]) -> None:
    guests = FakeGuests()
    for at in range(1, 6):
        async with Hub(OPTIONS, guests.open_terminal) as hub:
            await use_all(hub)
            guests.faults.arm(at, error)
            try:
                async with hub.reserve_terminal(GUEST, "vnc"):
                    pass
            except (error, errors.HubError):
                pass
            guests.faults.disarm()

            await recover(hub)
            await use_all(hub)
        assert guests.open_terminals == 0


async def test_a_starting_program_that_is_cancelled_is_ended_in_the_guest() -> None:
    guests = FakeGuests()
    async with Hub(OPTIONS, guests.open_terminal) as hub:
        await hub.session(GUEST)
        (terminal,) = guests.terminals
        terminal.execute = terminal.lines.append  # type: ignore[method-assign]
        running = asyncio.create_task(hub.exec(GUEST, ExecRequest(command="sleep 60")))
        await wait_until_sent(terminal, b"x 0.1 ")

        running.cancel()

        await wait_until_sent(terminal, b"k 0.1 TERM")


async def wait_until_sent(terminal: FakeTerminal, start: bytes) -> None:
    """Wait until a line that starts so has come to the guest."""
    async with asyncio.timeout(10):
        while not any(line.startswith(start) for line in terminal.lines):  # noqa: ASYNC110
            await asyncio.sleep(0.005)

"""Commands of many or long words arrive whole, and hold nobody up."""

import asyncio

import pytest
from tests.support import guest_consoles
from tests.support.guest_consoles import shared_hub  # noqa: F401

from pve402.hub import invocation
from pve402.hub.hub import Hub
from pve402.hub.request import ExecRequest
from pve402.proxmox.guests import GuestRef

pytestmark = guest_consoles.SHARING_A_HUB

MOST = invocation.LARGEST_ARGUMENTS
WORDS = {
    "many short": ["w"] * (MOST - 2),
    "many of a line's tenth": ["abcdefghijklmnopqrstuvwxyz0"] * 200,
    "many that just fit no line": ["x" * 1740, *["y"] * 40],
    "the largest allowed": ["z" * invocation.LARGEST_ARGUMENT_BYTES],
    "two of the largest": ["z" * 119_000, "é" * 60_000],
    "many of letters that are escaped": ["é\n'\x01\t%\\ü"] * 150,
    "quotes": ["'" * 500] * 30,
    "newlines": ["a\nb\n"] * 200,
    "empty ones": ["", "a", ""] * 60,
}


@pytest.mark.parametrize("words", WORDS.values(), ids=WORDS)
async def test_words_arrive_whole(hub: Hub, any_guest: GuestRef, words: list[str]) -> None:
    request = ExecRequest(argv=("printf", "%s\x1f", *words), output_limit_bytes=10**6)

    result = await hub.exec(any_guest, request)

    assert result.stdout.decode().split("\x1f")[:-1] == words
    assert result.exit_code == 0


@pytest.mark.parametrize("user", ["", "nobody"])
@pytest.mark.parametrize("env", [{}, {f"N{number}": "v" * 100 for number in range(128)}])
async def test_the_longest_command_runs_with_whatever_else_was_asked(
    hub: Hub, any_guest: GuestRef, user: str, env: dict[str, str]
) -> None:
    most = invocation.LARGEST_ARGUMENT_BYTES
    end, directory = 'printf "%s\n" "$PWD" $#', "/." * 2000
    command = f"{end} #{'x' * (most - len(end) - 2)}"
    extra = ("word",) * invocation.LARGEST_ARGUMENTS
    request = ExecRequest(command=command, extra_args=extra, env=env, cwd=directory, user=user)

    shown = (await hub.exec(any_guest, request)).stdout.decode().split()

    assert len(command) == most
    assert shown[1:] == ["250", *extra]


async def test_many_long_commands_one_after_the_other(hub: Hub, any_guest: GuestRef) -> None:
    request = ExecRequest(argv=("printf", "%s", *["abcdefghijklmnopqrstuvwxyz0"] * 200))

    for _ in range(20):
        assert len((await hub.exec(any_guest, request)).stdout) == 200 * 27


async def test_a_long_command_holds_up_no_other(hub: Hub, any_guest: GuestRef) -> None:
    order: list[str] = []

    async def run(name: str, command: str) -> None:
        assert (await hub.exec(any_guest, ExecRequest(command=command))).exit_code == 0
        order.append(name)

    await hub.session(any_guest)
    await asyncio.gather(
        run("long", f": {'x' * 100_000}"),
        run("as long", f": {'é' * 50_000}"),
        run("first", "true"),
        run("second", "true"),
    )

    assert set(order[:2]) == {"first", "second"}


async def test_a_long_command_may_be_cancelled_before_it_has_arrived(
    hub: Hub, any_guest: GuestRef
) -> None:
    for _ in range(20):
        running = asyncio.create_task(hub.exec(any_guest, ExecRequest(command="#" + "x" * 90_000)))
        await asyncio.sleep(0.001)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    async with asyncio.timeout(60):
        while (await hub.session(any_guest)).is_busy:  # noqa: ASYNC110 - only looking tells
            await asyncio.sleep(0.1)
    assert (await hub.exec(any_guest, ExecRequest(command="echo on"))).stdout == b"on\n"

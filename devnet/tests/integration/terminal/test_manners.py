"""The manners of the console chain, met over real sockets with real shells; each on and off."""

import asyncio
import contextlib
from dataclasses import replace

import aiohttp
import pytest
from devnet.tests.integration.terminal.conftest import Serve
from devnet.tests.support.console_client import CLEAR, TRAILER, Console, packet
from devnet.tests.support.guests import spec

from pve402_devnet.terminal.manners import POLITE, SessionEnd, TerminalManners

pytestmark = pytest.mark.namespaces

STAYS = TerminalManners(end=SessionEnd.STAYS_OPEN)
LARGE = 900_000


async def test_input_typed_right_after_ok_is_lost(serve: Serve) -> None:
    async with serve(STAYS) as bench:
        console = await bench.client.connect(140)
        await console.authenticate()
        await console.read_until(b"OK")
        await console.type(b"echo early\n")
        assert b"early" not in await console.read_quiet(0.5)


async def test_input_typed_right_after_ok_is_kept_when_polite(serve: Serve) -> None:
    async with serve(replace(POLITE, attach_seconds=0.1)) as bench:
        console = await bench.client.connect(140)
        await console.authenticate()
        await console.type(b"echo ear''ly\n")
        await console.read_until(b"early\r\n")


@pytest.mark.parametrize(("manners", "expected"), [(STAYS, b"a\r\nb\r\n"), (POLITE, b"a\nb\n")])
async def test_a_newline_of_a_raw_terminal(
    serve: Serve, manners: TerminalManners, expected: bytes
) -> None:
    async with serve(manners) as bench:
        console = await bench.client.open(140)
        await console.type(b"stty raw -echo; printf '<%s>' 'a\nb\n'; stty sane\n")
        await console.read_until(b"<a")
        assert b"a" + await console.read_until(b">") == expected + b">"


async def read_with_answers(console: Console, wanted: bytes) -> None:
    """Read up to `wanted`, answering each frame before it with a no-op packet."""
    seen = b""
    while wanted not in seen:
        more = await console.read_quiet(0.05)
        seen += more
        if more and wanted not in seen:
            await console.send(b"2")


async def test_a_second_small_answer_waits_until_the_client_sends_something(serve: Serve) -> None:
    # With an acknowledgement that takes for ever, what passes without one is seen.
    async with serve(replace(STAYS, stall_seconds=600)) as bench:
        console = await bench.client.connect(140)
        await console.authenticate()
        await read_with_answers(console, b"/ # ")
        await console.type(b"sleep 0.2; echo answ''er\n")
        assert b"answer" not in await console.read_quiet(0.6)
        await console.send(b"2")
        await console.read_until(b"answer")


async def test_the_shell_and_its_modes_outlive_the_client(serve: Serve) -> None:
    async with serve(STAYS) as bench:
        first = await bench.client.open(140)
        await first.type(b"X=kept; stty -echo\n")
        await first.read_quiet()
        await first.close()
        second = await bench.client.open(140)
        await second.type(b"echo $X; stty -a\n")
        assert b"echo $X" not in await second.read_until(b"kept")
        await second.read_until(b"-echo ")


async def test_two_consoles_share_one_shell(serve: Serve) -> None:
    async with serve(STAYS) as bench:
        first, second = await bench.client.open(140), await bench.client.open(140)
        await first.type(b"echo from the fi''rst\n")
        await second.read_until(b"from the first\r\r\n")
        await second.type(b"echo from the sec''ond\n")
        await first.read_until(b"from the second\r\r\n")


async def flood(serve: Serve, manners: TerminalManners, *, clients: int) -> int:
    """Print LARGE characters with so many clients attached; count what the first one gets."""
    async with serve(manners) as bench:
        owner = await bench.client.open(140)
        others = [await bench.client.open(140) for _ in range(clients - 1)]
        readers = [asyncio.create_task(other.read_quiet(10)) for other in others]
        await owner.read_quiet()
        await owner.type(b"head -c %d /dev/zero | tr '\\0' '\\132'; echo; echo EN''D\n" % LARGE)
        seen = await owner.read_quiet(1.0)
        for reader in readers:
            reader.cancel()
        return seen.count(b"Z")


async def test_large_output_has_holes_while_another_client_is_attached(serve: Serve) -> None:
    assert 10_000 < await flood(serve, STAYS, clients=2) < LARGE


async def test_large_output_is_whole_for_a_single_client(serve: Serve) -> None:
    assert await flood(serve, STAYS, clients=1) == LARGE


async def test_large_output_is_whole_for_two_when_polite(serve: Serve) -> None:
    assert await flood(serve, POLITE, clients=2) == LARGE


async def test_small_output_is_whole_while_another_client_is_attached(serve: Serve) -> None:
    async with serve(STAYS) as bench:
        owner, other = await bench.client.open(140), await bench.client.open(140)
        await owner.type(b"head -c 10000 /dev/zero | tr '\\0' '\\132'; echo; echo EN''D\n")
        assert (await owner.read_until(b"END")).count(b"Z") == 10_000
        assert (await other.read_until(b"END")).count(b"Z") == 10_000


async def test_the_end_of_a_session_may_drop_the_connection_without_the_trailer(
    serve: Serve,
) -> None:
    async with serve(TerminalManners(end=SessionEnd.DROPS)) as bench:
        console = await bench.client.open(140)
        await console.type(b"exit\n")
        assert TRAILER not in await console.wait_closed()


async def test_the_random_end_of_a_session_follows_its_seed(serve: Serve) -> None:
    ends = []
    for _ in range(2):
        async with serve(TerminalManners(seed=3, stopped_seconds=0), ct140=spec()) as bench:
            await bench.runtime.stop(140)
            for _ in range(8):
                console = await bench.client.connect(140)
                await console.authenticate()
                ends.append(await comes(console, TRAILER))
    assert ends[:8] == ends[8:]
    assert len(set(ends)) == 2


async def comes(console: Console, wanted: bytes) -> bool:
    """Whether it comes before the connection is dropped."""
    with contextlib.suppress(AssertionError):
        return bool(await console.read_until(wanted))
    return False


async def test_the_detach_key_ends_the_client_and_not_the_shell(serve: Serve) -> None:
    async with serve(STAYS) as bench:
        console = await bench.client.open(140)
        await console.type(b"X=kept\n")
        await console.read_quiet()
        await console.type(b"\x1c")
        await console.read_until(b"\x1b[999H\r\n[detached]\r\n\x1b[?25h")
        again = await bench.client.open(140)
        await again.type(b"echo $X\n")
        await again.read_until(b"kept\r\r\n")


@pytest.mark.parametrize(("manners", "data"), [(STAYS, b"abc\x1c"), (POLITE, b"\x1c")])
async def test_the_detach_key_elsewhere_is_plain_input(
    serve: Serve, manners: TerminalManners, data: bytes
) -> None:
    async with serve(manners) as bench:
        console = await bench.client.open(140)
        await console.type(b"stty raw -echo; echo rea''dy; head -c %d | od -c\n" % len(data))
        await console.read_until(b"ready")
        await console.type(data)
        await console.read_until(b"034")


async def test_a_packet_whose_header_is_split_at_4096_bytes_is_lost(serve: Serve) -> None:
    async with serve(STAYS) as bench:
        console = await bench.client.open(140)
        await console.type(b"stty -echo\n")
        await console.read_quiet()
        filler = packet(b"\n" * 4086)
        assert len(filler) == 4093
        await console.send(filler + packet(b"echo lo''st\n") + packet(b"echo aft''er\n"))
        assert b"lost" not in await console.read_quiet(1.0)


async def test_the_same_packets_arrive_when_polite(serve: Serve) -> None:
    async with serve(POLITE) as bench:
        console = await bench.client.open(140)
        await console.send(packet(b"\n" * 4086) + packet(b"echo fo''und\n"))
        await console.read_until(b"found")


async def test_a_flood_with_much_unread_input_wedges_until_the_stop(serve: Serve) -> None:
    async with serve(STAYS) as bench:
        console = await bench.client.open(140)
        await console.type(b"stty raw -echo; yes flood\n")
        await console.read_until(b"flood")
        for _ in range(40):
            await console.type(b"x" * 3000)
        await console.read_quiet(0.5)
        assert await console.read_quiet(0.5) == b""
        await bench.runtime.stop(140)
        await console.read_until(TRAILER)


async def test_a_flood_goes_on_when_polite(serve: Serve) -> None:
    async with serve(POLITE) as bench:
        console = await bench.client.open(140)
        await console.type(b"stty raw -echo; yes flood\n")
        await console.read_until(b"flood")
        for _ in range(20):
            await console.type(b"x" * 3000)
        for _ in range(20):
            assert await console.read_bytes(100_000)
        await bench.runtime.stop(140)


async def test_a_canonical_line_keeps_4095_characters(serve: Serve) -> None:
    async with serve(STAYS, ct140=spec("dash")) as bench:
        console = await bench.client.open(140)
        await console.type(b"stty -echo; wc -c\n")
        await console.read_quiet()
        await console.type(b"y" * 3000)
        await console.type(b"y" * 3000 + b"\n\x04")
        await console.read_until(b"4096\r\r\n")


async def test_the_last_resize_wins_and_sizes_have_16_bits(serve: Serve) -> None:
    async with serve(STAYS) as bench:
        first = await bench.client.open(140)
        await first.send(b"1:120:40:")
        second = await bench.client.open(140)
        await first.type(b"stty size\n")
        await first.read_until(b"20 80\r\r\n")
        await second.send(b"1:%d:30:" % (65536 + 90))
        await first.type(b"stty size\n")
        await first.read_until(b"30 90\r\r\n")


async def test_tokens_are_refused_silently_on_old_proxmox(serve: Serve) -> None:
    async with serve(replace(STAYS, refuses_tokens=True)) as bench:
        console = await bench.client.connect(140)
        await console.authenticate()
        assert await console.wait_closed() == b""
        assert bench.logs[-1] == "authentication request failed"


async def test_a_port_takes_one_client_and_is_dead_afterwards(serve: Serve) -> None:
    async with serve(replace(STAYS, dead_port_seconds=0.1)) as bench:
        console = await bench.client.connect(140)
        query = f"port={console.answer['port']}&vncticket={console.answer['ticket']}"
        path = f"{bench.client.lxc}/140/vncwebsocket?{query}"
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await bench.client.session.ws_connect(path)


async def test_a_worker_waits_for_its_client_only_so_long(serve: Serve) -> None:
    async with serve(replace(STAYS, connect_limit_seconds=0.1)) as bench:
        await bench.client.post(140, "termproxy")
        await asyncio.sleep(0.3)
        assert bench.logs == ["failed waiting for client: timed out"]


async def test_a_client_that_says_nothing_is_dropped(serve: Serve) -> None:
    async with serve(replace(STAYS, line_limit_seconds=0.1)) as bench:
        console = await bench.client.connect(140)
        assert await console.wait_closed() == b""
        assert bench.logs[-1] == "failed reading ticket: timed out"


async def test_a_frame_of_more_than_128_kib_ends_the_connection(serve: Serve) -> None:
    async with serve(STAYS) as bench:
        console = await bench.client.open(140)
        with contextlib.suppress(ConnectionError):
            await console.send(b"2" * (128 * 1024 + 1))
        await console.wait_closed()


async def test_a_login_prompt_stands_before_the_shell_in_mode_tty(serve: Serve) -> None:
    async with serve(STAYS, ct140=spec(cmode="tty", password="correct horse")) as bench:
        console = await bench.client.open(140)
        for password, expected in ((b"wrong", b"Login incorrect"), (b"correct horse", b"/ # ")):
            await console.type(b"root\n")
            await console.read_until(b"Password: ")
            await console.type(password + b"\n")
            assert password not in await console.read_until(expected)
            await console.read_quiet()


async def test_a_console_of_a_stopped_guest_opens_and_says_so(serve: Serve) -> None:
    async with serve(STAYS) as bench:
        await bench.runtime.stop(140)
        console = await bench.client.connect(140)
        await console.authenticate()
        assert await console.read_until(CLEAR) == b"OK" + CLEAR
        await console.read_until(b"Connection refused - Failed to get attach context")
        await console.read_until(TRAILER)


async def test_a_guest_that_is_started_again_has_a_new_shell(serve: Serve) -> None:
    async with serve(STAYS) as bench:
        console = await bench.client.open(140)
        await console.type(b"X=old; echo kept > /root/file\n")
        await console.read_quiet()
        await bench.client.post(140, "status/reboot")
        again = await bench.client.open(140)
        await again.type(b"echo [$X] $(cat /root/file)\n")
        await again.read_until(b"[] kept\r\r\n")

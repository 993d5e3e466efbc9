"""Balancers that say for whom they speak, and others that say it unasked."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from ipaddress import ip_address

import pytest
import structlog
from tests.support import jump_rig

from pve402.jump.proxies import Proxies

MAGIC = b"\r\n\r\n\0\r\nQUIT\n"
GREETING = b"SSH-2.0-pve402\r\n"
BUSY = b"too many new connections from this address"


def version_1(address: str) -> bytes:
    family = "TCP6" if ":" in address else "TCP4"
    return f"PROXY {family} {address} {address} 56324 22\r\n".encode()


def version_2(address: str, *, command: int = 0x21, more: bytes = b"") -> bytes:
    packed = ip_address(address).packed
    body = packed * 2 + struct.pack("!HH", 56324, 22) + more
    return (
        MAGIC
        + bytes([command, 0x21 if ":" in address else 0x11])
        + struct.pack("!H", len(body))
        + body
    )


async def said(port: int, *pieces: bytes) -> bytes:
    """What the host says to a connection that begins with these bytes and then ends."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        with contextlib.suppress(OSError):  # it has closed the connection already
            writer.write_eof()
        return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


@pytest.mark.parametrize(
    "header",
    [version_1, version_2, lambda address: version_2(address, more=b"\x04\0\x03abc")],
    ids=["version 1", "version 2", "version 2 with more"],
)
async def test_each_client_of_a_named_proxy_has_limits_of_its_own(header: object) -> None:
    assert callable(header)
    async with jump_rig.running(proxies=Proxies(("127.0.0.0/8",)), burst=2, per_second=0.0) as rig:
        for address in ("192.0.2.1", "2001:db8:1::1", "2001:db8:2::1"):
            answers = [await said(rig.port, header(address), b"SSH-2.0-x\r\n") for _ in range(3)]
            assert all(answer.startswith(GREETING) for answer in answers)
            assert [BUSY in answer for answer in answers] == [False, False, True]


@pytest.mark.parametrize(
    "header", [b"PROXY UNKNOWN\r\n", version_2("192.0.2.1", command=0x20)], ids=["1", "2"]
)
async def test_a_proxy_that_speaks_for_itself_is_a_client(header: bytes) -> None:
    async with jump_rig.running(proxies=Proxies(("127.0.0.1",))) as rig:
        assert (await said(rig.port, header)).startswith(GREETING)


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"PROXY TCP4 localhost 192.0.2.2 1 2\r\n",
        b"PROXY TCP4 192.0.2.1\r\n",
        b"PROXY TCP9 192.0.2.1 192.0.2.2 1 2\r\n",
        b"PROXY TCP4 \xff 192.0.2.2 1 2\r\n",
        b"PROXY " + b"x" * 200,
        MAGIC + b"\x31\x11\0\x0c" + bytes(12),
        MAGIC + b"\x21\x11\0\x03abc",
        MAGIC + b"\x21\x11\xff\xff" + bytes(65535),
    ],
)
async def test_a_named_proxy_that_does_not_say_it_is_not_served(header: bytes) -> None:
    async with jump_rig.running(proxies=Proxies(("127.0.0.1",))) as rig:
        assert await said(rig.port, header) == b""


async def test_the_log_says_now_and_then_that_a_proxy_sends_no_header() -> None:
    async with jump_rig.running(proxies=Proxies(("127.0.0.1",))) as rig:
        with structlog.testing.capture_logs() as logged:
            for _ in range(3):
                await said(rig.port, b"SSH-2.0-OpenSSH_9.2\r\n")

    told = {"event": "jump_no_proxy_header", "proxy": "127.0.0.1", "log_level": "warning"}
    assert logged == [told]


async def test_so_many_connections_of_a_proxy_wait_for_their_header_and_no_more() -> None:
    named = Proxies(("127.0.0.1",), most_waiting=1)
    async with jump_rig.running(proxies=named) as rig:
        reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
        assert await said(rig.port, version_1("192.0.2.1")) == b""

        writer.write(version_1("192.0.2.2"))
        assert await reader.readline() == GREETING
        assert (await said(rig.port, version_1("192.0.2.1"))).startswith(GREETING)
        writer.close()


async def test_strangers_cannot_choose_an_address() -> None:
    async with jump_rig.running(proxies=Proxies(("192.0.2.7",)), burst=2, per_second=0.0) as rig:
        answers = [await said(rig.port, version_1(f"198.51.100.{n}")) for n in range(3)]

    assert BUSY in answers[2]

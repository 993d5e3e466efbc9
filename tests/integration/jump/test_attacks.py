"""Strangers and tenants who want more of the jump host than it gives."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable

import asyncssh
import pytest
from asyncssh.packet import Boolean, String
from tests.support import jump_rig
from tests.support.jump_rig import Rig

KEY = asyncssh.generate_private_key("ssh-ed25519")
OTHER = asyncssh.generate_private_key("ssh-ed25519")
LEASE_ID = "l" + "0" * 25
USERAUTH_REQUEST = 50
GREETING = b"SSH-2.0-"


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    async with jump_rig.running() as made:
        yield made


async def refused(rig: Rig, name: str, key: asyncssh.SSHKey = KEY) -> str:
    """Try to log in; returns the error, and asserts that nothing was opened."""
    with pytest.raises(asyncssh.Error) as error:
        async with rig.client(name, key):
            pass
    assert rig.pipes == []
    return f"{type(error.value).__name__}: {error.value.reason}".replace(name, "NAME")


async def test_no_password_is_asked_for(rig: Rig) -> None:
    row = rig.lease(KEY)
    for name in (row.lease_id, LEASE_ID):
        methods = await asyncssh.get_server_auth_methods("127.0.0.1", rig.port, name)
        assert list(methods) == ["publickey"]


class Guesser(asyncssh.SSHClient):
    """Sends passwords, whether they are asked for or not."""

    sent = 0

    def connection_made(self, conn: asyncssh.SSHClientConnection) -> None:
        self.connection = conn

    async def public_key_auth_requested(self) -> None:
        while not self.connection.is_closed():
            fields = (String(LEASE_ID), String("ssh-connection"), String("password"))
            self.connection.send_packet(
                USERAUTH_REQUEST, *fields, Boolean(False), String(f"guess {self.sent}")
            )
            Guesser.sent += 1
            await asyncio.sleep(0)


async def test_who_guesses_passwords_is_cut_off(rig: Rig) -> None:
    with pytest.raises(asyncssh.DisconnectError):
        async with rig.client(LEASE_ID, client_factory=Guesser):
            pass
    assert 0 < Guesser.sent < 5_000


async def test_a_key_of_another_lease_opens_nothing_and_looks_like_no_lease(rig: Rig) -> None:
    rig.lease(KEY)
    mine = rig.lease(OTHER)

    assert await refused(rig, mine.lease_id) == await refused(rig, LEASE_ID)


@pytest.mark.parametrize("is_there", [True, False])
async def test_every_refusal_takes_its_time(rig: Rig, is_there: bool) -> None:
    name = rig.lease(OTHER).lease_id if is_there else LEASE_ID
    started = asyncio.get_running_loop().time()
    await refused(rig, name)

    assert asyncio.get_running_loop().time() - started >= jump_rig.OPTIONS.answer_seconds


async def test_some_keys_may_be_tried_and_no_more(rig: Rig) -> None:
    row = rig.lease(KEY)
    wrong = [asyncssh.generate_private_key("ssh-ed25519") for _ in range(6)]
    with pytest.raises(asyncssh.DisconnectError, match="too many keys"):
        async with asyncssh.connect(
            "127.0.0.1",
            rig.port,
            username=row.lease_id,
            client_keys=[*wrong, KEY],
            known_hosts=None,
            config=None,
            agent_path=None,
        ):
            pass


@pytest.mark.parametrize(
    "name",
    [
        *("10000", "root", "../../etc/passwd", "é" * 400, "x" * 1023),
        *(LEASE_ID.upper(), f"{LEASE_ID}/../root", f"root+{LEASE_ID}", "'; drop table leases; --"),
    ],
)
async def test_odd_user_names_open_nothing(rig: Rig, name: str) -> None:
    rig.lease(KEY)
    await refused(rig, name)
    assert rig.readings == 0


class Oddity(asyncssh.SSHClient):
    """Sends a user name that no client would."""

    name = b""

    def connection_made(self, conn: asyncssh.SSHClientConnection) -> None:
        self.connection = conn

    async def public_key_auth_requested(self) -> None:
        fields = (String(self.name), String("ssh-connection"), String("publickey"))
        blob = (Boolean(False), String("ssh-ed25519"), String(KEY.public_data))
        self.connection.send_packet(USERAUTH_REQUEST, *fields, *blob)
        await self.connection.wait_closed()


@pytest.mark.parametrize("name", [b"l\0root", b"\xff\xfe", b"x" * 5_000, b"x" * 60_000, b"\x1b[2J"])
async def test_names_that_are_no_text_end_the_connection(rig: Rig, name: bytes) -> None:
    client = type("Client", (Oddity,), {"name": name})
    with pytest.raises(asyncssh.DisconnectError):
        async with rig.client(LEASE_ID, client_factory=client):
            pass
    assert rig.readings == 0


@pytest.mark.parametrize(
    ("host", "port"),
    [
        *(("127.0.0.1", 22), ("localhost", 22), ("::1", 22), ("0.0.0.0", 22), ("", 22)),
        *(("guest", 80), ("guest", 0), ("guest", 2**32 - 1), ("10.0.0.1", 80), ("guest.", 22)),
        *(("169.254.169.254", 80), ("guest\x00.example.com", 22), ("example.com", 22)),
    ],
)
async def test_nothing_but_the_guest_can_be_reached(rig: Rig, host: str, port: int) -> None:
    async with rig.client(rig.lease(KEY).lease_id, KEY) as client:
        with pytest.raises(asyncssh.ChannelOpenError, match="port 22 of your container") as error:
            await client.open_connection(host, port)

    assert error.value.code == asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED
    assert rig.pipes == []


Act = Callable[[asyncssh.SSHClientConnection], Awaitable[object]]
FORBIDDEN: dict[str, Act] = {
    "shell": lambda client: client.create_process(),
    "exec": lambda client: client.run("id"),
    "pty": lambda client: client.create_process(term_type="vt100"),
    "sftp": lambda client: client.start_sftp_client(),
    "subsystem": lambda client: client.create_process(subsystem="netconf"),
    "x11": lambda client: client.create_process(x11_forwarding=True, x11_display=":9"),
    "remote port": lambda client: client.forward_remote_port("", 0, "127.0.0.1", 22),
    "remote socket": lambda client: client.forward_remote_path("/tmp/s", "/tmp/t"),
    "socket": lambda client: client.open_unix_connection("/var/run/docker.sock"),
    "tun": lambda client: client.open_tun(0),
    "tap": lambda client: client.open_tap(0),
}


@pytest.mark.parametrize("what", FORBIDDEN)
async def test_the_host_does_nothing_itself(rig: Rig, what: str) -> None:
    async with rig.client(rig.lease(KEY).lease_id, KEY) as client:
        with pytest.raises((asyncssh.ChannelOpenError, asyncssh.ChannelListenError, ValueError)):
            await FORBIDDEN[what](client)
        _, writer = await client.open_connection("guest", 22)  # and goes on
        writer.close()


async def hears(rig: Rig, sent: bytes, every: float | None = None) -> bytes:
    """Connect, send bytes once or for ever, and return all that the host says until it closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)

    async def drip() -> None:
        while True:
            writer.write(sent)
            await asyncio.sleep(every or 3600)

    dripping = asyncio.create_task(drip())
    try:
        async with asyncio.timeout(20):
            return await reader.read()
    except ConnectionError:
        return b""
    finally:
        dripping.cancel()
        await asyncio.gather(dripping, return_exceptions=True)
        writer.close()


@pytest.mark.parametrize(
    ("sent", "every"),
    [(b"", None), (b"SSH-2.0-slow\r\n", None), (b"S", 0.01), (b"SSH-2.0-x\r\n\0\0\0\x10", None)],
    ids=["silent", "version only", "drips", "half a packet"],
)
async def test_slow_clients_are_sent_away(sent: bytes, every: float | None) -> None:
    async with jump_rig.running(login_seconds=0.3) as rig:
        heard = await hears(rig, sent, every)
        is_reset = heard == b"" and every is not None  # it sent on after we had closed
        assert is_reset or (heard.startswith(GREETING) and b"no login within" in heard)


@pytest.mark.parametrize(
    "sent",
    [b"x" * 100_000, b"GET / HTTP/1.1\r\n\r\n", b"SSH-2.0-x\r\n" + b"\xff" * 70_000, bytes(9000)],
)
async def test_what_is_no_ssh_is_sent_away_at_once(rig: Rig, sent: bytes) -> None:
    heard = await hears(rig, sent)
    assert heard == b"" or heard.startswith(GREETING)
    async with rig.client(rig.lease(KEY).lease_id, KEY):
        pass


class Talker(asyncssh.SSHClient):
    """Never logs in, but talks on."""

    said = 0

    def connection_made(self, conn: asyncssh.SSHClientConnection) -> None:
        self.connection = conn

    async def public_key_auth_requested(self) -> None:
        while not self.connection.is_closed():
            self.connection.send_debug("x" * 1000)
            Talker.said += 1
            await asyncio.sleep(0)


async def test_a_handshake_that_never_ends_is_ended() -> None:
    """It may hold about thirty exchanges of keys, each of which costs us a millisecond or two."""
    async with jump_rig.running(login_seconds=60.0) as rig:
        with pytest.raises(asyncssh.Error, match="too much was sent before the login"):
            async with rig.client(LEASE_ID, client_factory=Talker):
                pass
        assert Talker.said > 10


async def test_one_address_cannot_take_all_places() -> None:
    async with jump_rig.running(strangers_per_party=2) as rig:
        held = [await asyncio.open_connection("127.0.0.1", rig.port) for _ in range(2)]
        for reader, _ in held:
            await reader.readline()
        assert b"too many connections from this address" in await hears(rig, b"")
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", rig.port, local_addr=("127.0.0.2", 0)
        )
        assert (await reader.readline()).startswith(GREETING)
        for _, each in [*held, (reader, writer)]:
            each.close()


async def test_an_address_that_keeps_failing_has_to_wait_and_no_other() -> None:
    async with jump_rig.running(free_failures=3) as rig:
        row = rig.lease(KEY)
        for _ in range(4):
            await hears(rig, b"nothing\n")
        assert b"too many failed logins" in await hears(rig, b"")
        with pytest.raises(asyncssh.Error, match="too many failed logins"):
            async with rig.client(row.lease_id, KEY):
                pass
        async with rig.client(row.lease_id, KEY, local_addr=("127.0.0.2", 0)):
            pass


GREEDY = """
import asyncio, os, signal, sys, asyncssh
class Session(asyncssh.SSHTCPSession):
    def data_received(self, data, datatype):
        os.kill(os.getpid(), signal.SIGSTOP)
async def main():
    client = await asyncssh.connect("127.0.0.1", int(sys.argv[1]), username=sys.argv[2],
        client_keys=[asyncssh.import_private_key(sys.argv[3])], known_hosts=None, config=None)
    await client.create_connection(Session, "guest", 22, window=2**31 - 1)
    await asyncio.sleep(60)
asyncio.run(main())
"""


async def test_a_client_that_does_not_read_costs_no_memory(rig: Rig) -> None:
    rig.pipe_of_guest = jump_rig.EndlessPipe
    row = rig.lease(KEY)
    private = KEY.export_private_key().decode()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", GREEDY, str(rig.port), row.lease_id, private
    )
    try:
        async with asyncio.timeout(60):
            await jump_rig.until(lambda: bool(rig.pipes) and rig.pipes[0].given > 100_000)
            seen = -1
            while rig.pipes[0].given != seen:
                seen = rig.pipes[0].given
                await asyncio.sleep(1)
    finally:
        process.kill()
        await process.wait()

    assert seen < 32_000_000  # what fits into the kernel's buffers


async def test_a_guest_that_does_not_listen_stops_its_client(rig: Rig) -> None:
    rig.pipe_of_guest = jump_rig.EndlessPipe
    async with rig.client(rig.lease(KEY).lease_id, KEY) as client:
        reader, writer = await client.open_connection("guest", 22)
        reading = asyncio.create_task(_swallow(reader))
        writer.write(bytes(8_000_000))
        waiting = asyncio.create_task(writer.drain())
        done, _ = await asyncio.wait([waiting], timeout=1)
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)

        assert not done
        waiting.cancel()


async def _swallow(reader: asyncssh.SSHReader[bytes]) -> None:
    while await reader.read(65_536):
        pass

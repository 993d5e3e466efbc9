"""Logging in to the jump host, and what it then carries."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from typing import Any

import asyncssh
import pytest
from tests.support import fake_leases, jump_rig
from tests.support.jump_rig import BANNER, Rig

from pve402.domain import power

KEY = asyncssh.generate_private_key("ssh-ed25519")
OTHER = asyncssh.generate_private_key("ssh-ed25519")
DATA = os.urandom(3_000_000)


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    async with jump_rig.running() as made:
        yield made


@pytest.mark.parametrize("host", ["guest", "GUEST", "demo-server", ""])
async def test_bytes_pass_both_ways_whole(rig: Rig, host: str) -> None:
    row = rig.lease(KEY)
    async with rig.client(row.lease_id, KEY) as client:
        reader, writer = await client.open_connection(host or row.lease_id, 22)
        writer.write(DATA)
        writer.write_eof()
        said = await reader.read()

    assert said == BANNER + DATA
    await jump_rig.until(lambda: rig.pipes[0].is_closed)


async def test_new_keys_on_the_way_lose_nothing(rig: Rig) -> None:
    row = rig.lease(KEY)
    async with rig.client(row.lease_id, KEY, rekey_bytes=200_000) as client:
        reader, writer = await client.open_connection("guest", 22)
        writer.write(DATA)
        writer.write_eof()
        assert await reader.read() == BANNER + DATA


@pytest.mark.parametrize("kind", ["ssh-ed25519", "ecdsa-sha2-nistp256", "ssh-rsa"])
async def test_every_usual_kind_of_key_opens(rig: Rig, kind: str) -> None:
    key = asyncssh.generate_private_key(kind)
    async with rig.client(rig.lease(key).lease_id, key) as client:
        assert client.get_extra_info("send_cipher") is not None


async def test_a_key_counts_from_the_moment_it_is_added_until_it_is_removed(rig: Rig) -> None:
    row = rig.lease()
    with pytest.raises(asyncssh.PermissionDenied):
        async with rig.client(row.lease_id, KEY):
            pass
    rig.keys[row.lease_id].add(KEY.get_fingerprint())
    async with rig.client(row.lease_id, KEY) as client:
        await client.open_connection("guest", 22)
        rig.keys[row.lease_id].clear()
        with pytest.raises(asyncssh.ChannelOpenError, match="key was removed"):
            await client.open_connection("guest", 22)


async def test_a_removed_key_closes_the_connections_that_it_opened() -> None:
    async with jump_rig.running(recheck_seconds=0.05) as rig:
        row = rig.lease(KEY, OTHER)
        async with rig.client(row.lease_id, KEY) as gone, rig.client(row.lease_id, OTHER) as kept:
            reader, _ = await gone.open_connection("guest", 22)
            _, writer = await kept.open_connection("guest", 22)
            rig.keys[row.lease_id].remove(KEY.get_fingerprint())

            assert await reader.read() == BANNER
            await gone.wait_closed()
            await jump_rig.until(lambda: rig.pipes[0].is_closed)

            readings = rig.readings
            await jump_rig.until(lambda: rig.readings > readings + 2)
            assert not writer.is_closing()
            assert not rig.pipes[1].is_closed


async def test_a_guest_without_a_server_says_so(rig: Rig) -> None:
    rig.pipe_of_guest = jump_rig.AbsentPipe
    async with rig.client(rig.lease(KEY).lease_id, KEY) as client:
        with pytest.raises(asyncssh.ChannelOpenError) as refused:
            await client.open_connection("guest", 22)

    assert refused.value.reason == "pve402: this container has no sshd [31m"
    assert rig.pipes[0].is_closed


async def test_a_connection_carries_a_few_channels_and_gives_them_back(rig: Rig) -> None:
    async with rig.client(rig.lease(KEY).lease_id, KEY) as client:
        open_ones = [await client.open_connection("guest", 22) for _ in range(4)]
        with pytest.raises(asyncssh.ChannelOpenError, match="carries enough"):
            await client.open_connection("guest", 22)
        open_ones[0][1].close()
        await open_ones[0][1].wait_closed()
        await jump_rig.until(lambda: rig.pipes[0].is_closed)
        await client.open_connection("guest", 22)


async def test_a_client_that_leaves_lets_go_of_the_guest(rig: Rig) -> None:
    async with rig.client(rig.lease(KEY).lease_id, KEY) as client:
        await client.open_connection("guest", 22)
        client.abort()
    await jump_rig.until(lambda: rig.pipes[0].is_closed)
    assert len(rig.pipes) == 1


async def test_the_host_key_is_the_same_wherever_the_secret_is() -> None:
    async with jump_rig.running() as one, jump_rig.running() as two:
        keys = [await asyncssh.get_server_host_key("127.0.0.1", each.port) for each in (one, two)]

    assert keys[0] is not None
    assert keys[1] is not None
    assert keys[0].export_public_key() == keys[1].export_public_key()


async def test_a_lease_has_so_many_connections() -> None:
    async with jump_rig.running(per_lease=1) as rig:
        row = rig.lease(KEY)
        async with rig.client(row.lease_id, KEY), rig.client(row.lease_id, KEY) as second:
            await second.wait_closed()
            assert rig.pipes == []


class Leaving(asyncssh.SSHClient):
    """A client that keeps what it was told at the end."""

    told = ""

    def connection_lost(self, exc: Exception | None) -> None:
        self.told = str(exc)


def paused(*given: asyncssh.SSHKey, wake_on: str = "command") -> dict[str, Any]:
    """What a paused lease has that was sold with these keys."""
    lines = [key.export_public_key().decode().strip() for key in given]
    metadata = {"sshPublicKeys": lines, "wakeOn": [wake_on]}
    return {"paused_at": fake_leases.NOW, "metadata": metadata}


async def test_a_login_wakes_a_paused_lease_before_its_guest_is_entered(rig: Rig) -> None:
    row = rig.lease(KEY, **paused(KEY))
    async with rig.client(row.lease_id, KEY) as client:
        reader, _ = await client.open_connection("guest", 22)

        assert await reader.read(len(BANNER)) == BANNER
        assert rig.woken == [row.lease_id]


@pytest.mark.parametrize(("given", "wake_on"), [(OTHER, "command"), (KEY, "port")])
async def test_no_other_login_wakes_a_lease(rig: Rig, given: asyncssh.SSHKey, wake_on: str) -> None:
    row = rig.lease(KEY, **paused(given, wake_on=wake_on))

    with pytest.raises(asyncssh.PermissionDenied):
        async with rig.client(row.lease_id, KEY):
            pass

    assert rig.woken == []


async def test_a_key_that_was_removed_before_the_pause_does_not_enter(rig: Rig) -> None:
    row = rig.lease(OTHER, **paused(KEY))
    async with rig.client(row.lease_id, KEY) as client:
        with pytest.raises(asyncssh.ChannelOpenError, match="key was removed"):
            await client.open_connection("guest", 22)

    assert rig.pipes == []


async def test_who_cannot_wake_a_lease_is_told_why(rig: Rig) -> None:
    row, rig.refusal = rig.lease(KEY, **paused(KEY)), power.TooManyWakes(60)
    leaving = Leaving()
    async with rig.client(row.lease_id, KEY, client_factory=lambda: leaving) as client:
        await client.wait_closed()

    assert "woken too often" in leaving.told
    assert rig.pipes == []


async def test_who_only_shows_a_key_wakes_nothing(rig: Rig) -> None:
    row = rig.lease(KEY, **paused(KEY))
    (shown,), (pair,) = (asyncssh.load_keypairs([key]) for key in (KEY, OTHER))
    pair.public_data = shown.public_data  # and signs with another

    with pytest.raises(asyncssh.PermissionDenied):
        async with rig.client(row.lease_id, pair):
            pass

    assert rig.woken == []

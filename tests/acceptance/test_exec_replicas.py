"""Two servers on one PostgreSQL: one holds a guest's terminal, the other hands calls on to it."""

from __future__ import annotations

import asyncio
import concurrent.futures
import hashlib
import json
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import asyncssh
import pytest
import requests
from tests.support import commands, openssh, processes
from tests.support.commands import Container
from tests.support.processes import DevnetProcess, ServeProcess
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

pytestmark = pytest.mark.postgres


@dataclass(kw_only=True)
class Pair:
    """A container whose terminal is held by one server, seen at the holder and at the other."""

    at_holder: Container
    at_other: Container
    peer_of_holder: str
    jump_of_other: int


@pytest.fixture(scope="module")
def start_pair(
    devnet: DevnetProcess, postgres_server, tmp_path_factory
) -> Iterator[Callable[..., Pair]]:
    """Start two servers on a fresh database, and lease a container that one of them holds."""
    with ExitStack() as stack:

        def start(**more: str) -> Pair:
            url = postgres_server.create_database()
            first, peer, _ = serve_replica(stack, devnet, url, tmp_path_factory, **more)
            second, _, jump = serve_replica(stack, devnet, url, tmp_path_factory, **more)
            container = commands.lease(first)
            assert container.output("echo held") == "held\n"
            return Pair(
                at_holder=container,
                at_other=container.at(second),
                peer_of_holder=peer,
                jump_of_other=jump,
            )

        yield start


def serve_replica(
    stack: ExitStack, devnet: DevnetProcess, url: str, tmp_path_factory, **more: str
) -> tuple[ServeProcess, str, int]:
    """Start a server on a database; returns it, where peers reach it, and its jump host's port."""
    address, jump = f"127.0.0.1:{processes.free_port()}", processes.free_port()
    settings = {
        "DATABASE_URL": url.replace("postgresql+asyncpg", "postgresql"),
        "PVE402_SECRET_KEY": "0123456789abcdef" * 4,
        "PVE402_PEER_BIND": address,
        "PVE402_SSH_BIND": f"127.0.0.1:{jump}",
        "PVE402_INSTANCE": hashlib.sha256(url.encode()).hexdigest()[:12],
        **more,
    }
    folder = tmp_path_factory.mktemp("replica")
    served = stack.enter_context(processes.serving(folder, devnet, **settings))
    return served, address, jump


@pytest.fixture(scope="module")
def pair(start_pair: Callable[[], Pair]) -> Pair:
    """Two servers that both live through this module."""
    return start_pair()


def test_a_command_is_handed_on(pair: Pair):
    answer = pair.at_other.run(command="cat; exit 3", stdin="over there")

    assert (answer["stdout"], answer["exitCode"]) == ("over there", 3)
    assert pair.at_holder.look(answer["execId"]).json()["stdout"] == "over there"


async def test_the_jump_host_leads_to_the_other_servers_containers(pair: Pair):
    key = asyncssh.generate_private_key("ssh-ed25519")
    public = {"publicKey": key.export_public_key("openssh").decode().strip()}
    keys_url = f"{pair.at_holder.service.url}/management/keys/{pair.at_holder.ctid}"
    added = await asyncio.to_thread(
        requests.post, keys_url, json=public, headers=pair.at_holder.bearer, timeout=30
    )
    assert added.ok, added.text
    await asyncio.to_thread(openssh.pretend, pair.at_holder)
    lease_id, data = pair.at_holder.lease_id, os.urandom(400_000)
    async with asyncssh.connect(
        "127.0.0.1",
        pair.jump_of_other,
        username=lease_id,
        client_keys=[key],
        known_hosts=None,
        config=None,
        agent_path=None,
    ) as client:
        reader, writer = await client.open_connection(lease_id, 22)
        writer.write(data)
        writer.write_eof()
        assert await reader.read() == openssh.PRETENDED + data
        await asyncio.to_thread(pair.at_holder.output, "rm /usr/local/sbin/sshd")
        with pytest.raises(asyncssh.ChannelOpenError, match="no sshd"):
            await client.open_connection(lease_id, 22)


def test_refusals_are_handed_back(pair: Pair):
    assert pair.at_other.look("e" + "0" * 24).json()["code"] == "exec_not_found"
    reply = requests.get(
        pair.at_other.files_url,
        params={"path": "/no/such"},
        headers=pair.at_other.bearer,
        timeout=30,
    )
    assert (reply.status_code, reply.json()["code"]) == (404, "file_missing")


def test_events_are_handed_on_as_they_come(pair: Pair):
    with pair.at_other.stream(command="echo one; read x; echo $x", openStdin=True) as reply:
        seen = commands.events(reply)
        exec_id = next(seen).facts["execId"]
        assert next(seen).output == b"one\n"
        pair.at_other.call("POST", f"{exec_id}/stdin?close=true", data=b"two\n")
        rest = list(seen)

    assert (rest[0].output, rest[-1].kind) == (b"two\n", "exit")


def test_files_are_handed_on_both_ways(pair: Pair):
    data = os.urandom(400_000)
    query = {"path": "/root/handed on"}
    put = requests.put(
        pair.at_other.files_url,
        params=query,
        data=iter([data[:150_000], data[150_000:]]),
        headers=pair.at_other.bearer,
        timeout=60,
    )
    got = requests.get(
        pair.at_other.files_url, params=query, headers=pair.at_other.bearer, timeout=60
    )

    assert put.json()["sha256"] == hashlib.sha256(data).hexdigest()
    assert got.content == data
    assert got.headers["etag"] == put.headers["etag"]


def test_a_websocket_is_handed_on(pair: Pair):
    url = pair.at_other.url.replace("http://", "ws://") + "/ws"
    received = {1: b"", 2: b"", 3: b""}
    with connect(url, additional_headers=pair.at_other.bearer, proxy=None) as there:
        there.send(json.dumps({"command": "cat; exit 9", "openStdin": True}))
        assert "execId" in json.loads(there.recv())
        there.send(b"\x00through two servers")
        there.send(b"\xff\x00")
        for message in there:
            received[bytes(message)[0]] += bytes(message)[1:]

    assert received[1] == b"through two servers"
    assert json.loads(received[3])["exitCode"] == 9
    assert there.close_code == 1000


def test_a_stream_is_handed_on_and_taken_up_at_the_other_replica(pair: Pair):
    @contextmanager
    def opened(at: Container, **hello: object) -> Iterator[tuple[ClientConnection, dict]]:
        url = f"ws{at.service.url.removeprefix('http')}/management/stream/{at.ctid}"
        with connect(url, additional_headers=at.bearer, proxy=None) as socket:
            socket.send(json.dumps(hello))
            yield socket, json.loads(socket.recv(timeout=30))

    have = len("through two servers")
    with opened(pair.at_other, command="cat; exit 9") as (first, ready):
        first.send(b"\x00through two servers")
        assert first.recv(timeout=30) == b"\x01through two servers"
        first.socket.shutdown(socket.SHUT_RDWR)  # the connection breaks

    with opened(pair.at_holder, resume=ready["streamId"], position=have) as (second, taken_up):
        assert taken_up["received"] == have
        second.send(b"\x00, then one")
        assert second.recv(timeout=30) == b"\x01, then one"
        second.socket.shutdown(socket.SHUT_RDWR)

    have += len(", then one")
    with opened(pair.at_other, resume=ready["streamId"], position=have) as (third, taken_up):
        assert taken_up["received"] == have
        third.send(b"\xff\x00")
        told = b"".join(third)
    assert json.loads(told[told.index(b"\x03") + 1 :])["exitCode"] == 9
    assert third.close_code == 1000


@pytest.mark.parametrize("way", ["socket", "events"])
def test_what_a_token_opened_at_the_other_ends_with_the_token(start_pair, way: str):
    pair = start_pair()
    other = pair.at_other
    if way == "socket":
        url = f"{other.url}/ws".replace("http://", "ws://")
        with connect(url, additional_headers=other.bearer, proxy=None) as there:
            there.send(json.dumps({"argv": ["sleep", "4716"]}))
            there.recv()
            requests.delete(f"{other.service.url}/auth/token", headers=other.bearer, timeout=30)
            with pytest.raises(ConnectionClosed):
                there.recv(timeout=60)
        assert (there.close_code, there.close_reason) == (4401, "token_revoked")
        return
    with other.stream(argv=["sleep", "4716"]) as reply:
        seen = commands.events(reply)
        next(seen)
        requests.delete(f"{other.service.url}/auth/token", headers=other.bearer, timeout=30)
        (last,) = seen
    assert (last.kind, last.facts["code"]) == ("error", "token_revoked")


def test_a_client_that_goes_away_at_the_other_ends_its_command(pair: Pair):
    with commands.asking(pair.at_other, argv=["sleep", "4715"]) as client:
        pair.at_holder.wait_until_running("sleep", "4715")
        client.close()

    pair.at_holder.wait_until_gone("sleep", "4715")


def test_both_may_be_used_at_once(pair: Pair):
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        places = [pair.at_holder, pair.at_other] * 6
        asked = [pool.submit(at.output, f"seq {n} {n + 300}") for n, at in enumerate(places)]
        answers = [work.result() for work in asked]

    assert answers == ["".join(f"{i}\n" for i in range(n, n + 301)) for n in range(12)]


@pytest.mark.parametrize("path", ["/management/exec/{ctid}", "/peer/end", "/lease/container"])
def test_the_peer_address_serves_nobody_else(pair: Pair, path: str):
    url = f"http://{pair.peer_of_holder}{path.format(ctid=pair.at_holder.ctid)}"

    bare = requests.post(url, json={"command": "id"}, timeout=30)
    with_token = requests.post(
        url, json={"command": "id"}, headers=pair.at_holder.bearer, timeout=30
    )
    forged = requests.post(
        url,
        json={"command": "id"},
        headers={
            "pve402-peer-lease": pair.at_holder.lease_id,
            "pve402-peer-body": "0" * 64,
            "pve402-peer-time": str(int(time.time())),
            "pve402-peer-nonce": "0" * 32,
            "pve402-peer-signature": "0" * 64,
        },
        timeout=30,
    )

    assert [bare.status_code, with_token.status_code, forged.status_code] == [401, 401, 401]
    assert (bare.content, forged.content) == (b"", b"")


def test_the_public_port_takes_no_peer_call(pair: Pair):
    headers = {"pve402-peer-lease": pair.at_other.lease_id, "pve402-peer-signature": "0" * 64}

    assert requests.post(pair.at_other.url, json={}, headers=headers, timeout=30).status_code == 402
    there = requests.post(f"{pair.at_other.service.url}/peer/end", timeout=30)
    assert there.status_code == 404


def test_the_end_of_a_lease_at_one_ends_what_the_other_holds(start_pair: Callable[[], Pair]):
    pair = start_pair()
    with pair.at_holder.stream(command="echo here; sleep 600") as reply:
        seen = commands.events(reply)
        assert [next(seen).kind, next(seen).kind] == ["start", "stdout"]

        ended = requests.delete(
            f"{pair.at_other.service.url}/lease/{pair.at_other.lease_id}",
            headers=pair.at_other.bearer,
            timeout=30,
        )

        assert ended.status_code == 202
        last = list(seen)[-1]
        assert (last.kind, last.facts["code"]) == ("error", "guest_closed")


def test_a_killed_holder_is_replaced_within_seconds(start_pair: Callable[[], Pair]):
    pair = start_pair()
    detached = pair.at_holder.run(command="echo kept; sleep 30", detach=True)["execId"]
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(pair.at_other.post, argv=["sleep", "4716"])
        pair.at_holder.wait_until_running("sleep", "4716")
        pair.at_holder.service.process.end(signal.SIGKILL)
        lost = waiting.result()

    answer = pair.at_other.run(command="echo mine")

    assert (lost.status_code, lost.json()["code"]) == (502, "session_lost")
    assert lost.json()["execId"].startswith("e")
    assert answer["stdout"] == "mine\n"
    pair.at_other.wait_until_gone("sleep", "4716")
    assert pair.at_other.look(detached).json()["stdout"] == "kept\n"

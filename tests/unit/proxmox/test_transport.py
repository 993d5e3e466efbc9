"""What is known of a call when the wire breaks, stalls or carries something else."""

import asyncio
import gzip
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from tests.support import scripted_server
from tests.support.scripted_server import Behaviour, ScriptedServer

from pve402.proxmox import answers, errors
from pve402.proxmox.client import ProxmoxClient, ProxmoxOptions
from pve402.proxmox.options import TimeLimits
from pve402.proxmox.transport import Transport

GOOD = scripted_server.data('"100"')
BROKEN = [Behaviour.DROP, Behaviour.RESET]


@pytest.fixture
async def hasty(options: ProxmoxOptions) -> AsyncIterator[ProxmoxClient]:
    """A client that waits 0.3 s."""
    limits = TimeLimits(write_seconds=0.3, console_seconds=0.3)
    async with ProxmoxClient(replace(options, limits=limits, max_answer_bytes=1000)) as client:
        yield client


@pytest.mark.parametrize("broken", BROKEN)
async def test_a_read_is_repeated_once_when_its_connection_breaks(
    broken: Behaviour, server: ScriptedServer, client: ProxmoxClient
) -> None:
    server.script = [broken, GOOD]

    assert await client.call("GET", "/cluster/nextid") == "100"
    assert len(server.requests) == 2


async def test_a_read_is_repeated_no_more_than_once(
    server: ScriptedServer, client: ProxmoxClient
) -> None:
    server.script = [Behaviour.DROP, Behaviour.DROP, GOOD]

    with pytest.raises(errors.ConnectionDropped):
        await client.call("GET", "/cluster/nextid")
    assert len(server.requests) == 2


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
@pytest.mark.parametrize("broken", BROKEN)
@pytest.mark.parametrize("reused", [False, True], ids=["fresh", "reused"])
async def test_a_write_is_never_repeated_and_its_outcome_is_unknown(
    method: str, broken: Behaviour, reused: bool, server: ScriptedServer, client: ProxmoxClient
) -> None:
    server.script = [*([GOOD] if reused else []), broken, GOOD]
    if reused:
        await client.call("GET", "/cluster/nextid")

    with pytest.raises(errors.OutcomeUnknown):
        await client.call(method, "/nodes/pve/lxc/101", {"a": 1})
    assert [request.method for request in server.requests].count(method) == 1
    assert server.connections == 1


async def test_calls_share_a_kept_alive_connection(
    server: ScriptedServer, client: ProxmoxClient
) -> None:
    server.script = [GOOD] * 5

    for _ in range(5):
        await client.call("GET", "/cluster/nextid")

    assert server.connections == 1


async def test_a_connection_that_idled_too_long_is_not_used_again(
    server: ScriptedServer, options: ProxmoxOptions
) -> None:
    server.script = [GOOD, GOOD]
    limits = TimeLimits(idle_connection_seconds=0.02)
    async with ProxmoxClient(replace(options, limits=limits)) as client:
        await client.call("GET", "/cluster/nextid")
        await asyncio.sleep(0.1)
        await client.call("POST", "/nodes/pve/lxc")

    assert server.connections == 2


async def test_a_write_goes_over_a_new_connection_where_the_server_closed_the_old_one(
    server: ScriptedServer, client: ProxmoxClient
) -> None:
    closing = scripted_server.answer(401, "No ticket", headers={"Connection": "close"})
    server.script = [closing, GOOD]

    with pytest.raises(errors.AuthenticationFailed):
        await client.call("GET", "/version")
    await client.call("POST", "/nodes/pve/lxc")

    assert server.connections == 2


@pytest.mark.parametrize("silent", [True, False], ids=["says nothing", "speaks plainly"])
async def test_a_host_that_does_not_speak_tls_is_unreachable(
    silent: bool, options: ProxmoxOptions
) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not silent:
            writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await reader.read()
        writer.close()

    plain = await asyncio.start_server(serve, "127.0.0.1", 0)
    host = f"https://127.0.0.1:{plain.sockets[0].getsockname()[1]}"
    limits = TimeLimits(connect_seconds=0.2)
    async with plain, ProxmoxClient(replace(options, host=host, limits=limits)) as client:
        with pytest.raises(errors.Unreachable):
            await client.call("POST", "/nodes/pve/lxc")


async def test_nobody_listening_is_unreachable(unused_tcp_port: int) -> None:
    options = ProxmoxOptions(
        host=f"http://127.0.0.1:{unused_tcp_port}", token_id="a@pve!b", token_secret="secret"
    )
    async with ProxmoxClient(options) as client:
        with pytest.raises(errors.Unreachable, match=f":{unused_tcp_port}: "):
            await client.call("POST", "/nodes/pve/lxc/101/status/start")


async def test_a_host_name_nobody_knows_is_unreachable() -> None:
    options = ProxmoxOptions(host="pve.invalid", token_id="a@pve!b", token_secret="secret")
    async with ProxmoxClient(options) as client:
        with pytest.raises(
            errors.Unreachable, match=r"pve\.invalid:8006: the host name is not known"
        ):
            await client.call("POST", "/nodes/pve/lxc/101/status/start")


async def test_silence_after_sending_leaves_the_outcome_unknown(
    server: ScriptedServer, hasty: ProxmoxClient
) -> None:
    server.script = [Behaviour.SILENCE]

    with pytest.raises(errors.OutcomeUnknown, match=r"within 0\.3 s"):
        await hasty.call("POST", "/nodes/pve/lxc")


async def test_a_call_that_waits_for_a_slot_only_was_not_sent(
    server: ScriptedServer, options: ProxmoxOptions
) -> None:
    server.script = [Behaviour.SILENCE]
    async with ProxmoxClient(replace(options, max_parallel_calls=1)) as client:
        first = asyncio.create_task(client.call("POST", "/nodes/pve/lxc", limit_seconds=5))
        await server.arrived.wait()

        with pytest.raises(errors.Unreachable):
            await client.call("POST", "/nodes/pve/lxc", limit_seconds=0.2)
        first.cancel()

    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (595, errors.Unreachable),
        (596, errors.OutcomeUnknown),
        (597, errors.OutcomeUnknown),
        (598, errors.OutcomeUnknown),
        (599, errors.OutcomeUnknown),
        (502, errors.OutcomeUnknown),
        (504, errors.OutcomeUnknown),
        (201, errors.OutcomeUnknown),
        (700, errors.OutcomeUnknown),
        (301, errors.UnexpectedAnswer),
        (404, errors.UnexpectedAnswer),
    ],
)
async def test_statuses_of_the_wire_tell_whether_a_write_was_executed(
    status: int, error: type[errors.ProxmoxError], server: ScriptedServer, client: ProxmoxClient
) -> None:
    server.script = [scripted_server.answer(status, "")]

    with pytest.raises(errors.ProxmoxError) as caught:
        await client.call("POST", "/nodes/pve/lxc")
    assert type(caught.value) is error


NONSENSE = {
    "html": b"<html>Bad gateway</html>",
    "empty": b"",
    "list": b"[]",
    "no data": b"{}",
    "bytes": bytes(range(256)),
    "deep": b"[" * 900,
    "not a number": b'{"data":NaN}',
    "compressed": gzip.compress(b'{"data":null}'),
    "too large": b'{"data":"' + b"x" * 1000 + b'"}',
}


@pytest.mark.parametrize("body", NONSENSE.values(), ids=NONSENSE.keys())
@pytest.mark.parametrize(
    ("method", "error"),
    [("GET", errors.UnexpectedAnswer), ("POST", errors.OutcomeUnknown)],
)
async def test_an_answer_that_is_none_has_a_class(
    body: bytes,
    method: str,
    error: type[errors.ProxmoxError],
    server: ScriptedServer,
    hasty: ProxmoxClient,
) -> None:
    server.script = [scripted_server.answer(200, "OK", body)]

    with pytest.raises(errors.ProxmoxError) as caught:
        await hasty.call(method, "/nodes/pve/lxc")
    assert type(caught.value) is error


@pytest.mark.parametrize(
    "raw",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\nConnection: close\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000 + b"\r\n\r\n",
    ],
    ids=["not http", "cut short", "endless header"],
)
async def test_what_is_not_http_leaves_the_outcome_unknown(
    raw: bytes, server: ScriptedServer, client: ProxmoxClient
) -> None:
    server.script = [raw]

    with pytest.raises(errors.OutcomeUnknown):
        await client.call("POST", "/nodes/pve/lxc")


async def test_redirects_are_not_followed(server: ScriptedServer, client: ProxmoxClient) -> None:
    away = {"Location": f"{server.url}/elsewhere"}
    server.script = [scripted_server.answer(302, "Found", headers=away), GOOD]

    with pytest.raises(errors.UnexpectedAnswer):
        await client.call("GET", "/version")
    assert len(server.requests) == 1


async def test_parameters_of_reads_are_a_query_and_of_writes_a_form(
    server: ScriptedServer, client: ProxmoxClient
) -> None:
    server.script = [GOOD] * 4
    odd = {"a": "b&c=d e+f%", "yes": True, "no": False, "left-out": None}

    for method in ("GET", "DELETE", "POST", "PUT"):
        await client.call(method, "/x", odd)

    sent = {"a": "b&c=d e+f%", "yes": "1", "no": "0"}
    assert [request.query for request in server.requests] == [sent, sent, {}, {}]
    assert [request.form for request in server.requests] == [{}, {}, sent, sent]


async def test_a_closed_transport_can_be_closed_again(options: ProxmoxOptions) -> None:
    wire = Transport(options)
    await wire.close()

    await wire.close()

    assert wire._session is None


async def test_a_websocket_that_stays_silent_is_unreachable(
    server: ScriptedServer, hasty: ProxmoxClient
) -> None:
    server.script = [Behaviour.SILENCE]

    with pytest.raises(errors.Unreachable) as caught:
        await hasty.open_websocket("pve", 101, 5900, "PVEVNC:topsecret")
    assert "topsecret" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (401, errors.AuthenticationFailed),
        (403, errors.PermissionDenied),
        (400, errors.InvalidParameters),
        (500, errors.ProxmoxFault),
        (595, errors.Unreachable),
        (200, errors.UnexpectedAnswer),
    ],
)
async def test_a_refused_websocket_has_the_class_of_its_status(
    status: int, error: type[errors.ProxmoxError], server: ScriptedServer, client: ProxmoxClient
) -> None:
    server.script = [scripted_server.answer(status, "")]

    with pytest.raises(error) as caught:
        await client.open_websocket("pve", 101, 5900, "abcdefgh:PVEVNC:top/secret==")
    assert "secret" not in str(caught.value)
    assert server.requests[0].query == {"port": "5900", "vncticket": "abcdefgh:PVEVNC:top/secret=="}
    assert "abcdefgh%3APVEVNC%3Atop%2Fsecret" in server.requests[0].target


def test_a_call_knows_whether_it_writes() -> None:
    assert not answers.Call(method="GET", path="/x").is_write
    assert all(answers.Call(method=m, path="/x").is_write for m in ("POST", "PUT", "DELETE"))

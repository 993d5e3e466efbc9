"""Tokens and tickets: what is sent, when a ticket is renewed, and that nothing leaks."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
from structlog.testing import capture_logs
from tests.support import scripted_server
from tests.support.scripted_server import ScriptedServer
from tests.unit.proxmox.conftest import TOKEN_ID, TOKEN_SECRET

from pve402.proxmox import errors, login
from pve402.proxmox.client import ProxmoxClient, ProxmoxOptions

PASSWORD = "correct horse"
GOOD = scripted_server.data("null")
REFUSED = scripted_server.answer(401, "Authentication failed!")
MINUTE = 60


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def user(server: ScriptedServer, clock: Clock) -> AsyncIterator[ProxmoxClient]:
    options = ProxmoxOptions(host=server.url, username="console@pve", password=PASSWORD)
    async with ProxmoxClient(options, clock=clock) as client:
        yield client


def ticket(number: int) -> bytes:
    fields = {
        "username": "console@pve",
        "ticket": f"PVE:console@pve:6B01E900::sig+nature/{number}==",
        "CSRFPreventionToken": f"6B01E900:csrf{number}",
    }
    return scripted_server.data(json.dumps(fields))


async def test_a_token_is_sent_with_every_call(
    server: ScriptedServer, client: ProxmoxClient
) -> None:
    server.script = [GOOD, GOOD]

    await client.call("GET", "/version")
    await client.call("POST", "/nodes/pve/lxc")

    expected = f"PVEAPIToken={TOKEN_ID}={TOKEN_SECRET}"
    assert [request.headers["authorization"] for request in server.requests] == [expected] * 2


async def test_a_refused_token_is_not_tried_again(
    server: ScriptedServer, client: ProxmoxClient
) -> None:
    server.script = [REFUSED, GOOD]

    with pytest.raises(errors.AuthenticationFailed):
        await client.call("GET", "/version")
    assert len(server.requests) == 1


async def test_a_ticket_is_fetched_once_and_writes_carry_the_csrf_token(
    server: ScriptedServer, user: ProxmoxClient
) -> None:
    server.script = [ticket(1), GOOD, GOOD]

    await user.call("GET", "/version")
    await user.call("POST", "/nodes/pve/lxc/101/termproxy")

    fetched, read, write = server.requests
    assert fetched.form == {"username": "console@pve", "password": PASSWORD}
    assert "authorization" not in fetched.headers
    cookie = "PVEAuthCookie=PVE:console@pve:6B01E900::sig+nature/1=="
    assert [read.headers["cookie"], write.headers["cookie"]] == [cookie] * 2
    assert "csrfpreventiontoken" not in read.headers
    assert write.headers["csrfpreventiontoken"] == "6B01E900:csrf1"


async def test_calls_at_once_share_one_login(server: ScriptedServer, user: ProxmoxClient) -> None:
    server.script = [ticket(1), *[GOOD] * 5]

    await asyncio.gather(*(user.call("GET", "/version") for _ in range(5)))

    assert [request.method for request in server.requests].count("POST") == 1


async def test_a_ticket_is_renewed_by_itself_before_two_hours(
    server: ScriptedServer, user: ProxmoxClient, clock: Clock
) -> None:
    server.script = [ticket(1), GOOD, ticket(2), GOOD]

    await user.call("GET", "/version")
    clock.now = 91 * MINUTE
    await user.call("GET", "/version")

    assert server.requests[2].form["password"] == "PVE:console@pve:6B01E900::sig+nature/1=="
    assert server.requests[3].headers["cookie"].endswith("2==")


@pytest.mark.parametrize(
    ("minutes", "answers"),
    [(91, [REFUSED, ticket(2), GOOD]), (121, [ticket(2), GOOD])],
    ids=["not renewable", "too old to try"],
)
async def test_a_ticket_that_cannot_be_renewed_is_fetched_by_password(
    minutes: int, answers: list[bytes], server: ScriptedServer, user: ProxmoxClient, clock: Clock
) -> None:
    server.script = [ticket(1), GOOD, *answers]

    await user.call("GET", "/version")
    clock.now = minutes * MINUTE
    await user.call("GET", "/version")

    assert server.requests[-2].form["password"] == PASSWORD
    assert server.script == []


async def test_a_refused_ticket_is_replaced_once_even_for_a_write(
    server: ScriptedServer, user: ProxmoxClient
) -> None:
    server.script = [ticket(1), REFUSED, ticket(2), GOOD]

    await user.call("POST", "/nodes/pve/lxc/101/status/start")

    assert server.requests[-1].headers["csrfpreventiontoken"] == "6B01E900:csrf2"


async def test_a_ticket_refused_twice_is_given_up(
    server: ScriptedServer, user: ProxmoxClient
) -> None:
    server.script = [ticket(1), REFUSED, ticket(2), REFUSED, GOOD]

    with pytest.raises(errors.AuthenticationFailed):
        await user.call("GET", "/version")
    assert len(server.requests) == 4


async def test_a_wrong_password_is_tried_once(server: ScriptedServer, user: ProxmoxClient) -> None:
    server.script = [REFUSED, ticket(1), GOOD]

    with pytest.raises(errors.AuthenticationFailed):
        await user.call("GET", "/version")
    assert len(server.requests) == 1


async def test_a_second_factor_cannot_be_answered(
    server: ScriptedServer, user: ProxmoxClient
) -> None:
    server.script = [scripted_server.data('{"NeedTFA":1,"ticket":"PVE:!tfa!","username":"a"}')]

    with pytest.raises(errors.AuthenticationFailed, match="second factor"):
        await user.call("GET", "/version")


async def test_another_user_can_log_in_over_the_same_session(
    server: ScriptedServer, client: ProxmoxClient
) -> None:
    server.script = [GOOD, ticket(7)]
    await client.call("GET", "/version")

    found = await client.fetch_ticket("console@pve", PASSWORD)

    assert found.csrf_token == "6B01E900:csrf7"
    assert server.connections == 1
    assert "authorization" not in server.requests[1].headers


async def test_what_a_server_echoes_of_our_secrets_is_cut_out(
    server: ScriptedServer, client: ProxmoxClient
) -> None:
    echo = json.dumps({"message": f"bad {TOKEN_SECRET} with hunter22\n\x1b[31m", "data": None})
    server.script = [scripted_server.answer(500, f"bad {TOKEN_SECRET}", echo.encode())]

    with capture_logs() as logs, pytest.raises(errors.ProxmoxFault) as caught:
        await client.call("POST", "/nodes/pve/lxc", {"password": "hunter22"})
    error = caught.value
    shown = f"{error} {error!r} {vars(error)} {error.__cause__} {error.__context__} {logs}"
    assert error.message == "bad <secret> with <secret> [31m"
    assert TOKEN_SECRET not in shown
    assert "hunter22" not in shown


async def test_echoed_secrets_are_cut_out_of_parameter_errors(
    server: ScriptedServer, client: ProxmoxClient
) -> None:
    echo = json.dumps({"errors": {"password": "hunter22 is weak"}, "message": "no\n"})
    server.script = [scripted_server.answer(400, "no", echo.encode())]

    with pytest.raises(errors.InvalidParameters) as caught:
        await client.call("POST", "/access/users", {"password": "hunter22"})
    assert caught.value.errors == {"password": "<secret> is weak"}
    assert "hunter22" not in str(caught.value)


def test_secrets_do_not_show_in_a_repr() -> None:
    options = ProxmoxOptions(host="pve", username="a@pve", password=PASSWORD)
    token = ProxmoxOptions(host="pve", token_id=TOKEN_ID, token_secret=TOKEN_SECRET)
    found = login.Ticket(username="a@pve", ticket="PVE:top", csrf_token="csrf:top")

    assert PASSWORD not in repr(options)
    assert TOKEN_SECRET not in repr(token)
    assert "top" not in repr(found)

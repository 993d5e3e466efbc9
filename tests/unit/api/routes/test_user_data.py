"""The routes that show what became of a lease's script."""

import pytest
from tests.support import fake_leases, wallets
from tests.support.api_fixtures import NETWORK, Api

from pve402.domain import user_data
from pve402.leases import service

ALICE = f"{NETWORK}:{wallets.ALICE.address.lower()}"
TOKEN = "token-0123456789abcdef"
BEARER = {"Authorization": f"Bearer {TOKEN}"}


def holder(api: Api, scope: str = "*") -> None:
    made = api.leases.add(fake_leases.make_lease(ALICE))
    api.access.callers[TOKEN] = service.Caller(
        owner=ALICE, lease_id=made.lease_id, scope=frozenset({scope})
    )


def found(state: user_data.State, exit_code: int | None = None) -> user_data.UserData:
    return user_data.UserData(
        order_id="o1",
        state=state,
        needs_network=True,
        exec_id="e" + "0" * 24,
        started_at=None,
        ended_at=None,
        exit_code=exit_code,
        reason=None,
        truncated=True,
        fence=None,
        created_at=fake_leases.NOW,
        sealed_script=b"sealed",
    )


async def test_a_token_for_commands_shows_its_output(api: Api) -> None:
    holder(api, "exec")
    api.leases.scripts.found = found(user_data.State.EXITED, 3), b"said \xff\n"

    reply = await api.client.get("/lease/10000/user-data", headers=BEARER)

    said = reply.json()
    assert (reply.status, said["state"], said["exitCode"]) == (200, "exited", 3)
    assert (said["output"], said["truncated"], said["execId"]) == ("said \ufffd\n", True, None)
    assert b"sealed" not in reply.body


@pytest.mark.parametrize(
    ("state", "word", "exec_id"),
    [
        (user_data.State.PENDING, "pending", None),
        (user_data.State.STARTING, "pending", None),
        (user_data.State.RUNNING, "running", "e" + "0" * 24),
        (user_data.State.UNKNOWN, "unknown", None),
    ],
)
async def test_the_lease_shows_how_far_it_is(
    api: Api, state: user_data.State, word: str, exec_id: str | None
) -> None:
    holder(api)
    api.leases.scripts.found = found(state), b""

    shown = (await api.client.get("/lease/10000", headers=BEARER)).json()["userData"]

    assert (shown["state"], shown["execId"]) == (word, exec_id)
    assert "output" not in shown


async def test_who_may_only_look_does_not_see_its_output(api: Api) -> None:
    holder(api, "read")
    api.leases.scripts.found = found(user_data.State.EXITED, 0), b"hunter2"

    reply = await api.client.get("/lease/10000/user-data", headers=BEARER)

    assert reply.status == 403
    assert b"hunter2" not in reply.body


async def test_a_lease_without_one_says_so(api: Api) -> None:
    holder(api)

    reply = await api.client.get("/lease/10000/user-data", headers=BEARER)

    assert (reply.status, reply.code) == (404, "user_data_missing")
    assert (await api.client.get("/lease/10000", headers=BEARER)).json()["userData"] is None

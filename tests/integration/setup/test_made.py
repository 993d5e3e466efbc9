"""`pve402 setup --run` makes on an empty Proxmox VE what a service needs, and can be repeated."""

import asyncio
import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest
from tests.integration.setup.test_printed import asked
from tests.support import installation as support
from tests.support.admin import killed_at
from tests.support.keyboards import Keyboard
from tests.support.pasted import RootShell

from pve402 import bootstrap, config
from pve402.domain import lease
from pve402.proxmox.administration import Administration, Change
from pve402.proxmox.client import ProxmoxClient, ProxmoxOptions
from pve402.setup import configuration, main
from pve402_devnet.chain import SimulatedChain
from pve402_devnet.facilitator import SimulatedFacilitator
from pve402_devnet.pve import simulator
from pve402_devnet.pve.faults import CallFault, FaultKind
from pve402_devnet.pve.options import Progress, SimulatorOptions

MORE = ("PVE_POOL=leases", "PVE_TOKEN_ID=pve402@pve!service")


def wish(folder: Path, proxmox: simulator.SimulatedProxmox) -> configuration.Asked:
    """A set-up that makes its changes itself, on all nodes."""
    plain = asked(folder, proxmox.base_url, over_api=True, nodes=())
    return dataclasses.replace(plain, arguments=(*plain.arguments, *MORE))


def administrator(proxmox: simulator.SimulatedProxmox, **changes: Any) -> Keyboard:
    """Somebody who knows root's password and agrees to everything but a new secret."""
    chosen: dict[str, Any] = {
        "answers": {},
        "secrets": {"Password": proxmox.root_password},
        "yes": ("Make these", "Is it the same", "Change"),
    }
    return Keyboard(**{**chosen, **changes})


def state(proxmox: simulator.SimulatedProxmox) -> Any:
    """Roles, users with their tokens, pools and rights."""
    known = proxmox.world.access
    return (
        dict(known.roles),
        {name: {t: k.secret for t, k in user.tokens.items()} for name, user in known.users.items()},
        sorted(known.pools),
        {
            path: {who: dict(held) for who, held in rules.items()}
            for path, rules in known.rules.items()
        },
    )


def without_secrets(found: Any) -> Any:
    """The same, but for what is drawn at random."""
    roles, users, *rest = found
    return roles, {name: sorted(tokens) for name, tokens in users.items()}, *rest


@pytest.fixture
def writes(monkeypatch: pytest.MonkeyPatch) -> list[Change]:
    """The changes that are made."""
    made: list[Change] = []
    honest = Administration.make

    async def recording(self: Administration, change: Change) -> object:
        made.append(change)
        return await honest(self, change)

    monkeypatch.setattr(Administration, "make", recording)
    return made


async def test_what_it_makes_is_what_it_prints(
    tmp_path: Path, proxmox: simulator.SimulatedProxmox, writes: list[Change]
) -> None:
    printed, made = Keyboard(), wish(tmp_path, proxmox)
    plain = dataclasses.replace(made, over_api=False, nodes=("pve",))
    assert await main.execute(plain, printed) == 0
    async with support.simulated_proxmox() as other:
        options = ProxmoxOptions(
            host=other.base_url, token_id=other.token_id, token_secret=other.token_secret
        )
        async with ProxmoxClient(options) as client:
            shell = RootShell(client)
            await shell.paste(line for line in printed.lines if "aplinfo" not in line)
        pasted = without_secrets(state(other))

    assert await main.execute(made, administrator(proxmox)) == 0

    known = {"root@pam": [simulator.ADMIN_TOKEN]}
    assert without_secrets(state(proxmox)) == pasted
    assert known.items() <= pasted[1].items()
    calls = [(c.method, c.path, _encoded(c)) for c in writes]
    assert calls == shell.calls


def _encoded(change: Change) -> dict[str, str]:
    return {n: str(int(v)) if isinstance(v, bool) else str(v) for n, v in change.parameters.items()}


async def test_the_service_sells_with_what_it_wrote(
    tmp_path: Path,
    proxmox: simulator.SimulatedProxmox,
    chain: SimulatedChain,
    facilitator: SimulatedFacilitator,
    capfd: pytest.CaptureFixture[str],
) -> None:
    made = wish(tmp_path, proxmox)
    urls = (f"RPC_URL={chain.url}", f"FACILITATOR_URL={facilitator.url}")
    made = dataclasses.replace(
        made, arguments=(*made.arguments, *urls, f"PAY_TO={support.PAY_TO}", "PVE402_INSTANCE=test")
    )
    operator = administrator(proxmox)

    assert await main.execute(made, operator) == 0

    written = config.load(made.env_file, database_url=f"sqlite:///{tmp_path}/db.sqlite3")
    printed = operator.everything + "".join(capfd.readouterr())
    assert written.pve_token_secret.get_secret_value() not in printed
    assert proxmox.root_password not in printed
    with support.rekeying.installed() as fake:
        parts = bootstrap.build(written)
    async with parts:
        shop = support.Installation(
            parts=parts, proxmox=proxmox, chain=chain, facilitator=facilitator, rekey=fake
        )
        answer = await shop.lease()
        assert answer.lease.status is lease.LeaseStatus.ACTIVE
        assert shop.earned > 0
        assert proxmox.world.access.pools["leases"].guests == {answer.lease.vmid}


async def test_repeated_it_changes_nothing(
    tmp_path: Path, proxmox: simulator.SimulatedProxmox, writes: list[Change]
) -> None:
    made = wish(tmp_path, proxmox)
    await main.execute(made, administrator(proxmox))
    before = state(proxmox), made.env_file.read_text()
    writes.clear()
    operator = administrator(proxmox)

    assert await main.execute(made, operator) == 0

    assert (state(proxmox), made.env_file.read_text()) == before
    assert writes == []
    assert not any("Make these" in question for question in operator.questions)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("number", range(12))
async def test_killed_at_any_change_it_is_finished_by_the_next_run(
    tmp_path: Path,
    proxmox: simulator.SimulatedProxmox,
    number: int,
    after: bool,
) -> None:
    made = wish(tmp_path, proxmox)
    with killed_at(number, after=after):
        await main.execute(made, administrator(proxmox))

    assert await main.execute(made, administrator(proxmox, yes=("",))) == 0

    parts = bootstrap.build(config.load(made.env_file), makes_key=False)
    assert (await parts.nodes.version()).release
    await parts.close()
    known = proxmox.world.access
    assert len(known.rules) == len([role for held in known.rules.values() for role in held]) == 5
    assert (sorted(known.pools), [*known.users["pve402@pve"].tokens]) == (["leases"], ["service"])


@pytest.mark.parametrize("kept", ["", "PVE_TOKEN_SECRET=stale-stale"], ids=["none", "stale"])
async def test_an_existing_token_gets_no_new_secret_unasked(
    tmp_path: Path, proxmox: simulator.SimulatedProxmox, kept: str
) -> None:
    made = wish(tmp_path, proxmox)
    await main.execute(made, administrator(proxmox))
    before = state(proxmox)
    text = made.env_file.read_text()
    made.env_file.write_text(re.sub("PVE_TOKEN_SECRET=.*", kept, text))

    assert await main.execute(made, administrator(proxmox)) == main.EXIT_NOT_DONE
    assert state(proxmox) == before

    assert await main.execute(made, administrator(proxmox, yes=("",))) == 0
    assert state(proxmox) != before
    assert before[1]["pve402@pve"]["service"] not in made.env_file.read_text()


@pytest.mark.parametrize("executed", [False, True])
@pytest.mark.parametrize("call", ["POST /access/roles", "PUT /access/acl", "POST /access/users/"])
async def test_a_lost_answer_is_looked_up(
    tmp_path: Path, proxmox: simulator.SimulatedProxmox, call: str, executed: bool
) -> None:
    proxmox.world.faults.order(
        CallFault(pattern=call, kind=FaultKind.DROP, executed=executed, times=1)
    )

    assert await main.execute(wish(tmp_path, proxmox), administrator(proxmox, yes=("",))) == 0

    assert proxmox.world.faults.waiting == []
    assert "PVE_TOKEN_SECRET=" in (tmp_path / "pve402.env").read_text()


async def test_nothing_is_made_without_agreement(
    tmp_path: Path, proxmox: simulator.SimulatedProxmox, writes: list[Change]
) -> None:
    operator = administrator(proxmox, yes=())

    assert await main.execute(wish(tmp_path, proxmox), operator) == main.EXIT_NOT_DONE

    assert writes == []
    shown = "\n".join(operator.told)
    assert "pveum role add R402Guests" in shown
    assert "pveum acl modify /storage/local " in shown


async def test_a_wrong_password_is_said(
    tmp_path: Path, proxmox: simulator.SimulatedProxmox
) -> None:
    operator = administrator(proxmox, secrets={"Password": "not-this-one"})

    assert await main.execute(wish(tmp_path, proxmox), operator) == main.EXIT_FAILED

    assert "not-this-one" not in operator.everything


async def test_an_entry_that_takes_rights_away_is_seen(
    tmp_path: Path, proxmox: simulator.SimulatedProxmox
) -> None:
    made = wish(tmp_path, proxmox)
    await main.execute(made, administrator(proxmox))
    proxmox.world.access.grant("/vms/10000", "pve402@pve", "PVEAuditor")
    operator = administrator(proxmox)

    assert await main.execute(made, operator) == main.EXIT_FAILED

    assert "VM.Allocate" in operator.everything


async def test_without_a_terminal_it_writes_and_sends_nothing(
    tmp_path: Path, proxmox: simulator.SimulatedProxmox
) -> None:
    assert await main.execute(wish(tmp_path, proxmox), Keyboard()) == main.EXIT_NOT_DONE
    assert not wish(tmp_path, proxmox).env_file.exists()


async def test_the_fingerprint_is_confirmed_before_the_password_is_asked_for(
    tmp_path: Path,
) -> None:
    chosen = SimulatorOptions(
        tls=True,
        progress=Progress.IMMEDIATELY,
        publish_interval_seconds=0,
        auth_failure_seconds=0.0,
    )
    async with simulator.SimulatedProxmox(chosen) as proxmox:
        made = wish(tmp_path, proxmox)
        refusing = administrator(proxmox, yes=("Make these",))
        assert await main.execute(made, refusing) == main.EXIT_NOT_DONE
        assert not any("Password" in question for question in refusing.questions)

        agreeing = administrator(proxmox)
        assert await main.execute(made, agreeing) == 0
        assert proxmox.fingerprint_sha256 in agreeing.everything
        assert config.load(made.env_file).pve_fingerprint == proxmox.fingerprint_sha256

    async with simulator.SimulatedProxmox(chosen) as impostor:
        moved = dataclasses.replace(made, arguments=(f"PVE_HOST={impostor.base_url}",))
        operator = administrator(impostor)
        assert await main.execute(moved, operator) == main.EXIT_NOT_DONE
        assert "PVE_FINGERPRINT is another one" in operator.everything
        assert not any("Password" in question for question in operator.questions)


async def test_head_and_body_of_a_call_with_a_ticket_leave_in_one_write() -> None:
    """A body that arrives after its head makes Proxmox VE close the connection unanswered."""
    arrived: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(65536):
            arrived.append(chunk)
            body = b'{"data":{"username":"root@pam","ticket":"T","CSRFPreventionToken":"C"}}'
            length = str(len(body)).encode()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: " + length + b"\r\n\r\n" + body)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    login = ProxmoxOptions(host=f"http://127.0.0.1:{port}", username="root@pam", password="x")
    async with ProxmoxClient(login) as client:
        for _ in range(20):
            await client.call("POST", "/access/roles", {"roleid": "R402X", "privs": "VM.Audit"})
    server.close()
    await server.wait_closed()

    assert len(arrived) == 21
    assert all(chunk.startswith(b"POST ") for chunk in arrived)
    assert all(chunk.endswith((b"privs=VM.Audit", b"password=x")) for chunk in arrived)

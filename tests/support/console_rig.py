"""The console's websockets over real shells and nothing else, in a process of their own.

`python -m tests.support.console_rig CHAIN_URL DATABASE` serves links to guest 103 (bash) and 101
(busybox) of `pve402_devnet.terminal` for whoever names TOKEN, and prints its address.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
import uvicorn
import uvloop
from tests.support import (
    api_fixtures,
    console_links,
    fake_leases,
    fake_private_images,
    guest_work,
    programs,
)

from pve402.api import app, context, gate
from pve402.api.transport import address, guard
from pve402.domain import lease
from pve402.guests import consoles
from pve402.hub import hub, options, terminal_socket, vnc
from pve402.leases import ports, request_rates, service
from pve402.proxmox.client import ProxmoxClient, ProxmoxOptions
from pve402.proxmox.guests import GuestRef, Guests
from pve402.storage import database, lease_rows, tables, token_rows, vault

OWNER = f"{api_fixtures.NETWORK}:{api_fixtures.PAY_TO}"
TOKEN = "token-of-the-tests-0123456789"
BASH, ASH = 103, 101


@dataclass(kw_only=True)
class Rig:
    """The running processes, and what tests ask of them."""

    url: str
    chain_url: str
    process: subprocess.Popen[str]

    def ask(self, vmid: int = BASH, kind: str = "terminal") -> requests.Response:
        """Ask for a link to a guest's console."""
        return requests.post(
            f"{self.url}/management/console/{vmid}",
            json={"consoleType": kind},
            headers={"Authorization": f"Bearer {TOKEN}"},
            timeout=30,
        )

    def link(self, vmid: int = BASH, kind: str = "terminal") -> dict[str, Any]:
        """A link to a guest's console; one that was just closed may still be ending."""
        answer = console_links.once_free(lambda: self.ask(vmid, kind))
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def cpu_seconds(self) -> float:
        """The processor time that the process with the websockets has used."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def resident_mb(self) -> float:
        """The memory that the process with the websockets has."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
        return int(line.split()[1]) / 1024


@contextlib.contextmanager
def running(
    folder: Path, *chain_options: str, host: str = "pve402_devnet.terminal"
) -> Iterator[Rig]:
    """Run the shells, or another module that stands for their node, and the websockets."""
    chain_command = [sys.executable, "-m", host, "--port", "0", *chain_options]
    with _process(chain_command) as (_, chain_url):
        own = [sys.executable, "-m", "tests.support.console_rig", chain_url, f"{folder}/db.sqlite3"]
        with _process(own) as (process, url):
            try:
                yield Rig(url=url, chain_url=chain_url, process=process)
            finally:
                process.kill()  # nobody needs the seconds that open consoles are given at an end


@contextlib.contextmanager
def _process(command: list[str]) -> Iterator[tuple[subprocess.Popen[str], str]]:
    with programs.started(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert url.startswith("http://"), command
        yield process, url


_TOKEN_ROW = token_rows.Token(
    token_hash=vault.token_hash(TOKEN),
    owner=OWNER,
    lease_id=None,
    scope="*",
    primary_of_lease=False,
    expires_at=None,
)


class _AnyGuest:
    """Opens the picture of any guest; all of the chain are ours."""

    def __init__(self, open_vnc: vnc.VncConnector) -> None:
        self._open_vnc = open_vnc

    async def __call__(self, guest: GuestRef) -> vnc.VncStream:
        return await self._open_vnc(guest)

    async def check(self, guest: GuestRef) -> None:
        """Every guest runs."""


async def _insert(db: database.Database, row: lease.Lease) -> None:
    async with db.begin() as tx:
        await lease_rows.insert(db, tx, row, due=False)
        await tx.execute(
            tables.leases.update()
            .where(tables.leases.c.lease_id == row.lease_id)
            .values(status=row.status.value, expires_at=db.now(3600))
        )


def _application(
    hub_: hub.Hub, guests: Guests, db: database.Database, leases: list[lease.Lease], url: str
) -> Any:
    known, tokens = fake_leases.FakeLeases(), api_fixtures.FakeAccess()
    tokens.callers[TOKEN] = service.Caller(owner=OWNER, how="wallet")
    for row in leases:
        known.add(row)
    work = dataclasses.replace(
        guest_work.unreachable(),
        hub=hub_,
        consoles=consoles.Consoles(db, consoles.ConsoleOptions(watch_seconds=0.5)),
        open_vnc=_AnyGuest(vnc.VncConnector(guests)),  # type: ignore[arg-type]
    )
    terms = gate.GateOptions(
        networks=(api_fixtures.NETWORK,),
        pay_to=api_fixtures.PAY_TO,
        public_url=url,
        payment_seconds=600,
        create_wait_seconds=5,
    )
    made = context.Context(
        leases=known,  # type: ignore[arg-type]
        redeeming=api_fixtures.NobodyIsOwed(),  # type: ignore[arg-type]
        images=fake_private_images.FakePrivateImages(),  # type: ignore[arg-type]
        forks=None,  # type: ignore[arg-type]
        access=tokens,  # type: ignore[arg-type]
        gate=gate.Gate(terms, address.ClientAddresses(())),
        rates=request_rates.RequestRates(None),  # type: ignore[arg-type]  # counts nothing
        work=work,
        ports=ports.Ports(db, tokens, None),  # type: ignore[arg-type]
        stats_fields=frozenset(),
        readiness=lambda: asyncio.sleep(0, {}),
    )
    bounds = guard.GuardLimits(
        requests=100, paid_requests=50, request_seconds=30.0, paid_request_seconds=30.0
    )
    return app.assemble(made, public_url=url, limits=bounds, cors_origins=("*",))


async def serve(chain_url: str, db_file: str) -> None:
    """Serve until the process is told to end."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    proxmox = ProxmoxOptions(host=chain_url, token_id="svc@pve!test", token_secret="secret")
    db = await database.Database(f"sqlite+aiosqlite:///{db_file}").open()
    rows = [fake_leases.make_lease(OWNER, vmid=vmid, node="pve") for vmid in (BASH, ASH)]
    for row in rows:
        await _insert(db, row)
    async with db.begin() as tx:
        await token_rows.insert(db, tx, _TOKEN_ROW)
    async with ProxmoxClient(proxmox) as client:
        guests = Guests(client)
        opener = terminal_socket.TermproxyConnector(guests)
        async with hub.Hub(options.HubOptions(), opener) as hub_:
            application = _application(hub_, guests, db, rows, url)
            config = uvicorn.Config(
                application,
                ws="websockets-sansio",
                ws_max_size=1024 * 1024,
                ws_per_message_deflate=False,
                log_config=None,
                access_log=False,
                timeout_graceful_shutdown=2,
            )
            sys.stdout.write(f"{url}\n")
            sys.stdout.flush()
            await uvicorn.Server(config).serve(sockets=[listener])
    await db.close()


if __name__ == "__main__":
    uvloop.run(serve(*sys.argv[1:]))

"""One running installation: what it is made of, how it starts, and how it ends."""

import asyncio
import dataclasses
from typing import TYPE_CHECKING, Self

import structlog

from pve402 import config
from pve402.bootstrap import remarks
from pve402.domain import catalogue, errors
from pve402.guests import guest_work, probes
from pve402.leases import (
    access,
    catalogue_versions,
    clones,
    cluster,
    firewall_view,
    forks,
    guest_networks,
    instance_name,
    key_check,
    machine,
    on_sale,
    options,
    preflight,
    reconciler,
    redeeming,
    request_rates,
    sdn_ranges,
    service,
    warm_pool,
    withdrawal,
    worker,
)
from pve402.leases.alterations import snapshot_calls
from pve402.leases.images import image_keeper, private_images, trials
from pve402.payments import chain_watch, settlement
from pve402.payments import networks as chains
from pve402.payments.facilitators import support
from pve402.proxmox import client as pve_client
from pve402.proxmox import guests as pve_guests
from pve402.proxmox import nodes as pve_nodes
from pve402.storage import database, vault

if TYPE_CHECKING:
    from pve402.jump import host

log = structlog.get_logger(__name__)

_SEEN_WITHIN_SECONDS = 30.0
_OTHER_KEY = (
    "PVE402_SECRET_KEY: open orders were sealed with another key, and only that key can finish "
    "them; start with it until all are done (with SQLite, look in the .key file next to it)"
)
_OTHER_NAME = (
    "PVE402_INSTANCE: the existing containers are marked with another name than {ours}, so they "
    "would never be stopped; set PVE402_INSTANCE={kept}, or restore the secret key that the "
    "name was derived from"
)
_OTHER_CHAIN = (
    "the endpoint belongs to chain {chain_id}, which is not {name}; use an endpoint of {name}, and "
    "with several networks one for each, such as RPC_URL_BASE_SEPOLIA=..."
)
CANNOT_START = (
    *(config.SettingsError, catalogue.CatalogueError),
    *(errors.DatabaseUnavailable, database.DatabaseBusyError),
)
"""Start-up errors that are not bugs; their text says what to do."""


@dataclasses.dataclass(kw_only=True)
class Components:
    """One running installation; `async with` opens the database and starts the background work."""

    settings: config.Settings
    db: database.Database
    proxmox: pve_client.ProxmoxClient
    guests: pve_guests.Guests
    nodes: pve_nodes.Nodes
    settler: settlement.Settler
    chain_watch: chain_watch.ChainWatch
    support: support.Support
    view: cluster.ClusterView
    firewalls: firewall_view.FirewallView
    ranges: sdn_ranges.SdnRanges
    guest_network: guest_networks.GuestNetworks
    nodes_check: preflight.Preflight
    on_sale: on_sale.OnSale
    versions: catalogue_versions.Versions
    rates: request_rates.RequestRates
    lease_worker: worker.Worker
    lease_reconciler: reconciler.Reconciler
    filler: warm_pool.Filler
    image_keeper: image_keeper.ImageKeeper
    leases: service.LeaseService
    redeeming: redeeming.Redeeming
    private_images: private_images.PrivateImages
    forks: forks.Forks
    withdrawal: withdrawal.Withdrawal
    access: access.Access
    secret_vault: vault.Vault
    lease_options: options.LeaseOptions
    machines: machine.Machines
    snapshot_calls: snapshot_calls.SnapshotCalls
    cloning: clones.Clones
    guest_work: guest_work.GuestWork
    jump: "host.JumpHost | None"
    trials: trials.Trials
    probes: probes.Sending
    console_login: pve_client.ProxmoxClient | None
    _looking: asyncio.Task[None] | None = dataclasses.field(default=None, init=False)

    async def __aenter__(self) -> Self:
        """Open the database, recover, then start. Raises what `open` raises."""
        await self.open()
        await self._start_chain_watch()
        await self._start_jump()
        self.versions.start()
        self.rates.start()
        await self.support.start()
        self._looking = asyncio.create_task(
            remarks.look_for_foreign_transfers(self.settings, self.db, self.settler)
        )
        self.view.start()
        await self.nodes_check.start()
        await self.guest_network.own_url.start()
        await self.firewalls.start()
        await self.lease_worker.start()
        self.lease_reconciler.start()
        self.filler.start(on_ordered=self.lease_worker.wake)
        self.image_keeper.start(on_due=self.lease_worker.wake)
        if self.guest_work.direct is not None:
            self.guest_work.direct.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Finish or hand over running work, then close everything."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)
        await self.filler.stop()
        await self.image_keeper.stop()
        await self.lease_reconciler.stop()
        await self.lease_worker.stop()
        await self.close()

    async def _start_chain_watch(self) -> None:
        """Start watching the chains. Raises SettingsError for an endpoint of another chain."""
        try:
            await self.chain_watch.start()
        except chain_watch.WrongChain as wrong:
            await self.close()
            name = chains.BY_CAIP2[wrong.network].name
            reason = _OTHER_CHAIN.format(chain_id=wrong.chain_id, name=name)
            raise config.SettingsError({"RPC_URL": reason}) from wrong

    async def _start_jump(self) -> None:
        """Start the jump host, if there is one. Raises SettingsError if it cannot listen."""
        try:
            if self.jump is not None:
                await self.jump.start()
        except OSError as error:
            await self.close()
            reason = f"PVE402_SSH_BIND: cannot listen there: {error.strerror}"
            raise config.SettingsError({"PVE402_SSH_BIND": reason}) from error

    async def open(self) -> None:
        """Open the database, and check that its contents belong to this installation.

        Raises DatabaseBusyError, DatabaseUnavailable, CatalogueError if there is no catalogue that
        can be used, and SettingsError if open orders were sealed with another secret key, or
        existing guests are marked with another name.
        """
        try:
            await self.db.open()
            if not await key_check.opens_what_is_kept(self.db, self.secret_vault):
                raise config.SettingsError({"PVE402_SECRET_KEY": _OTHER_KEY})
            await instance_name.claim(self.db, self.lease_options.instance)
            await self.check_name()
            await self.versions.open()
        except BaseException:
            await self.close()
            raise

    async def check_name(self) -> None:
        """Raise SettingsError if existing guests are marked with another installation's name."""
        ours = self.lease_options.instance
        kept = await instance_name.other(self.db, ours)
        if kept is not None:
            reason = _OTHER_NAME.format(kept=kept, ours=ours)
            raise config.SettingsError({"PVE402_INSTANCE": reason})

    async def close(self) -> None:
        """Close the connections; sufficient if nothing was started."""
        if self.jump is not None:
            await self.jump.stop()
        await self.guest_work.close()
        await self.versions.stop()
        await self.rates.stop()
        await self.nodes_check.stop()
        await self.guest_network.own_url.stop()
        await self.firewalls.stop()
        await self.ranges.stop()
        await self.view.stop()
        await self.chain_watch.stop()
        await self.support.stop()
        await self.settler.close()
        await self.proxmox.close()
        if self.console_login is not None:
            await self.console_login.close()
        await self.db.close()

    async def readiness(self) -> dict[str, bool]:
        """Return whether requests can be served: database, recovery, recent Proxmox and chain data.

        Also returns whether any usable node has everything that a guest needs.
        """
        try:
            await self.db.check()
            database_answers = True
        except Exception:  # noqa: BLE001 - any error means we are not ready
            database_answers = False
        return {
            "database": database_answers,
            "recovery": self.lease_worker.recovered,
            "proxmox": self.view.age_seconds <= _SEEN_WITHIN_SECONDS,
            "chain": not self.chain_watch.unreadable,
            **{need.value: need not in self.nodes_check.unmet for need in preflight.Need},
        }

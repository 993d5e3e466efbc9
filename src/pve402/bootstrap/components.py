"""The one place where objects are built: settings in, a running installation out."""

import asyncio
import contextlib
import dataclasses
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Self

import structlog

from pve402 import config
from pve402.bootstrap import guests as guest_building
from pve402.bootstrap import leases as settings_of_leases
from pve402.bootstrap import payments, remarks
from pve402.domain import catalogue, errors
from pve402.guests import guest_work, rekeying
from pve402.leases import (
    access,
    admission,
    anew,
    blocks,
    cluster,
    confirmation,
    creation,
    deals,
    debts,
    fees,
    firewall_view,
    foreign_transfers,
    guest_networks,
    instance_name,
    key_check,
    lifetime,
    machine,
    money,
    nonces,
    options,
    outcome,
    power,
    preflight,
    questions,
    quotas,
    reconciler,
    redeeming,
    redemptions,
    renewal,
    service,
    settling,
    views,
    warm_guests,
    warm_pool,
    worker,
)
from pve402.payments import chain_watch, settlement, wallet
from pve402.payments import errors as payment_errors
from pve402.payments import networks as chains
from pve402.payments.facilitators import support
from pve402.proxmox import client as pve_client
from pve402.proxmox import firewall as pve_firewall
from pve402.proxmox import guests as pve_guests
from pve402.proxmox import nodes as pve_nodes
from pve402.proxmox import storage as pve_storage
from pve402.proxmox import tasks as pve_tasks
from pve402.storage import database, slots, vault

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
CANNOT_START = (config.SettingsError, errors.DatabaseUnavailable, database.DatabaseBusyError)
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
    guest_network: guest_networks.GuestNetworks
    nodes_check: preflight.Preflight
    lease_worker: worker.Worker
    lease_reconciler: reconciler.Reconciler
    filler: warm_pool.Filler
    leases: service.LeaseService
    redeeming: redeeming.Redeeming
    access: access.Access
    secret_vault: vault.Vault
    lease_options: options.LeaseOptions
    machines: machine.Machines
    guest_work: guest_work.GuestWork
    console_login: pve_client.ProxmoxClient | None
    _looking: asyncio.Task[None] | None = dataclasses.field(default=None, init=False)

    async def __aenter__(self) -> Self:
        """Open the database, recover, then start. Raises what `open` raises."""
        await self.open()
        await self._start_chain_watch()
        await self.support.start()
        self._looking = asyncio.create_task(self._look_for_foreign_transfers())
        self.view.start()
        await self.nodes_check.start()
        await self.firewalls.start()
        await self.lease_worker.start()
        self.lease_reconciler.start()
        self.filler.start()
        if self.guest_work.direct is not None:
            self.guest_work.direct.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Finish or hand over running work, then close everything."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)
        await self.filler.stop()
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

    async def _look_for_foreign_transfers(self) -> None:
        """Warn once about payments to our address that are not for this installation."""
        for network in self.settings.network:
            with contextlib.suppress(payment_errors.PaymentError, errors.DatabaseUnavailable):
                found = await foreign_transfers.find(
                    self.db, self.settler.chain_of(network), network, self.settings.pay_to
                )
                if found:
                    log.warning(
                        "foreign_transfers",
                        network=network,
                        count=len(found),
                        newest=found[0],
                        setting="PAY_TO",
                        remedy="one PAY_TO for each installation",
                    )

    async def open(self) -> None:
        """Open the database, and check that its contents belong to this installation.

        Raises DatabaseBusyError, DatabaseUnavailable, and SettingsError if open orders were sealed
        with another secret key, or existing guests are marked with another name.
        """
        try:
            await self.db.open()
            if not await key_check.opens_what_is_kept(self.db, self.secret_vault):
                raise config.SettingsError({"PVE402_SECRET_KEY": _OTHER_KEY})
            await instance_name.claim(self.db, self.lease_options.instance)
            await self.check_name()
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
        await self.guest_work.close()
        await self.nodes_check.stop()
        await self.firewalls.stop()
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


def build(settings: config.Settings, *, makes_key: bool = True) -> Components:
    """Build an installation from its settings, without opening or contacting anything.

    Without `makes_key`, a missing secret key is generated but not stored. Raises SettingsError or
    CatalogueError for a file that cannot be used.
    """
    sku_catalogue = guest_building.catalogue_of(settings)
    remarks.make(settings, sku_catalogue)
    _check_warm_pool(settings, sku_catalogue)
    guest_building.check_guests(settings, sku_catalogue)
    secret_vault = vault.Vault(config.secret_key(settings, make=makes_key))
    lease_options = settings_of_leases.lease_options(settings, secret_vault)
    db = database.Database(settings.database_url.get_secret_value())
    proxmox = pve_client.ProxmoxClient(guest_building.proxmox_options(settings))
    guests, tasks = pve_guests.Guests(proxmox), pve_tasks.Tasks(proxmox)
    nodes = pve_nodes.Nodes(proxmox)
    view = cluster.ClusterView(
        nodes,
        storage=settings.pve_storage,
        fixed_node=lease_options.fixed_node,
        instance=lease_options.instance,
    )
    deal_writer = deals.Deals(db, lease_options, secret_vault)
    routes = payments.routes_of(settings, db, deal_writer)
    settler = settlement.Settler(routes)
    watching = payments.watch_of(settings)
    trusted = settings.network if settings.trust_facilitator else ()
    funds = money.Money(
        settler, secret_vault, trusted_networks=trusted, confirmations=lease_options.confirmations
    )
    node_slots = slots.NodeSlots(db, per_node=lease_options.writes_per_node)
    machines = machine.Machines(
        db,
        guests,
        tasks,
        node_slots=node_slots,
        settings=lease_options,
        secret_vault=secret_vault,
        template=guest_building.guest_template(settings),
        sku_catalogue=sku_catalogue,
    )
    firewalls = firewall_view.FirewallView(
        view, pve_firewall.ClusterFirewall(proxmox), sku_catalogue
    )
    guest_network = guest_networks.GuestNetworks(
        db,
        guests,
        pve_firewall.GuestFirewalls(proxmox),
        firewalls,
        settings=lease_options,
        sku_catalogue=sku_catalogue,
    )
    console_login = guest_building.console_login_of(settings)
    inside = guest_building.work_in_guests(
        settings, lease_options, db, secret_vault, proxmox, console_login
    )
    fee_flow = fees.Fees(deal_writer, funds)
    worker_options = options.WorkerOptions()
    rekeying_guests = rekeying.TerminalRekeying(inside.hub)
    ready = warm_guests.WarmGuests(
        deal_writer, machines, rekeying_guests, view, sku_catalogue, lease_options
    )
    filler = warm_pool.Filler(db, view, lease_options, sku_catalogue)
    money_step = settling.Settling(deal_writer, machines, funds)
    debt_writer = debts.Debts(deal_writer, funds, lease_options)
    again = anew.Anew(deal_writer, machines, view, sku_catalogue, lease_options)
    flows = worker.Workflows(
        creation=creation.Creation(
            deal_writer,
            machines,
            money_step,
            lease_options,
            secret_vault,
            ready,
            again=again,
            debt_writer=debt_writer,
            guest_network=guest_network,
        ),
        renewal=renewal.Renewal(deal_writer, machines, money_step, lease_options, debt_writer),
        confirmation=confirmation.Confirmation(deal_writer, machines, funds, lease_options),
        lifetime=lifetime.Lifetime(db, machines, lease_options, inside.end, guest_network),
        late=debt_writer.watch,
        fee=fee_flow.run,
        filling=warm_pool.Filling(db, machines, rekeying_guests, guest_network),
    )
    lease_worker = worker.Worker(db, flows, worker_options)
    outcomes = outcome.Outcomes(db, lease_worker)
    quota_checks = quotas.QuotaChecks(db, lease_options.quotas, settings.network)
    admissions = admission.Admission(
        db, lease_options, worker_options.hold_seconds, funds, secret_vault, quota_checks
    )
    parts = service.Parts(
        db=db,
        sku_catalogue=sku_catalogue,
        settings=lease_options,
        secret_vault=secret_vault,
        view=view,
        firewalls=firewalls,
        admissions=admissions,
        outcomes=outcomes,
        rules=blocks.Blocks(db),
        settler=settler,
        is_readable=watching.is_readable,
        lease_worker=lease_worker,
        fees=fee_flow,
        filler=filler,
        lease_views=views.LeaseViews(view, machines, lease_options.instance),
        switch=power.PowerSwitch(db, machines, lease_worker, inside.end),
        networks=settings.network,
    )
    return Components(
        settings=settings,
        db=db,
        proxmox=proxmox,
        guests=guests,
        nodes=nodes,
        settler=settler,
        chain_watch=watching,
        support=payments.support_of(routes),
        view=view,
        firewalls=firewalls,
        guest_network=guest_network,
        nodes_check=preflight.Preflight(
            view,
            nodes,
            pve_storage.Storages(proxmox),
            lease_options,
            pool=settings.pve_pool,
            sku_catalogue=sku_catalogue,
        ),
        lease_worker=lease_worker,
        lease_reconciler=reconciler.Reconciler(db, view, machines, lease_options),
        filler=filler,
        leases=service.LeaseService(parts),
        redeeming=redeeming.Redeeming(
            parts,
            redemptions.Redemptions(db, lease_options, admissions, secret_vault, quota_checks),
        ),
        access=_access(settings, db, secret_vault, routes, parts.asking),
        secret_vault=secret_vault,
        lease_options=lease_options,
        machines=machines,
        guest_work=inside,
        console_login=console_login,
    )


def _check_warm_pool(settings: config.Settings, sku_catalogue: catalogue.Catalogue) -> None:
    """Raise SettingsError for warm guests that no tenant could buy."""
    for wanted in settings.pve402_pool:
        try:
            wanted.check(sku_catalogue)
        except errors.InvalidRequest as error:
            reason = f"PVE402_POOL: {wanted.sku}: {error}"
            raise config.SettingsError({"PVE402_POOL": reason}) from None


def _access(
    settings: config.Settings,
    db: database.Database,
    secret_vault: vault.Vault,
    routes: Mapping[str, settlement.Route],
    asking: questions.Questions,
) -> access.Access:
    wallets = wallet.WalletAuthenticator(
        wallet.WalletOptions(
            public_url=settings.public_url, secret=secret_vault.key("wallet challenge")
        ),
        nonces.StoredChallengeNonces(db),
        {n: route.asked_by_strangers or route.chain for n, route in routes.items()},
        now=lambda: datetime.now(UTC),
    )
    networks = tuple(chains.resolve(name).caip2 for name in settings.network)
    return access.Access(db, wallets, networks, asking)

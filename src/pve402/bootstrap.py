"""The one place where objects are built: settings in, a running installation out."""

import dataclasses
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from importlib import resources
from typing import Self

import structlog

from pve402 import config
from pve402.domain import catalogue, errors, placement
from pve402.hub import detached, files, hub, termproxy, vnc
from pve402.hub import options as hub_options
from pve402.leases import (
    access,
    books,
    cluster,
    commands,
    confirmation,
    consoles,
    creation,
    direct_consoles,
    fees,
    guest_work,
    intake,
    lifetime,
    machine,
    money,
    nonces,
    options,
    ownership,
    peers,
    pool,
    pooled,
    reconciler,
    rekey,
    renewal,
    service,
    vault,
    worker,
)
from pve402.payments import chain, rpc, settlement, wallet
from pve402.payments import networks as chains
from pve402.payments.facilitators import base as facilitators
from pve402.payments.facilitators import cdp, http
from pve402.proxmox import access as pve_access
from pve402.proxmox import client as pve_client
from pve402.proxmox import guests as pve_guests
from pve402.proxmox import nodes as pve_nodes
from pve402.proxmox import options as pve_options
from pve402.proxmox import tasks as pve_tasks
from pve402.storage import database, slots

log = structlog.get_logger(__name__)

_SEEN_WITHIN_SECONDS = 30.0


@dataclasses.dataclass(kw_only=True)
class Components:
    """One running installation; `async with` opens the database and starts what runs on."""

    settings: config.Settings
    db: database.Database
    proxmox: pve_client.ProxmoxClient
    guests: pve_guests.Guests
    nodes: pve_nodes.Nodes
    settler: settlement.Settler
    view: cluster.ClusterView
    crew: worker.Worker
    watch: reconciler.Reconciler
    filler: pool.Filler
    leases: service.LeaseService
    access: access.Access
    keys: vault.Vault
    lease_options: options.LeaseOptions
    machines: machine.Machines
    guest_work: guest_work.GuestWork
    console_login: pve_client.ProxmoxClient | None

    async def __aenter__(self) -> Self:
        """Open, recover, then go on; raises DatabaseBusyError and DatabaseUnavailable."""
        await self.db.open()
        self.view.start()
        await self.crew.start()
        self.watch.start()
        self.filler.start()
        if self.guest_work.direct is not None:
            self.guest_work.direct.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Finish or hand over what runs, then close everything."""
        await self.filler.stop()
        await self.watch.stop()
        await self.crew.stop()
        await self.close()

    async def close(self) -> None:
        """Close connections; enough where nothing was started."""
        await self.guest_work.close()
        await self.view.stop()
        await self.settler.close()
        await self.proxmox.close()
        if self.console_login is not None:
            await self.console_login.close()
        await self.db.close()

    async def readiness(self) -> dict[str, bool]:
        """Tell what a request needs: the database, recovery done, Proxmox seen lately."""
        try:
            await self.db.time()
            database_answers = True
        except Exception:  # noqa: BLE001 - whatever it is, we are not ready
            database_answers = False
        return {
            "database": database_answers,
            "recovery": self.crew.recovered,
            "proxmox": self.view.age_seconds <= _SEEN_WITHIN_SECONDS,
        }


def build(settings: config.Settings) -> Components:
    """Build an installation from its settings; nothing is opened or asked yet.

    Raises SettingsError or CatalogueError for a file that cannot be used.
    """
    _warn(settings)
    keys = vault.Vault(config.secret_key(settings))
    lease_options = _lease_options(settings, keys)
    db = database.Database(settings.database_url.get_secret_value())
    proxmox = pve_client.ProxmoxClient(_proxmox_options(settings))
    guests, tasks = pve_guests.Guests(proxmox), pve_tasks.Tasks(proxmox)
    nodes = pve_nodes.Nodes(proxmox)
    view = cluster.ClusterView(
        nodes, storage=settings.pve_storage, fixed_node=lease_options.fixed_node
    )
    ledger = books.Books(db, lease_options, keys)
    routes = _routes(settings, db, ledger)
    settler = settlement.Settler(routes)
    trusted = settings.network if settings.trust_facilitator else ()
    funds = money.Money(
        settler, keys, trusted_networks=trusted, confirmations=lease_options.confirmations
    )
    node_slots = slots.NodeSlots(db, per_node=lease_options.writes_per_node)
    machines = machine.Machines(
        guests, tasks, node_slots, lease_options, keys, _guest_template(settings)
    )
    console_login = _console_login(settings)
    inside = _guest_work(settings, lease_options, db, keys, proxmox, console_login)
    fee_flow = fees.Fees(ledger, funds)
    worker_options = options.WorkerOptions()
    book = load_catalogue(settings)
    _check_pool(settings, book)
    rekeying = rekey.HubRekey(inside.hub)
    ready = pooled.PooledGuests(ledger, machines, rekeying, view, book, lease_options)
    filler = pool.Filler(db, view, lease_options, book)
    flows = worker.Workflows(
        creation=creation.Creation(ledger, machines, funds, lease_options, keys, ready),
        renewal=renewal.Renewal(ledger, machines, funds, lease_options),
        confirmation=confirmation.Confirmation(ledger, machines, funds, lease_options),
        lifetime=lifetime.Lifetime(db, machines, lease_options, inside.end),
        fee=fee_flow.run,
        filling=pool.Filling(db, machines, rekeying),
    )
    crew = worker.Worker(db, flows, worker_options)
    parts = service.Parts(
        db=db,
        book=book,
        settings=lease_options,
        keys=keys,
        view=view,
        taker=intake.Intake(db, lease_options, worker_options.hold_seconds, funds, keys),
        settler=settler,
        crew=crew,
        fees=fee_flow,
        filler=filler,
        networks=settings.network,
    )
    return Components(
        settings=settings,
        db=db,
        proxmox=proxmox,
        guests=guests,
        nodes=nodes,
        settler=settler,
        view=view,
        crew=crew,
        watch=reconciler.Reconciler(db, view, machines, lease_options),
        filler=filler,
        leases=service.LeaseService(parts),
        access=_access(settings, db, keys, routes),
        keys=keys,
        lease_options=lease_options,
        machines=machines,
        guest_work=inside,
        console_login=console_login,
    )


def _warn(settings: config.Settings) -> None:
    """Say what works, and yet should not stay so."""
    if settings.pve_token_id.startswith("root@pam!"):
        log.warning("token_of_root", setting="PVE_TOKEN_ID", remedy="a user with the rights needed")
    if settings.trust_facilitator:
        log.warning("facilitator_trusted", setting="TRUST_FACILITATOR", loss="the operator's")


def load_catalogue(settings: config.Settings) -> catalogue.Catalogue:
    """Read the operator's catalogue, or the one that is shipped. Raises CatalogueError."""
    if settings.pve402_catalogue is not None:
        return catalogue.parse(settings.pve402_catalogue.read_text())
    shipped = resources.files("pve402.domain") / "default_catalogue.toml"
    return catalogue.parse(shipped.read_text())


def _guest_work(
    settings: config.Settings,
    lease_options: options.LeaseOptions,
    db: database.Database,
    keys: vault.Vault,
    proxmox: pve_client.ProxmoxClient,
    console_login: pve_client.ProxmoxClient | None,
) -> guest_work.GuestWork:
    """The hub and what uses it; with SQLite there is one process, which owns every guest."""
    guests = pve_guests.Guests(proxmox)
    console_guests = pve_guests.Guests(console_login) if console_login is not None else None
    owners = None
    if not db.is_sqlite:
        owners = ownership.StoredOwnership(db, settings.pve402_peer_bind or "")
    opener = guest_work.OwnGuestsOnly(
        termproxy.TermproxyOpener(guests, console_guests), guests, lease_options.instance
    )
    open_vnc = guest_work.OwnGuestsOnly(
        vnc.VncOpener(guests, console_guests), guests, lease_options.instance
    )
    terminal = hub.Hub(hub_options.HubOptions(), opener, owners=owners)
    return guest_work.GuestWork(
        hub=terminal,
        commands=commands.Commands(
            terminal, guests, pve_tasks.Tasks(proxmox), mode=settings.pve_exec
        ),
        files=files.Files(terminal),
        detached=detached.DetachedPrograms(terminal),
        consoles=consoles.Consoles(db),
        direct=_direct_consoles(settings, lease_options, db, keys, proxmox),
        open_vnc=open_vnc,
        owners=owners,
        peers=peers.Peers(signer=peers.Signer(keys.key("peer"))) if owners else None,
    )


def _direct_consoles(
    settings: config.Settings,
    lease_options: options.LeaseOptions,
    db: database.Database,
    keys: vault.Vault,
    proxmox: pve_client.ProxmoxClient,
) -> direct_consoles.DirectConsoles | None:
    """Consoles from Proxmox VE itself, only where the operator asked for them."""
    if settings.pve_console_mode != "direct":
        return None
    return direct_consoles.DirectConsoles(
        pve_access.Access(proxmox),
        db,
        lambda name, password: _client_of_user(settings, name, password),
        console_host=settings.pve_console_host or "",
        instance=lease_options.instance,
        key=keys.key("console users"),
    )


def _console_login(settings: config.Settings) -> pve_client.ProxmoxClient | None:
    """A user for consoles of Proxmox VE that refuses API tokens there; used on our side only."""
    user, secret = settings.pve_console_user, settings.pve_console_password
    if user is None:
        user, secret = "root@pam", settings.pve_root_password
    if secret is None:
        return None
    return _client_of_user(settings, user, secret.get_secret_value())


def _client_of_user(
    settings: config.Settings, user: str, password: str
) -> pve_client.ProxmoxClient:
    with_token = _proxmox_options(settings)
    return pve_client.ProxmoxClient(
        dataclasses.replace(
            with_token, token_id="", token_secret="", username=user, password=password
        )
    )


def _lease_options(settings: config.Settings, keys: vault.Vault) -> options.LeaseOptions:
    return options.LeaseOptions(
        instance=settings.pve402_instance or keys.key("instance").hex()[:10],
        storage=settings.pve_storage,
        default_template=settings.pve_os_template,
        fixed_node=settings.pve_node or None,
        vmid_min=settings.pve_vmid_min,
        vmid_max=settings.pve_vmid_max,
        limits=placement.Limits(
            leases_per_node=settings.pve402_leases_per_node,
            memory_mb_per_node=settings.pve402_memory_mb_per_node,
            cores_overcommit=settings.pve402_cores_overcommit,
            memory_reserve_mb=settings.pve402_memory_reserve_mb,
        ),
        grace_seconds=settings.pve402_grace_hours * 3600,
        paid_ahead_limit_seconds=settings.pve402_max_paid_ahead_days * 86400,
        unsettled_per_wallet=settings.pve402_max_unsettled_per_wallet,
        unsettled_per_address=settings.pve402_max_unsettled_per_address,
        unsettled_in_all=settings.pve402_max_unsettled,
        writes_per_node=settings.pve402_node_writes,
        shelves=settings.pve402_pool,
    )


def _check_pool(settings: config.Settings, book: catalogue.Catalogue) -> None:
    """Raise SettingsError for guests in the pool that no tenant could ask for."""
    for wanted in settings.pve402_pool:
        try:
            wanted.check(book)
        except errors.InvalidRequest as error:
            reason = f"PVE402_POOL: {wanted.sku}: {error}"
            raise config.SettingsError({"PVE402_POOL": reason}) from None


def _proxmox_options(settings: config.Settings) -> pve_options.ProxmoxOptions:
    return pve_options.ProxmoxOptions(
        host=settings.pve_host,
        token_id=settings.pve_token_id,
        token_secret=settings.pve_token_secret.get_secret_value(),
        verify_ssl=settings.pve_verify_ssl,
        ca_file=settings.pve_ca_file,
        fingerprint_sha256=settings.pve_fingerprint,
    )


def _guest_template(settings: config.Settings) -> pve_guests.GuestSpec:
    """Return what all guests have in common; the lease's own facts replace the rest."""
    rate = settings.pve_rate_mbps
    network = pve_guests.NetworkSpec(
        bridge=settings.pve_bridge,
        address=settings.pve_ip,
        gateway=settings.pve_gateway,
        vlan_tag=settings.pve_vlan,
        firewall=settings.pve_firewall,
        rate_megabytes=None if rate is None else Decimal(str(rate)),
    )
    return pve_guests.GuestSpec(
        hostname="lease",
        template=settings.pve_os_template,
        storage=settings.pve_storage,
        disk_gb=1,
        memory_mb=128,
        cores=1,
        network=network,
        nameserver=settings.pve_nameserver,
        pool=settings.pve_pool,
    )


def _routes(
    settings: config.Settings, db: database.Database, ledger: books.Books
) -> Mapping[str, settlement.Route]:
    routes = {}
    for network in settings.network:
        endpoint = rpc.Rpc(rpc.RpcOptions(url=settings.rpc_url_of(network) or ""))
        routes[network] = settlement.Route(
            facilitator=_facilitator(settings, network, endpoint, db, ledger),
            chain=chain.Chain(endpoint),
            trust_facilitator=settings.trust_facilitator,
        )
    return routes


def _facilitator(
    settings: config.Settings,
    network: str,
    endpoint: rpc.Rpc,
    db: database.Database,
    ledger: books.Books,
) -> facilitators.Facilitator:
    url = settings.facilitator_url_of(network)
    if url is None:
        return _embedded(settings, network, endpoint, db, ledger)
    authorize = None
    if settings.cdp_api_key_id and settings.cdp_api_key_secret:
        key = cdp.CdpKey(
            key_id=settings.cdp_api_key_id, secret=settings.cdp_api_key_secret.get_secret_value()
        )
        authorize = cdp.CdpAuth(key, now_seconds=time.time).header
    return http.HttpFacilitator(http.HttpFacilitatorOptions(url=url, authorize=authorize))


def _embedded(
    settings: config.Settings,
    network: str,
    endpoint: rpc.Rpc,
    db: database.Database,
    ledger: books.Books,
) -> facilitators.Facilitator:
    """Our own signer; imported only here, because most installations use a facilitator."""
    from pve402.payments.facilitators import embedded  # noqa: PLC0415

    secret = settings.facilitator_private_key
    own = embedded.EmbeddedOptions(
        network=network, private_key=secret.get_secret_value() if secret else ""
    )
    return embedded.EmbeddedFacilitator(
        own,
        endpoint,
        nonces.StoredSignerNonces(db),
        record_transaction=ledger.record_transaction,
    )


def _access(
    settings: config.Settings,
    db: database.Database,
    keys: vault.Vault,
    routes: Mapping[str, settlement.Route],
) -> access.Access:
    wallets = wallet.WalletAuthenticator(
        wallet.WalletOptions(public_url=settings.public_url, secret=keys.key("wallet challenge")),
        nonces.StoredChallengeNonces(db),
        {network: route.chain for network, route in routes.items()},
        now=lambda: datetime.now(UTC),
    )
    return access.Access(db, wallets, chains.resolve(settings.network[0]).caip2)

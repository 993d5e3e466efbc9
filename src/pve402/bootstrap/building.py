"""Builds an installation from its settings: every object, and what each is given."""

import functools

from pve402 import config
from pve402.bootstrap import callers, catalogue_file, components, copying, jump, payments, remarks
from pve402.bootstrap import guests as guest_building
from pve402.bootstrap import leases as settings_of_leases
from pve402.domain import catalogue
from pve402.guests import detached_ways, probes, rekeying, shell_looks
from pve402.leases import (
    admission,
    anew,
    blocks,
    catalogue_versions,
    clone_steps,
    clones,
    cluster,
    confirmation,
    creation,
    deals,
    debts,
    failing,
    fees,
    firewall_view,
    fork_steps,
    free_riding,
    guest_steps,
    inbound,
    lifetime,
    machine,
    money,
    new_wallets,
    oci_guests,
    on_sale,
    options,
    outcome,
    preflight,
    quotas,
    reconciler,
    redeeming,
    redemptions,
    renewal,
    request_rates,
    sdn_ranges,
    service,
    settling,
    usage,
    warm_guests,
    warm_pool,
    withdrawal,
    worker,
)
from pve402.leases.alterations import (
    idling,
    pausing,
    power,
    reinstall_calls,
    reinstall_steps,
    reinstalls,
    rollback,
    size_change_steps,
    size_changes,
    snapshot_calls,
    snapshot_steps,
    snapshots,
)
from pve402.leases.images import (
    image_keeper,
    oci_steps,
    oci_trials,
    preparing,
    private_origins,
    saving,
    trials,
)
from pve402.payments import settlement
from pve402.proxmox import client as pve_client
from pve402.proxmox import firewall as pve_firewall
from pve402.proxmox import guests as pve_guests
from pve402.proxmox import ipam as pve_ipam
from pve402.proxmox import nodes as pve_nodes
from pve402.proxmox import snapshots as pve_snapshots
from pve402.proxmox import storage as pve_storage
from pve402.proxmox import tasks as pve_tasks
from pve402.storage import database, slots, vault


def build(settings: config.Settings, *, makes_key: bool = True) -> components.Components:
    """Build an installation from its settings, without opening or contacting anything.

    Without `makes_key`, a missing secret key is generated but not stored. Raises SettingsError.
    A catalogue that cannot be used is an error only once it is read: the database may have one.
    """
    source = catalogue_file.source(settings)
    selling = on_sale.OnSale()
    remarks.make(settings, selling)
    _read(source, selling)
    secret_vault = vault.Vault(config.secret_key(settings, make=makes_key))
    lease_options = settings_of_leases.lease_options(settings, secret_vault)
    db = database.Database(settings.database_url.get_secret_value())
    proxmox = pve_client.ProxmoxClient(guest_building.proxmox_options(settings))
    guests, tasks = pve_guests.Guests(proxmox), pve_tasks.Tasks(proxmox)
    nodes = pve_nodes.Nodes(proxmox)
    view = cluster.ClusterView(
        nodes,
        storages=lambda: selling.now.storages,
        fixed_node=lease_options.fixed_node,
        instance=lease_options.instance,
    )
    versions = catalogue_versions.Versions(
        db, selling, source, payment_seconds=settings.pve402_payment_seconds
    )
    deal_writer = deals.Deals(db, lease_options, secret_vault)
    routes = payments.routes_of(settings, db, deal_writer)
    settler = settlement.Settler(routes)
    watching = payments.watch_of(settings)
    trusted = settings.network if settings.trust_facilitator else ()
    funds = money.Money(
        settler, secret_vault, trusted_networks=trusted, confirmations=lease_options.confirmations
    )
    node_slots = slots.NodeSlots(
        db, per_node=lambda node: lease_options.writes_on(view.cores_of(node))
    )
    machines = machine.Machines(
        db,
        guests,
        tasks,
        node_slots=node_slots,
        settings=lease_options,
        secret_vault=secret_vault,
        template=guest_building.guest_template(settings),
        on_sale=selling,
    )
    firewalls = firewall_view.FirewallView(db, view, pve_firewall.ClusterFirewall(proxmox), selling)
    ranges = sdn_ranges.SdnRanges(pve_ipam.Ipam(proxmox))
    guest_network = guest_building.networks_of(
        settings, lease_options, db, proxmox, firewalls, selling
    )
    console_login = guest_building.console_login_of(settings)
    inside = guest_building.work_in_guests(
        settings, lease_options, db, secret_vault, proxmox, console_login
    )
    fee_flow = fees.Fees(deal_writer, funds)
    worker_options = options.WorkerOptions()
    rekeying_guests = rekeying.TerminalRekeying(inside.hub)
    ready = warm_guests.WarmGuests(
        deal_writer, machines, rekeying_guests, view, selling, lease_options
    )
    filler = warm_pool.Filler(db, view, lease_options, selling)
    money_step = settling.Settling(deal_writer, machines, funds)
    debt_writer = debts.Debts(deal_writer, funds, lease_options)
    on_proxmox = pve_snapshots.GuestSnapshots(proxmox)
    cloning = clones.Clones(
        db, machines, guests, guest_network, lease_options, view, on_proxmox=on_proxmox
    )
    filling = warm_pool.Filling(
        db,
        machines,
        rekeying_guests,
        guest_network,
        lease_options,
        cloning,
        oci=oci_guests.OciGuests(guests, machines, lease_options),
        on_made=filler.wake,
    )
    snapshot_asking = snapshot_calls.SnapshotCalls(
        db, machines, guests, tasks, on_proxmox, lease_options
    )
    ending = lifetime.Lifetime(
        db,
        machines,
        lease_options,
        inside.end,
        guest_network,
        snapshots=snapshot_steps.SnapshotSteps(
            db,
            snapshot_asking,
            rollback.Rollback(db, snapshot_asking, machines, guests, guest_network, inside.end),
        ),
        size_changes=size_change_steps.SizeChangeSteps(
            db,
            snapshot_asking,
            machines,
            guests,
            tasks,
            selling=selling,
            settings=lease_options,
            on_end=inside.end,
        ),
        reinstalls=reinstall_steps.ReinstallSteps(
            db,
            reinstall_calls.ReinstallCalls(
                db, machines, guests, guest_network, secret_vault, lease_options
            ),
            snapshot_asking,
            machines,
            view=view,
            storages=pve_storage.Storages(proxmox),
            on_end=inside.end,
        ),
    )
    trial_guests = trials.Trials(
        db, filling, ending, view=view, settings=lease_options, selling=selling
    )
    failures = failing.Failures(
        deal_writer,
        anew.Anew(deal_writer, machines, view, selling, lease_options, guest_network),
        lease_options,
    )
    flows = worker.Workflows(
        creation=creation.Creation(
            deal_writer,
            machines,
            money_step,
            lease_options,
            ready,
            failures=failures,
            debt_writer=debt_writer,
            guest_network=guest_network,
            steps_in_guests=guest_steps.GuestSteps(
                deal_writer, failures, guest_network, filling.oci_guests
            ),
            on_started=inside.prepare,
            cloning=clone_steps.CloneSteps(
                deal_writer,
                cloning,
                failures,
                rekeying_guests,
                private_origins.PrivateOrigin(db, machines, guests, lease_options.instance),
                fork_steps.ForkSteps(deal_writer, cloning, failures),
            ),
            saving=saving.Saving(
                deal_writer, machines, guests, cloning, money_step, lease_options
            ).steps,
        ),
        renewal=renewal.Renewal(deal_writer, machines, money_step, lease_options, debt_writer),
        confirmation=confirmation.Confirmation(deal_writer, machines, funds, lease_options),
        lifetime=ending,
        late=debt_writer.watch,
        fee=fee_flow.run,
        filling=filling,
        preparing=preparing.Preparing(db, guests, filling),
        trials=trial_guests,
        fork_ends=fork_steps.ForkEnds(db, lease_options),
        user_data=guest_building.user_data_runs(db, secret_vault, inside).run,
        oci_file=oci_steps.OciSteps(
            db,
            pve_storage.Storages(proxmox),
            tasks,
            oci_trials.OciTrials(
                trial_guests,
                guests,
                nodes,
                machines,
                shell_looks.ShellLooks(inside.hub),
                view=view,
                selling=selling,
            ),
            view=view,
            settings=lease_options,
        ).run,
    )
    lease_worker = worker.Worker(db, flows, worker_options)
    outcomes = outcome.Outcomes(db, lease_worker)
    new_for_seconds = lease_options.quotas.new_for_seconds
    who_is_new = new_wallets.NewWallets(db, settings.network, new_for_seconds)
    quota_checks = quotas.QuotaChecks(lease_options.quotas, who_is_new)
    admissions = admission.Admission(
        db,
        lease_options,
        worker_options.hold_seconds,
        funds,
        secret_vault,
        quota_checks=quota_checks,
        free_rides=free_riding.FreeRiding(db, lease_options, who_is_new),
    )
    lease_views = settings_of_leases.views_of(
        view, machines, guests, selling, lease_options.instance
    )
    parts = service.Parts(
        db=db,
        on_sale=selling,
        settings=lease_options,
        secret_vault=secret_vault,
        view=view,
        firewalls=firewalls,
        ranges=ranges,
        admissions=admissions,
        outcomes=outcomes,
        rules=blocks.Blocks(db),
        settler=settler,
        is_readable=watching.is_readable,
        versions=versions,
        lease_worker=lease_worker,
        fees=fee_flow,
        filler=filler,
        lease_views=lease_views,
        history=usage.UsageHistory(guests, lease_views),
        pauses=pausing.Pauses(
            db,
            power.PowerSwitch(db, machines, lease_worker, inside.end),
            lease_worker,
            view,
            lease_options,
        ),
        snapshots=snapshots.Snapshots(db, guests, on_proxmox, lease_worker, lease_options, selling),
        size_changes=size_changes.SizeChanges(
            db,
            view,
            selling,
            lease_options,
            quota_checks=quota_checks,
            lease_worker=lease_worker,
        ),
        reinstalls=reinstalls.Reinstalls(
            db, view, selling, lease_options, secret_vault=secret_vault, lease_worker=lease_worker
        ),
        inbound_rules=inbound.InboundRules(db, selling, lease_worker),
        networks=settings.network,
    )
    leases = service.LeaseService(parts)
    return components.Components(
        settings=settings,
        versions=versions,
        rates=request_rates.RequestRates(
            db,
            of_address=settings.pve402_address_requests_a_minute,
            of_wallet=settings.pve402_wallet_requests_a_minute,
            of_new_wallets=settings.pve402_new_wallet_requests_a_minute,
            who_is_new=who_is_new,
        ),
        on_sale=selling,
        db=db,
        proxmox=proxmox,
        guests=guests,
        nodes=nodes,
        settler=settler,
        chain_watch=watching,
        support=payments.support_of(routes),
        view=view,
        firewalls=firewalls,
        ranges=ranges,
        guest_network=guest_network,
        nodes_check=preflight.Preflight(
            view,
            nodes,
            pve_storage.Storages(proxmox),
            lease_options,
            pool=settings.pve_pool,
            on_sale=selling,
        ),
        lease_worker=lease_worker,
        lease_reconciler=reconciler.Reconciler(
            db,
            view,
            machines,
            lease_options,
            guest_network,
            idling.Idling(
                db,
                parts.pauses,
                lease_options.instance,
                functools.partial(detached_ways.are_running, inside),
            ),
            fork_ends=flows.fork_ends,
        ),
        filler=filler,
        image_keeper=image_keeper.ImageKeeper(db, view, lease_options, selling),
        leases=leases,
        private_images=copying.private_images_of(parts, guests, leases, settings.network),
        forks=copying.forks_of(parts, machines, guests, on_proxmox, leases),
        withdrawal=withdrawal.Withdrawal(deal_writer, debt_writer),
        redeeming=redeeming.Redeeming(
            parts,
            redemptions.Redemptions(db, lease_options, admissions, secret_vault, quota_checks),
        ),
        access=callers.access_of(settings, db, secret_vault, routes, parts.asking),
        secret_vault=secret_vault,
        lease_options=lease_options,
        machines=machines,
        snapshot_calls=snapshot_asking,
        cloning=cloning,
        guest_work=inside,
        trials=trial_guests,
        probes=probes.Probes(inside.hub),
        jump=jump.jump_host(settings, secret_vault, inside, leases),
        console_login=console_login,
    )


def _read(source: catalogue_file.CatalogueFile, selling: on_sale.OnSale) -> None:
    """Sell what the file says, until the rows are read."""
    try:
        first = source.parse(source.load().text)
    except catalogue.CatalogueError as error:
        selling.missing = str(error)
    else:
        selling.replace(on_sale.Version(number=0, catalogue=first), [])

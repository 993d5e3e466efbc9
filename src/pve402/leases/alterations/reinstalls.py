"""Lets a tenant have a fresh guest in the place of its lease's, made of any image of its sku.

A wish is written with a move of the lease, and the worker carries it out; the caller waits for a
while. All is checked before a fee is charged, and again in the transaction that writes. The same
call again, until a minute after the end, is the same reinstallation: a client that lost the answer
does not lose what it has built since.
"""

import dataclasses
import json
import math
import secrets
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from pve402.domain import errors, lease, networks, placement, reinstalls, request, snapshots
from pve402.domain import size_changes as changes
from pve402.leases import cluster, moves, on_sale, options, worker
from pve402.leases.alterations import power, reinstall_steps
from pve402.leases.moves import metering
from pve402.storage import (
    database,
    environment_rows,
    private_image_rows,
    queue,
    reinstall_rows,
    snapshot_rows,
    transaction,
    unfinished_rows,
    user_data_rows,
    vault,
)

ROUTE: Final = "POST /lease/{ctid}/reinstall"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """A lease and its latest reinstallation, finished or not; None: there was none."""

    lease: lease.Lease
    made: reinstalls.Reinstall | None


class Reinstalls:
    """Reinstalls leases."""

    def __init__(
        self,
        db: database.Database,
        view: cluster.ClusterView,
        selling: on_sale.OnSale,
        settings: options.LeaseOptions,
        *,
        secret_vault: vault.Vault,
        lease_worker: worker.Worker,
    ) -> None:
        self._db = db
        self._view = view
        self._on_sale = selling
        self._settings = settings
        self._vault = secret_vault
        self._request_key = secret_vault.key("request")
        self._worker = lease_worker

    async def show(self, row: lease.Lease) -> Outcome:
        """Return a lease with its latest reinstallation."""
        async with self._db.read() as tx:
            return Outcome(lease=row, made=await reinstall_rows.get(tx, row.lease_id))

    async def check(self, row: lease.Lease, wish: reinstalls.Wish) -> None:
        """Raise the error that `reinstall` would get now; none if just that is under way.

        Raises InvalidRequest of many kinds, NoLongerSold, HasSnapshots, AddressNotKept, LeaseBusy,
        TooLittleTimeLeft, NoCapacity, ProxmoxUnavailable, and the errors of
        `power.check_running_time`.
        """
        wish.check()
        rooms = await self._rooms(row, wish)
        async with self._db.read() as tx:
            now = await self._db.time_in(tx)
            before = await reinstall_rows.get(tx, row.lease_id)
            if not self._is_same(before, row, wish, now):
                await self._new(tx, row, wish, now, before=before, rooms=rooms)

    async def reinstall(self, row: lease.Lease, wish: reinstalls.Wish) -> Outcome:
        """Reinstall a lease; waits a few seconds for it.

        Raises like `check`, LeaseOver if it ends meanwhile, and what kept the old guest:
        ContainerLocked, ReinstallFailed.
        """
        rooms = await self._rooms(row, wish)
        moved = await self._begin(row, wish, rooms)
        applied = await power.applied(self._db, self._worker, moved)
        shown = await self.show(applied)
        if shown.made is not None and shown.made.state is reinstalls.State.FAILED:
            raise reinstalls.refusal(shown.made.problem) or reinstalls.ReinstallFailed()
        if shown.made is None or applied.status is not lease.LeaseStatus.ACTIVE:
            raise errors.LeaseOver
        return shown

    async def _rooms(self, row: lease.Lease, wish: reinstalls.Wish) -> Sequence[placement.NodeRoom]:
        return await self._view.rooms_for(self._volume(row, wish))

    async def _begin(
        self, row: lease.Lease, wish: reinstalls.Wish, rooms: Sequence[placement.NodeRoom]
    ) -> lease.Lease:
        """Write the wish; return the lease as it was moved, or as it is while just that goes on."""
        try:
            async with self._db.begin() as tx:
                latest = await metering.latest(tx, row)
                now = await self._db.time_in(tx)
                before = await reinstall_rows.get(tx, row.lease_id)
                if self._is_same(before, latest, wish, now):
                    return latest
                new = await self._new(tx, latest, wish, now, before=before, rooms=rooms)
                if new.state is reinstalls.State.MAKING:
                    moved = await moves.look_at_begun(self._db, tx, latest)
                else:
                    moved = await moves.begin_reinstall(self._db, tx, latest, new.template)
                await reinstall_rows.put(self._db, tx, new)
                return moved
        except queue.FenceLostError:
            raise errors.LeaseBusy from None

    async def _new(
        self,
        tx: transaction.Transaction,
        row: lease.Lease,
        wish: reinstalls.Wish,
        now: datetime,
        *,
        before: reinstalls.Reinstall | None,
        rooms: Sequence[placement.NodeRoom],
    ) -> reinstalls.Reinstall:
        """Return the row of a reinstallation that may begin now. Raises like `check`."""
        if before is not None and before.is_unfinished:
            if row.is_emptied:
                row.check_not_suspended()
            else:
                power.check_running_time(row)
            if not before.may_be_replaced:
                raise errors.LeaseBusy
        else:
            await self._check_usable(tx, row, wish, now, before=before)
            before = None
        self._check_possible(row, rooms)
        return await self._sealed(tx, row, wish, before)

    async def _check_usable(
        self,
        tx: transaction.Transaction,
        row: lease.Lease,
        wish: reinstalls.Wish,
        now: datetime,
        *,
        before: reinstalls.Reinstall | None,
    ) -> None:
        power.check_changeable(row, now)
        if await unfinished_rows.of_lease(tx, row.lease_id):
            raise errors.LeaseBusy
        await private_image_rows.check_none(tx, row.lease_id)
        _check_rest(before, now)
        found = await snapshot_rows.of_lease(tx, row.lease_id)
        standing = [one for one in found if one.state is not snapshots.State.FAILED]
        if standing and not wish.delete_snapshots:
            raise reinstalls.HasSnapshots
        if row.expires_at is None or row.expires_at - now < reinstalls.LEAST_LEFT:
            minutes = reinstalls.LEAST_LEFT.total_seconds() / 60
            raise changes.TooLittleTimeLeft(
                f"A lease that ends within {minutes:g} minutes is not reinstalled; renew it first."
                " Nothing was changed."
            )

    def _check_possible(self, row: lease.Lease, rooms: Sequence[placement.NodeRoom]) -> None:
        if not reinstall_steps.is_room_for(rooms, row):
            raise errors.NoCapacity(
                "The node of this container cannot make containers of this template right now, and"
                " a container does not move. Nothing was changed."
            )
        profile = self._on_sale.network_of(row)
        learned = () if profile is None else profile.learned
        if any(one.source is networks.Source.SDN for one in learned):
            raise reinstalls.AddressNotKept

    async def _sealed(
        self,
        tx: transaction.Transaction,
        row: lease.Lease,
        wish: reinstalls.Wish,
        before: reinstalls.Reinstall | None,
    ) -> reinstalls.Reinstall:
        """Return the new row; one in the place of another whose guest is gone goes on from there.

        Raises CredentialRequired, and InvalidRequest for what only an order can keep.
        """
        chosen = wish.with_keys_of(row.metadata)
        order_id = await reinstall_rows.order_of(tx, row.lease_id)
        if order_id is None and (wish.env is not None or wish.user_data is not None):
            raise errors.InvalidRequest(
                "env and userData: this lease was restored from its container and cannot keep them"
            )
        new = reinstalls.Reinstall(
            lease_id=row.lease_id,
            reinstall_id=f"r{secrets.token_hex(15)}",
            state=reinstalls.State.STOPPING,
            created_at=row.created_at,  # the insert writes the database's own time
            request_hash=self._hash(row, wish),
            template=self._volume(row, wish),
            order_id=order_id,
            resumes_to=row.wanted.value,
            kept=chosen.kept(row.metadata),
            script_needs_network=not wish.user_data_skips_network,
        )
        if before is not None:
            new = dataclasses.replace(
                new,
                state=before.state,
                hardware_address=before.hardware_address,
                resumes_to=before.resumes_to,
            )
        return self._with_secrets(new, chosen)

    def _with_secrets(
        self, new: reinstalls.Reinstall, wish: reinstalls.Wish
    ) -> reinstalls.Reinstall:
        access = {"password": wish.password, "ssh_public_keys": list(wish.ssh_public_keys)}
        sealed = self._vault.seal(json.dumps(access).encode(), new.reinstall_id)
        new = dataclasses.replace(new, sealed_secrets=sealed)
        if new.order_id is not None and wish.env is not None:
            text = json.dumps(dict(wish.env)).encode()
            env = self._vault.seal(text, environment_rows.bound_to(new.order_id))
            new = dataclasses.replace(new, sealed_env=env)
        if new.order_id is not None and wish.user_data is not None:
            bound = user_data_rows.bound_to(new.order_id, "script")
            script = self._vault.seal(wish.user_data.encode(), bound)
            new = dataclasses.replace(new, sealed_script=script)
        return new

    def _is_same(
        self,
        made: reinstalls.Reinstall | None,
        row: lease.Lease,
        wish: reinstalls.Wish,
        now: datetime,
    ) -> bool:
        """Whether what is under way, or has just ended well, is what somebody wishes."""
        if made is None or made.request_hash != self._hash(row, wish):
            return False
        if row.status is not lease.LeaseStatus.ACTIVE:  # it ends, and its reinstallation with it
            return False
        until = made.rests_until()
        return made.is_unfinished or (until is not None and now < until)

    def _hash(self, row: lease.Lease, wish: reinstalls.Wish) -> str:
        named = {"lease_id": row.lease_id, **wish.canonical()}
        return request.fingerprint(ROUTE, named, self._request_key)

    def _volume(self, row: lease.Lease, wish: reinstalls.Wish) -> str:
        sku = self._on_sale.now.skus.get(row.sku)
        if sku is None:
            raise changes.NoLongerSold(
                "This container's sku is no longer on sale, so it is not reinstalled."
            )
        return wish.volume_for(sku, row.template, self._settings.default_template)


def _check_rest(before: reinstalls.Reinstall | None, now: datetime) -> None:
    """Raise LeaseBusy for a while after a lease was reinstalled."""
    until = None if before is None else before.rests_until()
    if until is not None and now < until:
        seconds = math.ceil((until - now).total_seconds())
        raise errors.LeaseBusy(
            "The container has just been reinstalled; try again in a minute.",
            retry_after_seconds=seconds,
        )

"""What one wallet, one address and all new wallets may lease at a time, and who is blocked."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from eth_account.signers.local import LocalAccount
from tests.support.installation import Installation, creation, running

from pve402.domain import account, blocklist, errors, lease, quota
from pve402.leases import blocks
from pve402.leases.service import Caller
from pve402.storage import block_rows, lease_rows, usage_rows

HERE = "203.0.113.7"
SUBNET = "2001:db8::/64"


@contextlib.asynccontextmanager
async def limited(
    folder: Path, world: tuple[Any, ...], **settings: str
) -> AsyncIterator[Installation]:
    """An installation with limits."""
    limits = {name: quota.Quota.parse(text) for name, text in settings.items()}
    async with running(f"sqlite:///{folder}/db.sqlite3", *world, **limits) as made:
        yield made


async def bought(
    installation: Installation, key: LocalAccount, address: str | None = None, **wish: Any
) -> lease.Lease:
    """A lease of a wallet, from an address."""
    asked = creation(**wish)
    purchase = installation.buy(key, asked, client_address=address)
    return (await installation.leases.create(asked, purchase)).lease


SMALL = {"size": lease.Size(cores=1, memory_mb=512, disk_gb=8)}


@pytest.mark.parametrize("limit", ["leases=2", "cores=2", "memoryMB=1200", "diskGB=20"])
async def test_a_wallet_leases_no_more_than_it_may(
    tmp_path: Path, world: tuple[Any, ...], limit: str
) -> None:
    async with limited(tmp_path, world, pve402_wallet_limits=limit) as made:
        key, other = made.tenant(), made.tenant()
        rows = [await bought(made, key, **SMALL) for _ in range(2)]
        earned = made.earned

        with pytest.raises(errors.LimitReached, match="one wallet"):
            await bought(made, key, **SMALL)

        assert made.earned == earned
        await bought(made, other, **SMALL)
        await made.leases.end(rows[0])
        await made.settled_down()
        await bought(made, key, **SMALL)


@pytest.mark.parametrize("address", [HERE, SUBNET])
async def test_wallets_at_one_address_share_a_limit(
    tmp_path: Path, world: tuple[Any, ...], address: str
) -> None:
    async with limited(tmp_path, world, pve402_address_limits="leases=1") as made:
        await bought(made, made.tenant(), address)

        with pytest.raises(errors.LimitReached, match="one address"):
            await bought(made, made.tenant(), address)

        await bought(made, made.tenant(), "198.51.100.1")
        await bought(made, made.tenant(), None)


async def test_new_wallets_share_a_limit_that_known_ones_do_not_use(
    tmp_path: Path, world: tuple[Any, ...]
) -> None:
    async with limited(tmp_path, world, pve402_new_wallet_limits="leases=1") as made:
        known = made.tenant(usdc_atomic=100_000_000)
        first = await bought(made, known, minutes=60 * 24 * 3)
        with pytest.raises(errors.LimitReached, match="new wallets"):
            await bought(made, made.tenant())

        made.pass_time(25 * 3600)
        second = await bought(made, known)
        await bought(made, made.tenant())

        assert second.owner == first.owner
        with pytest.raises(errors.LimitReached, match="new wallets"):
            await bought(made, made.tenant())


async def test_a_wallet_that_is_known_on_one_network_is_new_on_none(
    installation: Installation,
) -> None:
    db, networks = installation.parts.db, ("eip155:84532", "eip155:8453")
    first = await bought(installation, installation.tenant())
    installation.pass_time(25 * 3600)
    new = await bought(installation, installation.tenant())
    there = account.account(networks[1], account.address_of(first.owner))
    again = new.evolve(lease_id=lease.new_lease_id(), vmid=new.vmid + 1, owner=there)
    async with db.begin() as tx:
        await lease_rows.insert(db, tx, again, due=False)
        used = await usage_rows.of_new_wallets(db, tx, 24 * 3600, networks)
        on_each = await usage_rows.of_new_wallets(db, tx, 24 * 3600)

    assert (used.leases, on_each.leases) == (1, 2)


async def test_creations_at_the_same_time_do_not_exceed_a_limit(
    tmp_path: Path, world: tuple[Any, ...]
) -> None:
    async with limited(tmp_path, world, pve402_wallet_limits="leases=2") as made:
        key = made.tenant()
        wishes = [bought(made, key) for _ in range(5)]

        answers = await asyncio.gather(*wishes, return_exceptions=True)

        refused = [one for one in answers if isinstance(one, errors.LimitReached)]
        assert len(refused) == 3
        assert len(made.marked_guests) == 2


async def test_a_lease_from_the_warm_pool_counts(tmp_path: Path, world: tuple[Any, ...]) -> None:
    async with running(
        f"sqlite:///{tmp_path}/db.sqlite3",
        *world,
        pve402_address_limits=quota.Quota(leases=1),
        pve402_pool="standard-lxc:1:512:8=1",
    ) as made:
        await made.pool_of(1)
        sold = await bought(made, made.tenant(), HERE)

        assert sold.pooled_at is not None
        with pytest.raises(errors.LimitReached):
            await bought(made, made.tenant(), HERE)


async def put(installation: Installation, *rules: tuple[str, str]) -> None:
    """Write rules as the operator does, and wait until they are read."""
    db = installation.parts.db
    for subject, effect in rules:
        rule = blocklist.Rule(subject=blocklist.canonical(subject), effect=blocklist.Effect(effect))
        async with db.begin() as tx:
            await block_rows.put(db, tx, rule)


@pytest.mark.parametrize(
    ("subject", "refusal"),
    [
        ("*", errors.WalletBlocked),
        ("wallet", errors.WalletBlocked),
        (HERE, errors.AddressBlocked),
        ("203.0.113.0/24", errors.AddressBlocked),
        ("0.0.0.0/0", errors.AddressBlocked),
    ],
)
async def test_who_is_blocked_buys_nothing(
    tmp_path: Path,
    world: tuple[Any, ...],
    monkeypatch: pytest.MonkeyPatch,
    subject: str,
    refusal: type[errors.Blocked],
) -> None:
    monkeypatch.setattr(blocks, "FRESH_SECONDS", 0.0)
    async with limited(tmp_path, world) as made:
        key = made.tenant()
        before = await bought(made, key, HERE)
        await put(made, (key.address if subject == "wallet" else subject, "block"))
        earned = made.earned

        with pytest.raises(refusal):
            await bought(made, key, HERE)
        renewal = made.renewal(key, before, 30, client_address=HERE)
        with pytest.raises(refusal):
            await made.leases.renew(before, 30, renewal)

        assert made.earned == earned
        assert made.runs(before.vmid)


async def test_nobody_renews_a_lease_of_a_blocked_wallet(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "FRESH_SECONDS", 0.0)
    row = await bought(installation, installation.tenant())
    await put(installation, (account.address_of(row.owner), "block"))
    holder, other = Caller(owner=row.owner, lease_id=row.lease_id), installation.tenant()
    earned = installation.earned

    with pytest.raises(errors.WalletBlocked, match="owns this lease"):
        await installation.leases.check_renewable(row, 30)
    with pytest.raises(errors.WalletBlocked, match="owns this lease"):
        await installation.leases.renew(row, 30, installation.renewal(other, row, 30), holder)

    assert installation.earned == earned


async def test_a_rule_is_read_by_every_replica_and_gone_when_removed(
    installation: Installation,
) -> None:
    rules = blocks.Blocks(installation.parts.db)
    await put(installation, ("10.0.0.0/8", "block"), ("10.1.0.0/16", "allow"))

    with pytest.raises(errors.AddressBlocked):
        await rules.check("10.2.0.1")
    await rules.check("10.1.0.1")
    async with installation.parts.db.begin() as tx:
        assert await block_rows.remove(tx, "10.0.0.0/8")
        assert not await block_rows.remove(tx, "10.0.0.0/8")

    await blocks.Blocks(installation.parts.db).check("10.2.0.1")


async def test_requests_that_come_with_the_first_one_are_held_to_the_rules_too(
    installation: Installation,
) -> None:
    await put(installation, (HERE, "block"))
    rules = blocks.Blocks(installation.parts.db)

    found = await asyncio.gather(*(rules.check(HERE) for _ in range(3)), return_exceptions=True)

    assert [type(one) for one in found] == [errors.AddressBlocked] * 3

"""What `pve402 ops show` tells of leases and orders."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from rich.console import Console
from tests.support import contract_payers, debts
from tests.support.installation import (
    Installation,
    World,
    creation,
    running,
    simulated_proxmox,
)

from pve402.domain import errors, lease
from pve402.ops import enforcement, history, owed
from pve402.storage import tables
from pve402_devnet.pve import faults as pve_faults


async def shown(
    installation: Installation, capsys: pytest.CaptureFixture[str], subject: str
) -> dict[str, Any]:
    """What is printed for programs."""
    capsys.readouterr()
    code = await history.show(installation.parts, Console(), subject=subject, as_json=True)
    assert code == 0
    printed = capsys.readouterr().out  # this process logs there, too
    found: dict[str, Any] = json.loads(printed[printed.index("{\n") :])
    return found


async def change(installation: Installation, table: sa.Table, **values: Any) -> None:
    """Set columns of every row of a table."""
    async with installation.parts.db.begin() as tx:
        await tx.execute(table.update().values(**values))


async def for_people(installation: Installation, subject: str) -> str:
    """What is printed for people."""
    file = io.StringIO()
    await history.show(installation.parts, Console(file=file, width=300), subject=subject)
    return file.getvalue()


@pytest.mark.parametrize(
    ("origin", "said"),
    [
        ({"forked_from": "lsource"}, "copied from lsource"),
        ({"base": "limage"}, "cloned"),
        ({"base": None}, "ready to be handed over"),  # a clone that was reinstalled since
    ],
)
async def test_a_copy_is_told_from_what_it_was_made(
    installation: Installation, origin: dict[str, str | None], said: str
) -> None:
    bought = (await installation.lease()).lease
    await change(installation, tables.leases, **origin, pooled_at=bought.created_at)

    told = await for_people(installation, bought.lease_id)

    assert said in told
    assert "warm pool" not in told


async def test_a_lease_is_told_from_its_payment_to_its_tasks(
    installation: Installation, capsys: pytest.CaptureFixture[str]
) -> None:
    bought = await installation.lease()

    told = await shown(installation, capsys, bought.lease.lease_id)

    events = told["events"]
    seconds = [event["at"][:19] for event in events]
    assert seconds == sorted(seconds)
    assert {event["about"] for event in events} == {
        "task",
        f"lease {bought.lease.lease_id}",
        f"order {bought.order.order_id}",
    }
    tasks = [event["what"].split(" (")[0] for event in events if event["about"] == "task"]
    of_a_terminal = {"vncproxy: RUNNING", "vncproxy: OK"}  # it is opened while the payment settles
    assert sorted(set(tasks) - of_a_terminal) == ["vzcreate: OK", "vzstart: OK"]
    whats = [event["what"] for event in events]
    assert "task" not in {event["about"] for event in events[:3]}
    assert f"transfer is on chain: {bought.order.transaction}" in whats
    assert any(what.startswith("creation of 60 minutes for 0.0") for what in whats)
    assert told["tasksProblem"] is None


async def test_order_and_transaction_lead_to_the_same(
    installation: Installation, capsys: pytest.CaptureFixture[str]
) -> None:
    bought, _other = await installation.lease(), await installation.lease()
    assert bought.order.transaction

    by_lease = await shown(installation, capsys, bought.lease.lease_id)
    by_order = await shown(installation, capsys, bought.order.order_id)
    by_transaction = await shown(installation, capsys, bought.order.transaction)

    assert by_order == by_transaction == by_lease
    written = bought.order.transaction
    for name in (written.upper(), written[2:], f" {written}\n", str(bought.lease.vmid)):
        assert await shown(installation, capsys, name) == by_lease


async def test_a_debt_and_its_repayment_lead_to_the_order(
    installation: Installation, capsys: pytest.CaptureFixture[str]
) -> None:
    shop = installation
    debt = await debts.owing(shop, shop.tenant())
    paid = await debts.transfer(shop, shop.tenant(), debt.payer, debt.left_atomic)
    debts.mine(shop)
    await owed.close(shop.parts, Console(file=io.StringIO()), transaction=paid)

    by_order = await shown(installation, capsys, debt.order_id)

    assert await shown(installation, capsys, debt.owed_id) == by_order
    assert await shown(installation, capsys, paid) == by_order
    assert any(event["what"] == f"paid back: {paid}" for event in by_order["events"])


@pytest.mark.parametrize(
    "name", ["", "nothing", "99999", "9" * 400, "w" + "0" * 30, "0x" + "ab" * 32, "\u0661", "'--"]
)
async def test_what_is_not_known_is_told_so(
    installation: Installation, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    assert await history.show(installation.parts, Console(), subject=name) == 1
    assert "no lease, order, debt or transaction" in capsys.readouterr().err


async def test_a_refusal_is_told_at_its_time(
    installation: Installation, capsys: pytest.CaptureFixture[str]
) -> None:
    wish = creation()
    installation.fail_call(debts.START, text="no space left")
    with pytest.raises(errors.ProvisioningFailed):
        await installation.leases.create(wish, installation.buy(installation.tenant(), wish))
    await installation.settled_down()
    (refused,) = await installation.orders_now()

    told = await shown(installation, capsys, refused.order_id)

    whats = [event["what"] for event in told["events"]]
    (refusal,) = [what for what in whats if what.startswith("refused: start_failed: ")]
    assert "no space left" in refusal
    places = [
        next(at for at, what in enumerate(whats) if what.startswith(words))
        for words in ("creation of 60", "creation sent", "refused: ", "over: ")
    ]
    assert places == sorted(places)
    (state,) = (state for state in told["states"] if "order" in state)
    assert (state["status"], state["refusal"]) == ("refused", "start_failed")


async def test_what_was_asked_of_a_guest_is_told_in_its_order(
    installation: Installation, capsys: pytest.CaptureFixture[str]
) -> None:
    shop, console = installation, Console(file=io.StringIO())
    row = (await shop.lease()).lease
    for ask in (shop.leases.stop, shop.leases.start, shop.leases.reboot):
        (current,) = await shop.leases_now()
        await ask(current)
    await enforcement.Suspend(name=row.lease_id, reason="report 17").run(shop.parts, console)
    await shop.settled_down()
    await enforcement.resume(shop.parts, console, name=row.lease_id)
    await shop.settled_down()
    await enforcement.end(shop.parts, console, name=row.lease_id)
    await shop.settled_down()

    told = await shown(shop, capsys, row.lease_id)

    asked = ("stop ", "start ", "reboot ", "suspended", "resumed", "end ", "over: ")
    assert [event["what"] for event in told["events"] if event["what"].startswith(asked)] == [
        "stop asked for: by the tenant",
        "start asked for: by the tenant",
        "reboot asked for: by the tenant",
        "suspended: report 17",
        "resumed",
        "end asked for: by the operator",
        "over: ended_by_operator",
    ]


async def test_a_lease_that_was_given_up_is_told_with_its_order(
    tmp_path: Path, world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    _, chain, facilitator = world
    url = f"sqlite:///{tmp_path}/two.sqlite3"
    async with (
        simulated_proxmox("pve", "pve2") as proxmox,
        running(url, proxmox, chain, facilitator) as shop,
    ):
        first = await given_up(shop)
        (paid,) = await shop.orders_now()
        nodes = {row.lease_id: row.node for row in await shop.leases_now()}
        told = await shown(shop, capsys, paid.order_id)
        by_first = await shown(shop, capsys, first)

    assert paid.lease_id != first
    assert by_first == told
    abouts = {event["about"] for event in told["events"]}
    assert {f"lease {first}", f"lease {paid.lease_id}"} < abouts
    assert any(
        event["what"].endswith(f"goes on with lease {paid.lease_id}") for event in told["events"]
    )
    tasks = [event["what"] for event in told["events"] if event["about"] == "task"]
    creations = {task.split("UPID:")[1].split(":")[0] for task in tasks if "vzcreate" in task}
    assert nodes[first] in creations
    assert nodes[first] != nodes[paid.lease_id or ""]


async def given_up(shop: Installation) -> str:
    """Let the node of a paid guest die; return the lease that its order had first."""
    honest = shop.parts.settler.settle

    async def settle(*terms: Any, **named: Any) -> Any:
        done = await honest(*terms, **named)
        (row,) = await shop.leases_now()
        dead = f" /nodes/{row.node}/lxc/"
        shop.fail_call(dead, pve_faults.FaultKind.UNREACHABLE, times=100_000)
        return done

    shop.parts.settler.settle = settle  # type: ignore[method-assign]
    bought = contract_payers.bought_by_new(shop, wait_seconds=0.0)
    told = await shop.leases.create(creation(), bought)
    for _ in range(400):
        if any(row.status is lease.LeaseStatus.ACTIVE for row in await shop.leases_now()):
            return told.lease.lease_id
        shop.pass_time(20)
        await shop.settled_down()
    raise TimeoutError("no other lease was made")


async def test_a_debt_is_told_with_what_redeems_it(
    installation: Installation, capsys: pytest.CaptureFixture[str]
) -> None:
    shop, key = installation, installation.tenant()
    debt = await debts.owing(shop, key)
    redeemed = await shop.parts.redeeming.redeem(
        debts.wallet(key),
        debt.owed_id,
        creation(),
        idempotency_key=None,
        client_address=None,
        wait_seconds=60.0,
    )

    told = await shown(shop, capsys, debt.owed_id)

    whats = [event["what"] for event in told["events"]]
    claims = [what for what in whats if f" out of debt {debt.owed_id} claimed" in what]
    assert len(claims) == 1
    assert whats.index(claims[0]) < whats.index("redeemed")
    assert f"order {redeemed.order.order_id}" in {event["about"] for event in told["events"]}


async def test_texts_from_elsewhere_give_a_terminal_no_orders(installation: Installation) -> None:
    row = (await installation.lease()).lease
    await change(installation, tables.leases, last_error="no [/such] tag \x1b[2J\u202e")

    text = await for_people(installation, row.lease_id)

    assert r"no [/such] tag \x1b[2J\u202e" in text


async def test_without_proxmox_the_rows_are_told(installation: Installation) -> None:
    row = (await installation.lease()).lease
    installation.fail_call("GET .*/tasks$", text="[red]no quorum")

    text = await for_people(installation, row.lease_id)

    assert "transfer is on chain" in text
    assert "tasks are missing: pve: " in text
    assert "[red]no quorum" in text

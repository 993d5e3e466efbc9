"""What `pve402 ops show` tells of leases and orders."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
import sqlalchemy as sa
from rich.console import Console
from tests.support.installation import Installation

from pve402.ops import history
from pve402.storage import tables


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


async def test_a_lease_is_told_from_its_payment_to_its_tasks(
    installation: Installation, capsys: pytest.CaptureFixture[str]
) -> None:
    bought = await installation.lease()

    told = await shown(installation, capsys, bought.lease.lease_id)

    events = told["events"]
    assert [event["at"] for event in events] == sorted(event["at"] for event in events)
    assert {event["about"] for event in events} == {
        "task",
        f"lease {bought.lease.lease_id}",
        f"order {bought.order.order_id}",
    }
    tasks = [event["what"].split(" (")[0] for event in events if event["about"] == "task"]
    assert sorted(tasks) == ["vzcreate: OK", "vzstart: OK"]
    whats = [event["what"] for event in events]
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


async def test_the_reason_of_a_refusal_is_told(
    installation: Installation, capsys: pytest.CaptureFixture[str]
) -> None:
    bought = await installation.lease()
    refused = {"status": "refused", "refusal": "creation_failed", "last_error": "no space"}
    await change(installation, tables.orders, **refused)

    told = await shown(installation, capsys, bought.order.order_id)

    (state,) = (state for state in told["states"] if "order" in state)
    assert (state["refusal"], state["lastError"]) == ("creation_failed", "no space")


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
    assert "no tasks: " in text
    assert "[red]no quorum" in text


async def test_the_unknown_is_said_to_be_unknown(
    installation: Installation, capsys: pytest.CaptureFixture[str]
) -> None:
    code = await history.show(installation.parts, Console(), subject="\x1b[2J")

    assert code == 1
    assert capsys.readouterr().err == "no lease, order or transaction with this name is known\n"

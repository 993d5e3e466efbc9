"""The money of an order: the sealed payment, its settlement, and later checks on chain."""

import json
from collections.abc import Collection

from pve402.domain import order
from pve402.leases import workflow
from pve402.payments import extensions, facilitators, protocol, settlement
from pve402.storage import vault


class SettlementUnknown(workflow.RetryLater):
    """Nobody knows yet whether the money has moved; `transaction` may still land."""

    def __init__(self, found: facilitators.Settlement) -> None:
        super().__init__(f"settlement unknown: {found.reason}")
        self.transaction = found.transaction


def transaction_of(found: facilitators.Settlement) -> str | None:
    """Return the transaction of money that has moved; None if a trusted facilitator named none.

    Raises GiveUp if nothing was charged and nothing will be, SettlementUnknown while nobody knows.
    """
    if found.outcome is facilitators.Outcome.REFUSED:
        raise workflow.GiveUp("settlement_refused", found.reason or "refused")
    if found.outcome is facilitators.Outcome.UNKNOWN:
        raise SettlementUnknown(found)
    return found.transaction


class Money:
    """Settles the payments of orders."""

    def __init__(
        self,
        settler: settlement.Settler,
        secret_vault: vault.Vault,
        *,
        trusted_networks: Collection[str] = (),
        confirmations: int = 10,
    ) -> None:
        """Keep the settler; settlements on trusted networks are not checked on chain."""
        self._settler = settler
        self._vault = secret_vault
        self._trusted = frozenset(trusted_networks)
        self._confirmations = confirmations

    def seal(
        self, order_id: str, payment: protocol.Payment, requirements: protocol.Requirements
    ) -> bytes:
        """Return the encrypted payment, which the order row keeps until the payment is final."""
        kept = json.loads(payment.to_json())
        if requirements.declared is not None:  # beside the payment, where older replicas ignore it
            kept["declared"] = requirements.declared.full
        terms = {
            "payment": json.dumps(kept),
            "resource_url": requirements.resource_url,
            "scheme": requirements.scheme,
            "description": requirements.description,
            "max_timeout_seconds": requirements.max_timeout_seconds,
            "asset_name": requirements.asset_name,
            "asset_version": requirements.asset_version,
        }
        return self._vault.seal(json.dumps(terms).encode(), order_id)

    async def settle(self, row: order.Order) -> facilitators.Settlement:
        """Move the money of an order, or detect that it has moved; repeatable, never raises."""
        payment, requirements = self._open(row)
        return await self._settler.settle(
            payment,
            requirements,
            since_seconds=_since(row, requirements),
            attempted_before=row.attempts > 0,
            known_transaction=row.transaction,
        )

    async def look(self, row: order.Order) -> facilitators.Settlement:
        """Detect on chain whether the money of an order has moved; moves nothing, never raises."""
        payment, requirements = self._open(row)
        since = _since(row, requirements)
        known = row.transaction
        return await self._settler.look(payment, since_seconds=since, known_transaction=known)

    async def recheck(self, row: order.Order) -> settlement.Rechecked:
        """Check again a settlement that was seen on chain; raises ChainUnavailable."""
        payment, requirements = self._open(row)
        return await self._settler.recheck(
            payment,
            transaction=row.transaction or "",
            since_seconds=_since(row, requirements),
            confirmations=self._confirmations,
        )

    async def watch(self, row: order.Order) -> settlement.Late:
        """Look whether the money of a refused order came after all; raises ChainUnavailable."""
        payment, requirements = self._open(row)
        since, confirmations = _since(row, requirements), self._confirmations
        return await self._settler.watch(payment, since_seconds=since, confirmations=confirmations)

    def needs_recheck(self, network: str) -> bool:
        """Return whether a network's settlements are checked on chain at all."""
        return network not in self._trusted

    def _open(self, row: order.Order) -> tuple[protocol.Payment, protocol.Requirements]:
        if row.sealed_payment is None:
            raise workflow.GiveUp("payment_erased", "the payment of this order was erased")
        terms = json.loads(self._vault.unseal(row.sealed_payment, row.order_id))
        kept = terms.pop("payment")
        payment = protocol.Payment.from_json(kept)
        declared = json.loads(kept).get("declared")
        requirements = protocol.Requirements(
            network=row.network,
            amount_atomic=row.amount_atomic,
            pay_to=row.pay_to,
            asset=row.asset,
            declared=extensions.Declared(forms=(declared,)) if declared else None,
            **terms,
        )
        return payment, requirements


def _since(row: order.Order, requirements: protocol.Requirements) -> int:
    """Return the start of the search for the payment's transfer on chain, in Unix seconds.

    It is one payment window before the order. That is safe: an older payment would have been
    refused, and a used one has its own order. A later start could miss the payer's transfer if the
    database's clock is wrong.
    """
    return int(row.created_at.timestamp()) - requirements.longest_window_seconds

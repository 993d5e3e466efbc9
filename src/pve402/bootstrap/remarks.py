"""What the log says at every start about settings that should be changed."""

import asyncio
import contextlib
import functools
from collections.abc import Sequence

import structlog

from pve402 import config
from pve402.bootstrap import payments
from pve402.domain import errors
from pve402.leases import foreign_transfers, on_sale
from pve402.payments import errors as payment_errors
from pve402.payments import settlement
from pve402.storage import database

log = structlog.get_logger(__name__)

_CALLS_AT_ONCE = 20


def make(settings: config.Settings, selling: on_sale.OnSale) -> None:
    """Warn about settings that should be changed, now and when the catalogue changes."""
    if settings.pve_token_id.startswith("root@pam!"):
        log.warning("token_of_root", setting="PVE_TOKEN_ID", remedy="a user with the rights needed")
    if settings.trust_facilitator:
        log.warning("facilitator_trusted", setting="TRUST_FACILITATOR", loss="the operator's")
    for network in payments.without_cdp_key(settings):
        setting = "CDP_API_KEY_ID, CDP_API_KEY_SECRET"
        log.warning("facilitator_key_missing", network=network, setting=setting)
    if settings.pve402_guest_url and not settings.pve402_guest_bind:
        selling.when_replaced(functools.partial(_warn_of_cut_off_guests, selling))


def _warn_of_cut_off_guests(selling: on_sale.OnSale) -> None:
    if any(profile.is_isolated for profile in selling.now.networks_on_sale.values()):
        log.warning("guest_url_not_reachable", setting="PVE402_GUEST_BIND", remedy="a listener")


async def look_for_foreign_transfers(
    settings: config.Settings,
    db: database.Database,
    settler: settlement.Settler,
    *,
    pause_seconds: float = 10.0,
) -> None:
    """Warn about payments to our address that are not for this installation.

    We look through the latest blocks once, at a pace that leaves the chain's endpoint to payments.
    """

    async def look(network: str) -> None:
        chain = settler.chain_of(network)
        search = foreign_transfers.Search(db, chain, network, settings.pay_to)
        while True:
            with contextlib.suppress(payment_errors.PaymentError, errors.DatabaseUnavailable):
                _warn_of_foreign(network, await search.go_on(_CALLS_AT_ONCE))
            if search.is_done:
                return
            await asyncio.sleep(pause_seconds)

    await asyncio.gather(*map(look, settings.network))


def _warn_of_foreign(network: str, found: Sequence[str]) -> None:
    if found:
        log.warning(
            "foreign_transfers",
            network=network,
            count=len(found),
            newest=found[0],
            setting="PAY_TO",
            remedy="one PAY_TO for each installation",
        )

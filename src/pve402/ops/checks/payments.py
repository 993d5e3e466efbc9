"""Checks of payments: can each chain be read, and can payments be settled on it?"""

import time

import sqlalchemy as sa

from pve402 import bootstrap, config
from pve402.domain.errors import DatabaseUnavailable
from pve402.leases import foreign_transfers
from pve402.ops.checks import findings
from pve402.ops.checks.findings import Finding
from pve402.payments import errors, networks
from pve402.payments.facilitators import embedded, http

_MOST_CALLS = 100
_OLDEST_BLOCK_SECONDS = 120
#: A plain transfer takes no more.
_SETTLEMENT_GAS = 100_000
_FEW_SETTLEMENTS = 20
_NO_TOPIC = "0x" + "00" * 32  # no event has this address, and settlements are found by their events


async def chains(parts: bootstrap.Components) -> list[Finding]:
    """Check that each network's chain answers and is not behind."""
    return [await _chain(parts, network) for network in parts.settings.network]


async def _chain(parts: bootstrap.Components, network: str) -> Finding:
    what = f"chain {networks.BY_CAIP2[network].name}"
    variable = f"RPC_URL or RPC_URL_{_suffix(network)}"
    try:
        reader = parts.settler.chain_of(network)
        if (chain_id := await reader.chain_id()) != networks.BY_CAIP2[network].chain_id:
            mend = "use a JSON-RPC endpoint of this network; each network has its own"
            return findings.bad(what, f"is chain {chain_id}", variable=variable, mend=mend)
        newest = await reader.latest_block()
        least = max(0, newest.number - 1)
        await reader.logs({"topics": [_NO_TOPIC]}, lower=least, upper=newest.number)
    except errors.PaymentError as error:
        mend = "use a JSON-RPC endpoint of this network that works"
        return findings.bad(what, f"cannot be read: {error}", variable=variable, mend=mend)
    age = time.time() - newest.timestamp_seconds
    said = f"block {newest.number}, {age:.0f} s old"
    if age <= _OLDEST_BLOCK_SECONDS:
        return findings.good(what, said)
    mend = "the endpoint is behind its chain, or a clock is wrong; use another endpoint"
    return findings.bad(what, said, variable=variable, mend=mend)


async def transfers(parts: bootstrap.Components) -> list[Finding]:
    """Check that nobody else gets paid at our address.

    Reports nothing if the chain or the database cannot be read; other checks report that.
    """
    file = config.sqlite_file(parts.settings)
    if file is not None and not file.exists():
        return []
    found = [await _transfers(parts, network) for network in parts.settings.network]
    return [finding for finding in found if finding is not None]


async def _transfers(parts: bootstrap.Components, network: str) -> Finding | None:
    what = f"transfers on {networks.BY_CAIP2[network].name}"
    chain = parts.settler.chain_of(network)
    search = foreign_transfers.Search(parts.db, chain, network, parts.settings.pay_to)
    try:
        found = await search.go_on(_MOST_CALLS)
    except (errors.PaymentError, DatabaseUnavailable, sa.exc.ProgrammingError):
        return None
    if not found:
        return findings.good(what, f"in {search.blocks} blocks, every one has an order")
    said = f"{len(found)} without an order of ours, the newest {found[0]}"
    mend = "give each installation its own PAY_TO, used for nothing else"
    return findings.note(what, said, variable="PAY_TO", mend=mend)


async def facilitators(parts: bootstrap.Components) -> list[Finding]:
    """Check that payments can be settled on each network."""
    return [await _facilitator(parts, network) for network in parts.settings.network]


async def _facilitator(parts: bootstrap.Components, network: str) -> Finding:
    chain = networks.BY_CAIP2[network]
    what, asked = f"facilitator of {chain.name}", parts.settler.facilitator_of(network)
    variable = f"FACILITATOR_URL or FACILITATOR_URL_{_suffix(network)}"
    if isinstance(asked, embedded.EmbeddedFacilitator):
        return await _own_key(parts, network, what, asked.address)
    if not isinstance(asked, http.HttpFacilitator):
        return findings.good(what, "none needed")
    try:
        settles = not {network, chain.name}.isdisjoint(await asked.supported_networks())
    except errors.PaymentError as error:
        mend = "check the address, and the CDP keys if it is Coinbase's"
        return findings.bad(what, f"gave no usable answer: {error}", variable=variable, mend=mend)
    if settles:
        return findings.good(what, "settles there")
    mend = f"use one that settles on {chain.name}, or set FACILITATOR_PRIVATE_KEY"
    return findings.bad(what, "does not settle there", variable=variable, mend=mend)


async def _own_key(parts: bootstrap.Components, network: str, what: str, address: str) -> Finding:
    """Check that the account that we settle with can pay for gas."""
    reader = parts.settler.chain_of(network)
    try:
        held, price = await reader.balance_wei(address), await reader.gas_price_wei()
    except errors.PaymentError as error:
        return findings.bad(what, f"what {address} can pay for is not known: {error}")
    left = held // max(1, _SETTLEMENT_GAS * price)
    variable, mend = "FACILITATOR_PRIVATE_KEY", f"send coins of this chain to {address}"
    if left < 1:
        detail = "our own account cannot pay the gas of a single settlement"
        return findings.bad(what, detail, variable=variable, mend=mend)
    if left < _FEW_SETTLEMENTS:
        detail = f"our own account can pay the gas of {left} settlements"
        return findings.note(what, detail, variable=variable, mend=mend)
    return findings.good(what, "none needed: we settle with our own key, which has gas")


def _suffix(network: str) -> str:
    return networks.BY_CAIP2[network].name.replace("-", "_").upper()

"""Checks of payments: are the chains read, and does somebody settle on each?"""

import time

import sqlalchemy as sa

from pve402 import bootstrap, config
from pve402.domain.errors import DatabaseUnavailable
from pve402.leases import foreign_transfers
from pve402.ops.checks import findings
from pve402.ops.checks.findings import Finding
from pve402.payments import errors, networks
from pve402.payments.facilitators import http

_OLDEST_BLOCK_SECONDS = 120
_NO_TOPIC = "0x" + "00" * 32  # no event has it: a settlement is found by its events


async def chains(parts: bootstrap.Components) -> list[Finding]:
    """See that each network's chain answers, and is not behind."""
    return [await _chain(parts, network) for network in parts.settings.network]


async def _chain(parts: bootstrap.Components, network: str) -> Finding:
    what = f"chain {networks.BY_CAIP2[network].name}"
    variable = f"RPC_URL or RPC_URL_{_suffix(network)}"
    try:
        reader = parts.settler.chain_of(network)
        if (chain_id := await reader.chain_id()) != networks.BY_CAIP2[network].chain_id:
            mend = "name a JSON-RPC endpoint of this network; each network has its own"
            return findings.bad(what, f"is chain {chain_id}", variable=variable, mend=mend)
        newest = await reader.latest_block()
        least = max(0, newest.number - 1)
        await reader.logs({"topics": [_NO_TOPIC]}, lower=least, upper=newest.number)
    except errors.PaymentError as error:
        mend = "name a JSON-RPC endpoint of this network that answers"
        return findings.bad(what, f"cannot be read: {error}", variable=variable, mend=mend)
    age = time.time() - newest.timestamp_seconds
    said = f"block {newest.number}, {age:.0f} s old"
    if age <= _OLDEST_BLOCK_SECONDS:
        return findings.good(what, said)
    mend = "the endpoint is behind its chain, or a clock is wrong; name another one"
    return findings.bad(what, said, variable=variable, mend=mend)


async def transfers(parts: bootstrap.Components) -> list[Finding]:
    """See that nobody else is paid at our address.

    Says nothing where the chain or the database cannot be read: other checks do.
    """
    file = config.sqlite_file(parts.settings)
    if file is not None and not file.exists():
        return []
    found = [await _transfers(parts, network) for network in parts.settings.network]
    return [finding for finding in found if finding is not None]


async def _transfers(parts: bootstrap.Components, network: str) -> Finding | None:
    what = f"transfers on {networks.BY_CAIP2[network].name}"
    try:
        found = await foreign_transfers.find(
            parts.db, parts.settler.chain_of(network), network, parts.settings.pay_to
        )
    except (errors.PaymentError, DatabaseUnavailable, sa.exc.ProgrammingError):
        return None
    if not found:
        return findings.good(what, "none lately that no order explains")
    said = f"{len(found)} that no order of ours explains, the newest {found[0]}"
    mend = "use one PAY_TO for each installation, and for nothing else"
    return findings.note(what, said, variable="PAY_TO", mend=mend)


async def facilitators(parts: bootstrap.Components) -> list[Finding]:
    """See that somebody settles payments on each network."""
    return [await _facilitator(parts, network) for network in parts.settings.network]


async def _facilitator(parts: bootstrap.Components, network: str) -> Finding:
    chain = networks.BY_CAIP2[network]
    what, asked = f"facilitator of {chain.name}", parts.settler.facilitator_of(network)
    variable = f"FACILITATOR_URL or FACILITATOR_URL_{_suffix(network)}"
    if not isinstance(asked, http.HttpFacilitator):
        return findings.good(what, "is our own key")
    try:
        settles = not {network, chain.name}.isdisjoint(await asked.supported_networks())
    except errors.PaymentError as error:
        mend = "check the address, and the CDP keys if it is Coinbase's"
        return findings.bad(what, f"gave no usable answer: {error}", variable=variable, mend=mend)
    if settles:
        return findings.good(what, "settles there")
    mend = f"name one that settles on {chain.name}, or set FACILITATOR_PRIVATE_KEY"
    return findings.bad(what, "does not settle there", variable=variable, mend=mend)


def _suffix(network: str) -> str:
    return networks.BY_CAIP2[network].name.replace("-", "_").upper()

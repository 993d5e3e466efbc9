"""Finds transfers to our address that belong to none of our orders.

If two installations share one PAY_TO, they can receive the same authorization at the same moment:
both see its transfer, and the chain does not show which one it was for. So each installation
needs its own address, and we warn the operator about other installations' transfers to it.
"""

from collections.abc import Sequence
from typing import Final

from pve402.payments import abi, networks
from pve402.payments.chain import Chain
from pve402.storage import database, order_rows

_TRANSFER: Final = abi.topic("Transfer(address,address,uint256)")
_BLOCKS: Final = 2000
_MOST: Final = 1000


async def find(db: database.Database, chain: Chain, network: str, pay_to: str) -> Sequence[str]:
    """Return the transactions in the latest blocks that paid us but belong to no order.

    Raises ChainUnavailable, DatabaseUnavailable.
    """
    newest = await chain.latest_block()
    query = {
        "address": networks.BY_CAIP2[network].asset.lower(),
        "topics": [_TRANSFER, None, "0x" + abi.address_word(pay_to.lower())],
    }
    least = max(0, newest.number - _BLOCKS)
    found = await chain.logs(query, lower=least, upper=newest.number)
    transactions = list(dict.fromkeys(log.transaction for log in found))[:_MOST]
    async with db.read() as tx:
        known = await order_rows.known_transactions(tx, transactions)
    return [transaction for transaction in transactions if transaction not in known]

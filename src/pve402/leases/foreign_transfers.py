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


class Search:
    """Looks through the latest blocks of a chain, a part at a time.

    A node may give one block a call, so all of them at once could be thousands of calls.
    """

    def __init__(self, db: database.Database, chain: Chain, network: str, pay_to: str) -> None:
        """Search for what paid `pay_to` in the network's USDC."""
        self._db = db
        self._chain = chain
        self._query = {
            "address": networks.BY_CAIP2[network].asset.lower(),
            "topics": [_TRANSFER, None, "0x" + abi.address_word(pay_to.lower())],
        }
        self._newest: int | None = None
        self._least = 0
        self._read = 0

    @property
    def is_done(self) -> bool:
        """Whether every block was read."""
        return self._newest is not None and self._read <= self._least

    @property
    def blocks(self) -> int:
        """How many blocks were read."""
        return 0 if self._newest is None else self._newest - self._read + 1

    async def go_on(self, most_calls: int) -> Sequence[str]:
        """Read older blocks; return the transactions that paid us but belong to no order.

        What fails is read again the next time. Raises ChainUnavailable, DatabaseUnavailable.
        """
        if self._newest is None:
            self._newest = (await self._chain.latest_block()).number
            self._least = max(0, self._newest - _BLOCKS)
            self._read = self._newest + 1
        found, least = await self._chain.some_logs(
            self._query, lower=self._least, upper=self._read - 1, most_calls=most_calls
        )
        transactions = list(dict.fromkeys(log.transaction for log in found))[:_MOST]
        async with self._db.read() as tx:
            known = await order_rows.known_transactions(tx, transactions)
        self._read = least
        return [transaction for transaction in transactions if transaction not in known]

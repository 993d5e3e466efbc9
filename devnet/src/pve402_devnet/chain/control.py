"""The methods that control the chain: anvil's evm_* and anvil_*, and our own devnet_*.

devnet_mintUsdc [address, amount]          new USDC, in atomic units
devnet_setAutomine, devnet_reorg ...       see the table at the end
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from pve402_devnet.chain import blocks, contracts, jsonrpc
from pve402_devnet.chain.blocks import quantity
from pve402_devnet.chain.chain import Chain, UnknownBlock
from pve402_devnet.chain.jsonrpc import RpcError
from pve402_devnet.chain.mempool import Rejected
from pve402_devnet.chain.parameters import Parameters

MAX_BLOCKS_AT_ONCE = 10_000
MINT_SELECTOR = bytes.fromhex("40c10f19")  # mint(address,uint256)

Action = Callable[[Chain, Parameters], Any]


def mint_usdc(chain: Chain, address: str, amount_atomic: int) -> bytes:
    """Give an account USDC; returns the transaction's hash.

    Raises: mempool.Rejected: the token refused, for example because the supply would overflow.
    """
    call = (
        MINT_SELECTOR + bytes(12) + bytes.fromhex(address[2:]) + amount_atomic.to_bytes(32, "big")
    )
    return chain.act(
        sender=contracts.MINTER_ADDRESS.lower(), to=contracts.USDC_ADDRESS.lower(), data=call
    )


def _mine(chain: Chain, params: Parameters) -> str:
    options = params.raw(0)
    timestamp = options.get("timestamp") if isinstance(options, dict) else options
    with _times_checked():
        chain.mine(None if timestamp is None else _time(timestamp))
    return "0x0"


def _mine_many(chain: Chain, params: Parameters) -> None:
    count, spacing = params.quantity(0, 1), params.quantity(1, 0)
    if count > MAX_BLOCKS_AT_ONCE:
        raise jsonrpc.invalid_params(f"at most {MAX_BLOCKS_AT_ONCE} blocks at once")
    with _times_checked():
        for _ in range(count):
            chain.mine(chain.head.timestamp + spacing if spacing else None)


def _increase_time(chain: Chain, params: Parameters) -> int:
    with _times_checked():
        return chain.increase_time(params.quantity(0))


def _set_next_timestamp(chain: Chain, params: Parameters) -> None:
    with _times_checked():
        chain.set_next_timestamp(params.quantity(0))


def _snapshot(chain: Chain, _: Parameters) -> str:
    return quantity(chain.snapshot())


def _revert(chain: Chain, params: Parameters) -> bool:
    return chain.revert(params.quantity(0))


def _reorg(chain: Chain, params: Parameters) -> list[str]:
    requeue = params.mapping(1).get("requeue", False)
    if not isinstance(requeue, bool):
        raise jsonrpc.invalid_params("requeue must be a boolean")
    try:
        dropped = chain.reorganise(params.quantity(0, 1), requeue=requeue)
    except UnknownBlock as error:
        raise jsonrpc.invalid_params(str(error)) from error
    return [blocks.data(transaction.hash) for transaction in dropped]


def _rollback(chain: Chain, params: Parameters) -> None:
    _reorg(chain, Parameters(chain, [params.quantity(0, 1)]))


def _set_automine(chain: Chain, params: Parameters) -> None:
    chain.automine = params.flag(0, default=True)
    if chain.automine:
        chain.mine_waiting()


def _set_code(chain: Chain, params: Parameters) -> None:
    chain.set_code(params.address(0), params.data(1))


def _set_balance(chain: Chain, params: Parameters) -> None:
    chain.set_balance(params.address(0), params.quantity(1))


def _set_storage(chain: Chain, params: Parameters) -> bool:
    chain.set_storage(params.address(0), params.quantity(1), params.quantity(2))
    return True


def _drop_transaction(chain: Chain, params: Parameters) -> str | None:
    wanted = params.hash(0)
    return blocks.data(wanted) if chain.pool.drop(wanted) else None


def _drop_all(chain: Chain, _: Parameters) -> None:
    chain.pool.clear()


def _mint(chain: Chain, params: Parameters) -> str:
    try:
        return blocks.data(mint_usdc(chain, params.address(0), params.quantity(1)))
    except Rejected as error:
        raise RpcError(code=jsonrpc.SERVER_ERROR, message=str(error)) from error


def _fund(chain: Chain, params: Parameters) -> None:
    address, wei = params.address(0), params.quantity(1)
    chain.set_balance(address, chain.state().balance(address) + wei)


@contextlib.contextmanager
def _times_checked() -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise jsonrpc.invalid_params(str(error)) from error


def _time(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise jsonrpc.invalid_params("a timestamp is a whole number of seconds")
    return value


METHODS: dict[str, Action] = {
    "anvil_dropAllTransactions": _drop_all,
    "anvil_dropTransaction": _drop_transaction,
    "anvil_mine": _mine_many,
    "anvil_rollback": _rollback,
    "anvil_setBalance": _set_balance,
    "anvil_setCode": _set_code,
    "anvil_setStorageAt": _set_storage,
    "devnet_fundEth": _fund,
    "devnet_mintUsdc": _mint,
    "devnet_reorg": _reorg,
    "evm_increaseTime": _increase_time,
    "evm_mine": _mine,
    "evm_revert": _revert,
    "evm_setAutomine": _set_automine,
    "evm_setNextBlockTimestamp": _set_next_timestamp,
    "evm_snapshot": _snapshot,
}

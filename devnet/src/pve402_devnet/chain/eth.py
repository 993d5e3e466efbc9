"""The methods that wallets and servers call: eth_*, net_* and web3_* (execution-apis)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from eth_utils.crypto import keccak

from pve402_devnet.chain import blocks, gas, jsonrpc, logs
from pve402_devnet.chain.blocks import quantity
from pve402_devnet.chain.chain import Chain, UnknownBlock
from pve402_devnet.chain.evm import BLOCK_GAS_LIMIT, Ending, Outcome
from pve402_devnet.chain.jsonrpc import RpcError
from pve402_devnet.chain.mempool import Rejected
from pve402_devnet.chain.parameters import NEWEST, Parameters
from pve402_devnet.chain.transactions import InvalidTransaction

CLIENT_VERSION = "pve402-devnet/1"
ERROR_STRING = bytes.fromhex("08c379a0")
MAX_FEE_HISTORY = 1024

Reader = Callable[[Chain, Parameters], Any]


def _chain_id(chain: Chain, _: Parameters) -> str:
    return quantity(chain.options.chain_id)


def _block_number(chain: Chain, _: Parameters) -> str:
    return quantity(chain.head.number)


def _gas_price(chain: Chain, _: Parameters) -> str:
    return quantity(chain.options.base_fee + chain.options.priority_fee)


def _max_priority_fee(chain: Chain, _: Parameters) -> str:
    return quantity(chain.options.priority_fee)


def _fee_history(chain: Chain, params: Parameters) -> Any:
    count = min(params.quantity(0), MAX_FEE_HISTORY)
    newest = params.block(params.raw(1, "latest")).number
    percentiles = params.numbers(2)
    oldest = max(0, newest - count + 1)
    shown = [chain.block(number) for number in range(oldest, newest + 1)]
    answer = {
        "oldestBlock": quantity(oldest),
        "baseFeePerGas": [quantity(chain.options.base_fee)] * (len(shown) + 1),
        "gasUsedRatio": [block.gas_used / BLOCK_GAS_LIMIT for block in shown],
    }
    if percentiles:
        fee = quantity(chain.options.priority_fee)
        answer["reward"] = [[fee] * len(percentiles) for _ in shown]
    return answer


def _balance(chain: Chain, params: Parameters) -> str:
    return quantity(chain.state(params.block_number(1)).balance(params.address(0)))


def _code(chain: Chain, params: Parameters) -> str:
    return blocks.data(chain.state(params.block_number(1)).code(params.address(0)))


def _storage_at(chain: Chain, params: Parameters) -> str:
    word = chain.state(params.block_number(2)).storage(params.address(0), params.quantity(1))
    return blocks.data(word.to_bytes(32, "big"))


def _transaction_count(chain: Chain, params: Parameters) -> str:
    sender = params.address(0)
    nonce = chain.state(params.block_number(1)).nonce(sender)
    if params.raw(1) == "pending":
        nonce = chain.pool.next_nonce(sender, nonce)
    return quantity(nonce)


def _call(chain: Chain, params: Parameters) -> str:
    outcome = chain.call(params.message(0), params.block_number(1))
    _require_success(outcome)
    return blocks.data(outcome.output)


def _estimate_gas(chain: Chain, params: Parameters) -> str:
    message, number = params.message(0), params.block_number(1)
    outcome = chain.call(message, number)
    _require_success(outcome)

    def suffices(limit: int) -> bool:
        return chain.call(replace(message, gas_limit=limit), number).ending is Ending.SUCCESS

    low, high = outcome.gas_used, message.gas_limit
    if suffices(low):
        return quantity(low)
    likely = gas.enough_for(outcome.gas_spent)
    if likely < high:
        low, high = (low, likely) if suffices(likely) else (likely, high)
    while high - low > max(100, low // 32):
        middle = min((low + high) // 2, low * 2)
        low, high = (low, middle) if suffices(middle) else (middle, high)
    return quantity(high)


def _send_raw_transaction(chain: Chain, params: Parameters) -> str:
    try:
        return blocks.data(chain.submit(params.data(0)))
    except InvalidTransaction as error:
        raise jsonrpc.invalid_params(str(error)) from error
    except Rejected as error:
        raise RpcError(code=jsonrpc.SERVER_ERROR, message=str(error)) from error


def _block_by_number(chain: Chain, params: Parameters) -> Any:
    try:
        block = params.block(params.raw(0))
    except RpcError as error:
        if error.code == jsonrpc.SERVER_ERROR:
            return None
        raise
    return blocks.block_json(block, with_transactions=params.flag(1))


def _block_by_hash(chain: Chain, params: Parameters) -> Any:
    try:
        block = chain.block_by_hash(params.hash(0))
    except UnknownBlock:
        return None
    return blocks.block_json(block, with_transactions=params.flag(1))


def _transaction_by_hash(chain: Chain, params: Parameters) -> Any:
    wanted = params.hash(0)
    if waiting := chain.pool.get(wanted):
        return blocks.transaction_json(waiting)
    mined = chain.receipt(wanted)
    if mined is None:
        return None
    block, receipt = mined
    return blocks.transaction_json(receipt.transaction, block=block, receipt=receipt)


def _transaction_receipt(chain: Chain, params: Parameters) -> Any:
    mined = chain.receipt(params.hash(0))
    return None if mined is None else blocks.receipt_json(*mined)


def _block_receipts(chain: Chain, params: Parameters) -> Any:
    block = params.block(params.raw(0, NEWEST[0]))
    return [blocks.receipt_json(block, receipt) for receipt in block.receipts]


def _sha3(_: Chain, params: Parameters) -> str:
    return blocks.data(keccak(params.data(0)))


METHODS: dict[str, Reader] = {
    "eth_accounts": lambda _chain, _params: [],
    "eth_blockNumber": _block_number,
    "eth_call": _call,
    "eth_chainId": _chain_id,
    "eth_estimateGas": _estimate_gas,
    "eth_feeHistory": _fee_history,
    "eth_gasPrice": _gas_price,
    "eth_getBalance": _balance,
    "eth_getBlockByHash": _block_by_hash,
    "eth_getBlockByNumber": _block_by_number,
    "eth_getBlockReceipts": _block_receipts,
    "eth_getCode": _code,
    "eth_getLogs": logs.find,
    "eth_getStorageAt": _storage_at,
    "eth_getTransactionByHash": _transaction_by_hash,
    "eth_getTransactionCount": _transaction_count,
    "eth_getTransactionReceipt": _transaction_receipt,
    "eth_maxPriorityFeePerGas": _max_priority_fee,
    "eth_sendRawTransaction": _send_raw_transaction,
    "eth_syncing": lambda _chain, _params: False,
    "net_listening": lambda _chain, _params: True,
    "net_version": lambda chain, _params: str(chain.options.chain_id),
    "web3_clientVersion": lambda _chain, _params: CLIENT_VERSION,
    "web3_sha3": _sha3,
}


def _require_success(outcome: Outcome) -> None:
    if outcome.ending is Ending.SUCCESS:
        return
    if outcome.ending is Ending.REVERT:
        raise RpcError(
            code=jsonrpc.EXECUTION_REVERTED,
            message="execution reverted" + _reason(outcome.output),
            data=blocks.data(outcome.output),
        )
    raise RpcError(code=jsonrpc.SERVER_ERROR, message=outcome.reason)


def _reason(output: bytes) -> str:
    """The text of Solidity's Error(string), with a colon before it; else nothing."""
    if output[:4] != ERROR_STRING or len(output) < 68:
        return ""
    length = int.from_bytes(output[36:68], "big")
    return ": " + output[68 : 68 + length].decode("utf-8", "replace")

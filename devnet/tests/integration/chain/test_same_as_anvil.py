"""The devnet's chain beside a real node: the same calls, the same answers.

What may differ is named here: hashes and times of blocks, fees (anvil has its own base fee), the
wording of some errors, and the tags `safe` and `finalized`, which are the newest block here and lie
32 and 64 blocks back there. Gas is the same.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from eth_account import Account
from tests.support.anvil import Anvil
from tests.support.chain import authorization, sign
from tests.support.transactions import PAYEE, raw

from pve402_devnet.chain import SimulatedChain, contracts

USDC = contracts.USDC_ADDRESS
PAYER = Account.from_key(b"\x11" * 32)
SENDER = Account.from_key(b"\x22" * 32)
STRANGER = "0x" + "99" * 20
NONCE = b"\x33" * 32
TRANSFER = "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"
VARYING = {"blockHash", "blockTimestamp", "hash", "parentHash", "timestamp", "stateRoot", "mixHash"}
VARYING |= {"receiptsRoot", "transactionsRoot", "gasLimit", "size"}
VARYING |= {"effectiveGasPrice", "gasPrice", "baseFeePerGas"}
ONLY_ANVIL = {"blobGasPrice", "blobGasUsed", "excessBlobGas", "withdrawalsRoot", "requestsHash"}
ONLY_ANVIL |= {"parentBeaconBlockRoot", "withdrawals", "blockTimestamp"}
ONLY_DEVNET = {"totalDifficulty"}

ARITHMETIC = [*range(0x01, 0x0C), *range(0x10, 0x1E), 0x15, 0x19, 0x5A]

Rpc = Callable[..., Any]


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """An error, reduced to what clients look at."""

    words: str


def transfer_call() -> str:
    message = authorization(PAYER.address, PAYEE, 2500, nonce=NONCE)
    signature = sign(PAYER, message)
    words = [PAYER.address[2:], PAYEE[2:], f"{2500:x}", "0", f"{2**63:x}", NONCE.hex()]
    words += [f"{signature[64]:x}", signature[:32].hex(), signature[32:64].hex()]
    return "0xe3ee160e" + "".join(word.lower().rjust(64, "0") for word in words)


def arrange(rpc: Rpc) -> None:
    """One payment by signature in its own block, and a lonely transaction behind a gap."""
    rpc("eth_sendRawTransaction", raw(SENDER, to=USDC, value=0, data=transfer_call(), gas=300_000))
    rpc("evm_mine")
    rpc("eth_sendRawTransaction", raw(SENDER, nonce=7))


def reduced(answer: Any) -> Any:
    """Leave out what may differ."""
    if isinstance(answer, list):
        return [reduced(item) for item in answer]
    if not isinstance(answer, dict):
        return answer
    left_out = VARYING | ONLY_ANVIL | ONLY_DEVNET
    return {name: reduced(value) for name, value in answer.items() if name not in left_out}


def ask(rpc: Rpc, method: str, params: list[Any]) -> Any:
    try:
        return reduced(rpc(method, *params))
    except Exception as error:  # noqa: BLE001 - each side has its own type
        words = re.sub(r"\(-?\d+\)|:.*next nonce.*|: balance.*", "", str(error)).strip().lower()
        return Refusal(words=words)


def payment_hash() -> str:
    from eth_utils.crypto import keccak

    signed = raw(SENDER, to=USDC, value=0, data=transfer_call(), gas=300_000)
    return "0x" + keccak(bytes.fromhex(signed[2:])).hex()


def balance_of(address: str) -> dict[str, str]:
    return {"to": USDC, "data": "0x70a08231" + address[2:].lower().rjust(64, "0")}


SAME: dict[str, tuple[str, list[Any]]] = {
    "chain id": ("eth_chainId", []),
    "network": ("net_version", []),
    "listening": ("net_listening", []),
    "syncing": ("eth_syncing", []),
    "height": ("eth_blockNumber", []),
    "hash function": ("web3_sha3", ["0x68656c6c6f"]),
    "balance of nobody": ("eth_getBalance", [STRANGER, "latest"]),
    "code of the token": ("eth_getCode", [USDC, "latest"]),
    "code of nobody": ("eth_getCode", [STRANGER, "latest"]),
    "storage of nobody": ("eth_getStorageAt", [STRANGER, "0x0", "latest"]),
    "supply in storage": ("eth_getStorageAt", [USDC, "0x0", "latest"]),
    "nonce": ("eth_getTransactionCount", [SENDER.address, "latest"]),
    "nonce with a gap behind": ("eth_getTransactionCount", [SENDER.address, "pending"]),
    "nonce earlier": ("eth_getTransactionCount", [SENDER.address, "0x0"]),
    "token name": ("eth_call", [{"to": USDC, "data": "0x06fdde03"}, "latest"]),
    "token domain": ("eth_call", [{"to": USDC, "data": "0x3644e515"}, "latest"]),
    "paid": ("eth_call", [balance_of(PAYEE), "latest"]),
    "paid, pending": ("eth_call", [balance_of(PAYEE), "pending"]),
    "before the payment": ("eth_call", [balance_of(PAYEE), "0x1"]),
    "before the payment, by object": ("eth_call", [balance_of(PAYEE), {"blockNumber": "0x1"}]),
    "at the first block": ("eth_call", [balance_of(PAYEE), "earliest"]),
    "call data as input": ("eth_call", [{"to": USDC, "input": "0x313ce567"}, "latest"]),
    "call of nobody": ("eth_call", [{"to": STRANGER, "data": "0x01"}, "latest"]),
    "replayed payment": ("eth_call", [{"to": USDC, "data": transfer_call()}, "latest"]),
    "unknown function": ("eth_call", [{"to": USDC, "data": "0xdeadbeef"}, "latest"]),
    "estimate of a revert": ("eth_estimateGas", [{"to": USDC, "data": transfer_call()}]),
    "estimate of a transfer": (
        "eth_estimateGas",
        [{"from": SENDER.address, "to": PAYEE, "value": "0x1"}],
    ),
    "payment": ("eth_getTransactionByHash", [payment_hash()]),
    "receipt": ("eth_getTransactionReceipt", [payment_hash()]),
    "no such transaction": ("eth_getTransactionByHash", ["0x" + "12" * 32]),
    "no such receipt": ("eth_getTransactionReceipt", ["0x" + "12" * 32]),
    "block of the payment": ("eth_getBlockByNumber", ["0x2", False]),
    "block with transactions": ("eth_getBlockByNumber", ["0x2", True]),
    "no such block": ("eth_getBlockByNumber", ["0x99", False]),
    "no such block hash": ("eth_getBlockByHash", ["0x" + "12" * 32, False]),
    "logs of the token": ("eth_getLogs", [{"fromBlock": "0x2", "address": USDC}]),
    "logs by topic": ("eth_getLogs", [{"fromBlock": "0x2", "topics": [TRANSFER]}]),
    "logs by choice of topics": (
        "eth_getLogs",
        [{"fromBlock": "0x2", "topics": [None, ["0x" + PAYER.address[2:].lower().rjust(64, "0")]]}],
    ),
    "logs of another": ("eth_getLogs", [{"fromBlock": "0x0", "address": STRANGER}]),
    "logs of no block": ("eth_getLogs", [{"fromBlock": "0x3", "toBlock": "0x3"}]),
    "nonce used": ("eth_sendRawTransaction", [raw(SENDER, nonce=0)]),
    "nonce taken": ("eth_sendRawTransaction", [raw(SENDER, nonce=7, value=2)]),
    "other chain": ("eth_sendRawTransaction", [raw(SENDER, nonce=1, chainId=1)]),
    "too little gas": ("eth_sendRawTransaction", [raw(SENDER, nonce=1, gas=20_000)]),
    "no funds": ("eth_sendRawTransaction", [raw(SENDER, nonce=1, value=10**30)]),
    "fee below the base fee": (
        "eth_sendRawTransaction",
        [raw(SENDER, nonce=1, maxFeePerGas=1, maxPriorityFeePerGas=1)],
    ),
    "noise": ("eth_sendRawTransaction", ["0x02ffff"]),
    "snapshot unknown": ("evm_revert", ["0x77"]),
}
"""What both must answer alike, errors with the same words."""

BOTH_REFUSE: dict[str, tuple[str, list[Any]]] = {
    "unknown method": ("eth_nonsense", []),
    "call above the head": ("eth_call", [balance_of(PAYEE), "0x99"]),
    "balance of a short address": ("eth_getBalance", ["0x12", "latest"]),
    "balance at a strange tag": ("eth_getBalance", [STRANGER, "weird"]),
    "balance of nothing": ("eth_getBalance", []),
    "already known": ("eth_sendRawTransaction", [raw(SENDER, nonce=7)]),
    "gas above a block": ("eth_sendRawTransaction", [raw(SENDER, nonce=1, gas=10**9)]),
    "no hexadecimal": ("eth_sendRawTransaction", ["zz"]),
    "logs of an unknown block": ("eth_getLogs", [{"blockHash": "0x" + "12" * 32}]),
    "time before the head": ("evm_setNextBlockTimestamp", [5]),
    "value without funds": (
        "eth_call",
        [{"from": STRANGER, "to": PAYEE, "value": "0x5"}, "latest"],
    ),
}
"""What both refuse, each in its own words."""


def fund(chain: SimulatedChain | Anvil) -> None:
    chain.fund(PAYER.address, usdc_atomic=1_000_000)
    chain.fund(SENDER.address, eth=1)


def test_reads_and_refusals_agree(anvil: Anvil) -> None:
    chain = SimulatedChain()
    for side in (chain, anvil):
        fund(side)
        arrange(side.rpc)

    ours = {name: ask(chain.rpc, *call) for name, call in SAME.items()}
    theirs = {name: ask(anvil.rpc, *call) for name, call in SAME.items()}

    assert ours == theirs


def receipt(rpc: Rpc, transaction_hash: str) -> Any:
    """anvil mines a moment after it has answered."""
    for _ in range(500):
        if (found := rpc("eth_getTransactionReceipt", transaction_hash)) is not None:
            return found
        time.sleep(0.01)
    raise AssertionError("the transaction was not mined")


def delegate(rpc: Rpc) -> list[Any]:
    """An account is delegated, used, and given back; what each step leaves behind."""
    rpc("anvil_setCode", STRANGER, "0x5f355f55305f5260205ff3")  # stores a word, tells who it is
    rpc("anvil_setBalance", PAYER.address, "0x1")  # an account that exists costs half as much
    wish = {"chainId": 84532, "address": STRANGER, "nonce": 0}
    payer_stays = PAYER.sign_authorization(wish)
    ends = PAYER.sign_authorization(wish | {"address": "0x" + "00" * 20, "nonce": 1})
    seen: list[Any] = []
    for nonce, (signed, data) in enumerate(
        [(payer_stays, b"\7" * 32), (payer_stays, b""), (ends, b"")]
    ):
        text = raw(
            SENDER,
            nonce=nonce,
            to=PAYER.address,
            value=3,
            data=data,
            gas=200_000,
            authorizationList=[signed],
        )
        done = rpc("eth_sendRawTransaction", text)
        seen.append(reduced(receipt(rpc, done)))
        seen.append(reduced(rpc("eth_getTransactionByHash", done)))
        account = ("eth_getCode", "eth_getBalance", "eth_getTransactionCount")
        seen += [rpc(method, PAYER.address, "latest") for method in account]
        seen.append(rpc("eth_getStorageAt", PAYER.address, "0x0", "latest"))
        seen.append(rpc("eth_call", {"to": PAYER.address}, "latest"))
    return seen


def test_delegated_accounts_agree(anvil: Anvil) -> None:
    chain = SimulatedChain()
    for side in (chain, anvil):
        fund(side)

    assert delegate(chain.rpc) == delegate(anvil.rpc)


def program(dice: random.Random) -> str:
    """Random instructions on the stack, which at their end show its eight topmost words."""
    words = [0, 1, 2, 31, 32, 255, 256, 2**255, 2**256 - 1]
    code = bytearray()
    for _ in range(44):
        word = dice.choice(words) if dice.random() < 0.7 else dice.getrandbits(256)
        size = max(dice.randrange(33), (word.bit_length() + 7) // 8)
        code += bytes([0x5F + size]) + word.to_bytes(size, "big")
    for _ in range(40):
        if dice.random() < 0.1:  # over an INVALID, to a JUMPDEST
            code += bytes([0x60, 1, 0x61]) + (len(code) + 7).to_bytes(2, "big") + b"\x57\xfe\x5b"
        else:
            code.append(dice.choice([*ARITHMETIC, *range(0x80, 0x90), *range(0x90, 0xA0)]))
    for place in range(8):
        code += bytes([0x60, place * 32, 0x52])
    return "0x" + (bytes(code) + bytes.fromhex("6101005ff3")).hex()


def test_programs_end_with_the_same_words(anvil: Anvil) -> None:
    chain = SimulatedChain()
    dice, shown = random.Random(402), 0
    for _ in range(200):
        code = program(dice)
        answers = []
        for side in (chain, anvil):
            side.rpc("anvil_setCode", STRANGER, code)
            answer = ask(side.rpc, "eth_call", [{"to": STRANGER, "gas": "0xf4240"}, "latest"])
            answers.append(Refusal if isinstance(answer, Refusal) else answer)
        shown += answers[0] is not Refusal

        assert answers[0] == answers[1], code
    assert shown > 100


def test_what_one_refuses_the_other_refuses(anvil: Anvil) -> None:
    chain = SimulatedChain()
    for side in (chain, anvil):
        fund(side)
        arrange(side.rpc)

    ours = {name: type(ask(chain.rpc, *call)) for name, call in BOTH_REFUSE.items()}
    theirs = {name: type(ask(anvil.rpc, *call)) for name, call in BOTH_REFUSE.items()}

    assert ours == theirs == dict.fromkeys(BOTH_REFUSE, Refusal)


@pytest.mark.parametrize("steps", [1, 2])
def test_going_back_undoes_the_same(anvil: Anvil, steps: int) -> None:
    chain = SimulatedChain()
    seen = []
    for side in (chain, anvil):
        fund(side)
        arrange(side.rpc)
        side.rpc("anvil_rollback", steps)
        seen.append(
            (
                side.rpc("eth_blockNumber"),
                side.usdc_balance(PAYEE),
                side.usdc_balance(PAYER.address),
            )
        )

    assert seen[0] == seen[1]


def test_automine_off_leaves_a_payment_waiting(anvil: Anvil) -> None:
    chain = SimulatedChain()
    seen = []
    for side in (chain, anvil):
        fund(side)
        side.rpc("evm_setAutomine", False)
        arrange_payment = raw(SENDER, to=USDC, value=0, data=transfer_call(), gas=300_000)
        done = side.rpc("eth_sendRawTransaction", arrange_payment)
        before = side.rpc("eth_getTransactionReceipt", done)
        pending = side.rpc("eth_getTransactionCount", SENDER.address, "pending")
        side.rpc("evm_mine")
        after = side.rpc("eth_getTransactionReceipt", done)["status"]
        seen.append((before, pending, after, side.usdc_balance(PAYEE)))

    assert seen[0] == seen[1] == (None, "0x1", "0x1", 2500)

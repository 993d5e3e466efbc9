"""Raw transactions as wallets broadcast them: decoding, validation and sender recovery.

Known kinds: legacy (with and without EIP-155), EIP-2930, EIP-1559 and EIP-7702. Blob transactions
are refused; nothing here makes them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import rlp  # type: ignore[import-untyped, unused-ignore]
from eth_keys.exceptions import BadSignature
from eth_keys.main import lazy_key_api as keys
from eth_utils.crypto import keccak
from eth_utils.exceptions import ValidationError

from pve402_devnet.chain.evm import Authorization
from pve402_devnet.chain.gas import AccessList

MAX_RAW_BYTES = 128 * 1024
HALF_ORDER = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0
LEGACY, ACCESS_LIST, DYNAMIC_FEE, SET_CODE = 0, 1, 2, 4
FIELDS = {ACCESS_LIST: 11, DYNAMIC_FEE: 12, SET_CODE: 13}
AUTHORIZATION_MAGIC = b"\x05"


class InvalidTransaction(ValueError):
    """The bytes are not a transaction that this chain accepts; the text says why."""


@dataclass(frozen=True, kw_only=True)
class Transaction:
    """One decoded transaction; fees in wei per gas, addresses in lower case."""

    hash: bytes
    kind: int
    sender: str
    to: str | None
    nonce: int
    gas_limit: int
    max_fee_per_gas: int
    max_priority_fee_per_gas: int
    value: int
    data: bytes
    chain_id: int | None = None
    access_list: AccessList = ()
    authorizations: tuple[Authorization, ...] = ()
    v: int = 0
    r: int = 0
    s: int = 0

    def effective_gas_price(self, base_fee: int) -> int:
        """Return the price of one unit of gas in a block with that base fee (EIP-1559), in wei."""
        return min(self.max_fee_per_gas, base_fee + self.max_priority_fee_per_gas)


def decode(raw: bytes) -> Transaction:
    """Parse a signed transaction and recover its sender.

    Raises:
        InvalidTransaction: not decodable, of an unknown kind, or with a bad signature.
    """
    if not raw or len(raw) > MAX_RAW_BYTES:
        raise InvalidTransaction("transaction size is out of bounds")
    try:
        return _decode_typed(raw) if raw[0] < 0x80 else _decode_legacy(raw)
    except InvalidTransaction:
        raise
    except (rlp.exceptions.RLPException, RecursionError, ValueError, TypeError) as error:
        raise InvalidTransaction("failed to decode transaction") from error


def unsigned(*, sender: str, to: str, nonce: int, data: bytes, gas_limit: int) -> Transaction:
    """A transaction that the devnet makes for an account without a key, such as the minter."""
    content = rlp.encode([b"devnet", sender.encode(), to.encode(), _bytes(nonce), data])
    return Transaction(
        hash=keccak(content),
        kind=LEGACY,
        sender=sender.lower(),
        to=to.lower(),
        nonce=nonce,
        gas_limit=gas_limit,
        max_fee_per_gas=0,
        max_priority_fee_per_gas=0,
        value=0,
        data=data,
    )


def _decode_legacy(raw: bytes) -> Transaction:
    fields = _list(rlp.decode(raw))
    if len(fields) != 9:
        raise InvalidTransaction("failed to decode transaction")
    v = _int(fields[6])
    chain_id = (v - 35) // 2 if v >= 35 else None
    content = fields[:6] if chain_id is None else [*fields[:6], _bytes(chain_id), b"", b""]
    parity = v - 27 if chain_id is None else (v - 35) % 2
    r, s = _int(fields[7]), _int(fields[8])
    gas_price = _int(fields[1])
    return Transaction(
        hash=keccak(raw),
        kind=LEGACY,
        sender=_recover(keccak(rlp.encode(content)), parity, r, s),
        chain_id=chain_id,
        nonce=_int(fields[0]),
        max_fee_per_gas=gas_price,
        max_priority_fee_per_gas=gas_price,
        gas_limit=_int(fields[2]),
        to=_recipient(fields[3]),
        value=_int(fields[4]),
        data=_content(fields[5]),
        v=v,
        r=r,
        s=s,
    )


def _decode_typed(raw: bytes) -> Transaction:
    kind = raw[0]
    if kind not in FIELDS:
        raise InvalidTransaction("transaction type not supported")
    fields = _list(rlp.decode(raw[1:]))
    if len(fields) != FIELDS[kind]:
        raise InvalidTransaction("failed to decode transaction")
    signing_hash = keccak(bytes([kind]) + rlp.encode(fields[:-3]))
    parity, r, s = (_int(field) for field in fields[-3:])
    fees = [fields[2], fields[2]] if kind == ACCESS_LIST else fields[2:4]
    rest = fields[3 if kind == ACCESS_LIST else 4 : -3]
    gas_limit, to, value, data, access_list = rest[:5]
    recipient = _recipient(to)
    authorizations = _authorizations(rest[5]) if kind == SET_CODE else ()
    if kind == SET_CODE and (recipient is None or not authorizations):
        raise InvalidTransaction("a set-code transaction needs a recipient and authorizations")
    return Transaction(
        hash=keccak(raw),
        kind=kind,
        sender=_recover(signing_hash, parity, r, s),
        chain_id=_int(fields[0]),
        nonce=_int(fields[1]),
        max_priority_fee_per_gas=_int(fees[0]),
        max_fee_per_gas=_int(fees[1]),
        gas_limit=_int(gas_limit),
        to=recipient,
        value=_int(value),
        data=_content(data),
        access_list=_access_list(access_list),
        authorizations=authorizations,
        v=parity,
        r=r,
        s=s,
    )


def _recover(digest: bytes, parity: int, r: int, s: int) -> str:
    if parity not in (0, 1) or not 0 < s <= HALF_ORDER:
        raise InvalidTransaction("invalid transaction v, r, s values")
    try:
        signature = keys.Signature(vrs=(parity, r, s))
        key = signature.recover_public_key_from_msg_hash(digest)
    except (BadSignature, ValidationError) as error:
        raise InvalidTransaction("invalid transaction v, r, s values") from error
    return "0x" + key.to_canonical_address().hex()


def _recipient(field: Any) -> str | None:
    return _address(field) if _content(field) else None


def _address(field: Any) -> str:
    return "0x" + _content(field, size=20).hex()


def _access_list(field: Any) -> AccessList:
    return tuple(
        (_address(address), tuple(int.from_bytes(_content(slot, size=32), "big") for slot in slots))
        for address, slots in _list(field)
    )


def _authorizations(field: Any) -> tuple[Authorization, ...]:
    return tuple(_authorization(*_list(entry)) for entry in _list(field))


def _authorization(
    chain_id: Any, address: Any, nonce: Any, y_parity: Any, r: Any, s: Any
) -> Authorization:
    digest = keccak(AUTHORIZATION_MAGIC + rlp.encode([chain_id, address, nonce]))
    parity, r_number, s_number = _int(y_parity), _int(r), _int(s)
    try:
        authority = _recover(digest, parity, r_number, s_number)
    except InvalidTransaction:
        authority = None  # the transaction is still valid; only this authorization is ignored
    return Authorization(
        chain_id=_int(chain_id),
        address=_address(address),
        nonce=_int(nonce),
        authority=authority,
        y_parity=parity,
        r=r_number,
        s=s_number,
    )


def _list(field: Any) -> list[Any]:
    if not isinstance(field, list):
        raise InvalidTransaction("failed to decode transaction")
    return field


def _content(field: Any, *, size: int | None = None) -> bytes:
    if not isinstance(field, bytes) or size not in (None, len(field)):
        raise InvalidTransaction("failed to decode transaction")
    return field


def _int(field: Any) -> int:
    if len(_content(field)) > 32 or field[:1] == b"\0":
        raise InvalidTransaction("failed to decode transaction")
    return int.from_bytes(field, "big")


def _bytes(number: int) -> bytes:
    return number.to_bytes((number.bit_length() + 7) // 8, "big")

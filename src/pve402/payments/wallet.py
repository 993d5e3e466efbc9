"""Proves who controls a wallet: we write an EIP-4361 text, the wallet signs it, we check it once.

The client chooses nothing in the signed text. We rebuild the text from its parsed fields and
require an exact match with what the client sent, and the nonce contains a MAC over all other
fields. So only this service can have written a text that passes, and we need not store anything
when a stranger asks for one; we store only used nonces.
"""

import hmac
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final, Protocol
from urllib.parse import urlsplit

from pve402.domain import account as accounts
from pve402.payments import addresses, errors, networks, sign_in, signatures
from pve402.payments.chain import Chain
from pve402.payments.schemes.exact import local_checks

MAX_MESSAGE_CHARACTERS: Final = 4096
MAX_SIGNATURE_BYTES: Final = 4096
STATEMENT: Final = "Prove that you hold this wallet, to manage the leases it paid for."

_NOT_DEPLOYED: Final = "this wallet is not deployed yet; deploy it, then sign in"
_MOST_ATTEMPTS: Final = 5
_MOST_KNOWN: Final = 10_000
_SALT_DIGITS: Final = 24
_MAC_DIGITS: Final = 32
_TIME: Final = "%Y-%m-%dT%H:%M:%SZ"
_SIGNATURE: Final = re.compile(r"0x(?:[0-9a-fA-F]{2})+", re.ASCII)
_FIELDS: Final = re.compile(
    r"[\x21-\x7e]+ [\x20-\x7e]+\n(?P<address>0x[0-9a-fA-F]{40})\n\n[\x20-\x7e]+\n\n"
    r"URI: [\x21-\x7e]+\nVersion: 1\n"
    r"Chain ID: (?P<chain_id>[0-9]{1,12})\nNonce: (?P<nonce>[0-9a-f]{56})\n"
    r"Issued At: (?P<issued_at>[0-9TZ:-]{20})\nExpiration Time: (?P<expires_at>[0-9TZ:-]{20})",
    re.ASCII,
)


class Code(StrEnum):
    """Why we rejected a wallet's proof."""

    MALFORMED = "wallet_message_malformed"  # not our text, or modified
    EXPIRED = "wallet_challenge_expired"
    USED = "wallet_challenge_used"
    SIGNATURE_INVALID = "wallet_signature_invalid"
    UNSUPPORTED_NETWORK = "unsupported_network"  # a contract wallet on a chain we do not read


class WalletRejected(errors.PaymentError):
    """The signature proves nothing."""

    def __init__(self, code: Code, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


class ChallengeNonces(Protocol):
    """Remembers used nonces until they expire."""

    async def consume(self, nonce: str, *, expires_at: datetime) -> bool:
        """Use up a nonce, atomically across replicas; False if it was already used."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class WalletOptions:
    """Settings for challenges."""

    public_url: str
    """Our own URL; the only source of the message's domain and URI."""
    secret: bytes = field(repr=False)
    """Key of the MAC; the same on all replicas, and derived only for this purpose."""
    lifetime_seconds: int = 300
    clock_skew_seconds: int = 5
    """How far another replica's clock may be ahead of ours."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WalletChallenge:
    """A text that the wallet signs unchanged."""

    message: str
    nonce: str
    expires_at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class ProvenWallet:
    """The wallet that signed."""

    account: str
    """CAIP-10."""
    by_key: bool
    """True if a key signed: it then has this address on every EVM chain. A contract counts only on
    its own chain, since somebody else may have the same address on another."""

    def is_account(self, other: str) -> bool:
        """Return whether this proof is valid for a CAIP-10 account."""
        if self.by_key:
            return accounts.address_of(self.account) == accounts.address_of(other)
        return self.account == other


class WalletAuthenticator:
    """Creates challenges and checks the signed answers."""

    def __init__(
        self,
        options: WalletOptions,
        nonces: ChallengeNonces,
        chains: Mapping[str, Chain],
        *,
        now: Callable[[], datetime],
    ) -> None:
        """`chains` is by CAIP-2 id, used to ask contract wallets. `now` returns aware UTC."""
        self._options = options
        self._nonces = nonces
        self._chains = chains
        self._now = now
        self._attempts: dict[str, int] = {}
        self._domain = urlsplit(options.public_url).netloc

    def challenge(self, account: str) -> WalletChallenge:
        """Create the text for this CAIP-10 account to sign. Stores nothing.

        Raises:
            UnknownNetwork: the account is on a network that is not in the table.
            ValueError: not a CAIP-10 account.
        """
        network, address = accounts.split(account)
        networks.resolve(network)
        issued_at = self._now().astimezone(UTC).replace(microsecond=0)
        text = _Text(
            network=network,
            address=address,
            salt=secrets.token_hex(_SALT_DIGITS // 2),
            issued_at=issued_at,
            expires_at=issued_at + timedelta(seconds=self._options.lifetime_seconds),
        )
        nonce = self._nonce(text)
        message = self._compose(text, nonce)
        return WalletChallenge(message=message, nonce=nonce, expires_at=text.expires_at)

    async def verify(self, message: str, signature: str) -> ProvenWallet:
        """Check a signed challenge and use it up.

        Uses up the nonce last, so that a client can retry after a failure and only real signers
        cause rows to be written.

        Raises:
            WalletRejected: with the code of the problem.
            ChainUnavailable: we could not ask a contract wallet.
        """
        text = self._read(message)
        self._check_time(text)
        return await self._prove(text, self._nonce(text), message, signature)

    def offer(self, method: str, uri: str) -> sign_in.Offer:
        """Return what any wallet may sign to call `uri` once, by this method. Stores nothing."""
        issued_at = self._now().astimezone(UTC).replace(microsecond=0)
        expires_at = issued_at + timedelta(seconds=self._options.lifetime_seconds)
        salt = secrets.token_hex(_SALT_DIGITS // 2)
        return self._offer(method, uri, salt, issued_at, expires_at)

    async def verify_signed_in(self, header: str, method: str, uri: str) -> ProvenWallet:
        """Check the header SIGN-IN-WITH-X of a call to `uri`, and use its nonce up.

        Raises as `verify`.
        """
        signed = sign_in.read(header)
        if signed is None:
            raise WalletRejected(Code.MALFORMED, "SIGN-IN-WITH-X holds no signed challenge")
        salt = signed.nonce[:_SALT_DIGITS]
        ours = self._offer(method, uri, salt, signed.issued_at, signed.expires_at)
        if not hmac.compare_digest(ours.nonce, signed.nonce) or not signed.answers(ours):
            raise WalletRejected(
                Code.MALFORMED, "this challenge is not of this service, route and method"
            )
        if signed.network not in networks.BY_CAIP2:
            raise WalletRejected(Code.UNSUPPORTED_NETWORK, "this network is not supported here")
        text = _Text(
            network=signed.network,
            address=signed.address.lower(),
            salt=salt,
            issued_at=signed.issued_at,
            expires_at=signed.expires_at,
        )
        self._check_time(text)
        message = self._compose(text, signed.nonce, uri=uri, shown=signed.address)
        return await self._prove(text, signed.nonce, message, signed.signature)

    def _offer(
        self, method: str, uri: str, salt: str, issued_at: datetime, expires_at: datetime
    ) -> sign_in.Offer:
        """Return an offer whose nonce has a MAC over everything but the wallet.

        The text does not name the method, but the nonce works for no other.
        """
        issued, expires = sign_in.written(issued_at), sign_in.written(expires_at)
        sealed = f"{method}\n{self._domain}\n{uri}\n{STATEMENT}\n{salt}\n{issued}\n{expires}"
        return sign_in.Offer(
            domain=self._domain,
            uri=uri,
            statement=STATEMENT,
            nonce=salt + self._mac(sealed),
            issued_at=issued,
            expires_at=expires,
        )

    async def _prove(self, text: "_Text", nonce: str, message: str, signature: str) -> ProvenWallet:
        by_key = await self._check_signature(text, message, _signature_bytes(signature))
        if not await self._nonces.consume(nonce, expires_at=text.expires_at):
            raise WalletRejected(Code.USED, "this challenge was already used; ask for a new one")
        account = accounts.account(text.network, text.address)
        return ProvenWallet(account=account, by_key=by_key)

    def _read(self, message: str) -> "_Text":
        text = _parse(message)
        if text is None or not self._is_ours(text, message):
            raise WalletRejected(Code.MALFORMED, "this challenge does not come from this service")
        return text

    def _check_time(self, text: "_Text") -> None:
        now = self._now()
        earliest = text.issued_at - timedelta(seconds=self._options.clock_skew_seconds)
        if not earliest <= now < text.expires_at:
            raise WalletRejected(Code.EXPIRED, "this challenge has expired; ask for a new one")

    async def _check_signature(self, text: "_Text", message: str, signature: bytes) -> bool:
        """Return True if a key signed, False if a contract accepts it; raise otherwise."""
        message_hash = personal_hash(message)
        expanded = signatures.expand(signature)
        if len(expanded) == 65 and local_checks.recover(message_hash, expanded) == text.address:
            return True
        chain = self._chains.get(text.network)
        if chain is None:
            raise WalletRejected(
                Code.UNSUPPORTED_NETWORK, "contract wallets on this network cannot be checked"
            )
        await self._check_contract(chain, text, message_hash, signature)
        return False

    async def _check_contract(
        self, chain: Chain, text: "_Text", message_hash: bytes, signature: bytes
    ) -> None:
        """Raise WalletRejected unless the wallet's contract accepts a signature.

        An address without code accepts none; we cache that, so it costs no further call.
        """
        shape = signatures.unwrap(signature)
        if not await chain.has_code(text.address):
            is_wrapped = shape is not None and shape.deploys
            detail = _NOT_DEPLOYED if is_wrapped else "the wallet did not sign this challenge"
            raise WalletRejected(Code.SIGNATURE_INVALID, detail)
        self._count_attempt(text)
        inner = signature if shape is None else shape.inner
        if not await chain.stands_by(text.address, message_hash, inner):
            raise WalletRejected(Code.SIGNATURE_INVALID, "the wallet did not sign this challenge")

    def _count_attempt(self, text: "_Text") -> None:
        """Limit the contract calls per challenge, so that guessing cannot overload a node."""
        tries = self._attempts.pop(text.salt, 0) + 1
        while len(self._attempts) >= _MOST_KNOWN:
            del self._attempts[next(iter(self._attempts))]
        self._attempts[text.salt] = tries
        if tries > _MOST_ATTEMPTS:
            raise WalletRejected(
                Code.USED, "there were too many attempts with this challenge; ask for a new one"
            )

    def _is_ours(self, text: "_Text", message: str) -> bool:
        written = self._compose(text, self._nonce(text))
        return hmac.compare_digest(written.encode(), message.encode())

    def _nonce(self, text: "_Text") -> str:
        return text.salt + self._mac(self._compose(text, text.salt))

    def _mac(self, unsealed: str) -> str:
        found = hmac.digest(self._options.secret, unsealed.encode(), "sha256")
        return found.hex()[:_MAC_DIGITS]

    def _compose(
        self, text: "_Text", nonce: str, *, uri: str | None = None, shown: str | None = None
    ) -> str:
        """Write the message in EIP-4361 format; `shown` is the address as a wallet wrote it."""
        lines = [
            f"{self._domain} wants you to sign in with your Ethereum account:",
            shown or addresses.checksum(text.address),
            "",
            STATEMENT,
            "",
            f"URI: {uri or self._options.public_url}",
            "Version: 1",
            f"Chain ID: {networks.resolve(text.network).chain_id}",
            f"Nonce: {nonce}",
            f"Issued At: {text.issued_at.strftime(_TIME)}",
            f"Expiration Time: {text.expires_at.strftime(_TIME)}",
        ]
        return "\n".join(lines)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Text:
    """The variable fields of a message."""

    network: str
    address: str
    salt: str
    issued_at: datetime
    expires_at: datetime


def personal_hash(message: str) -> bytes:
    """Return the hash that wallets sign for a text (EIP-191, version 0x45)."""
    raw = message.encode()
    return addresses.keccak256(b"\x19Ethereum Signed Message:\n%d" % len(raw) + raw)


def _parse(message: str) -> _Text | None:
    """Parse the fields of a message; the caller's comparison validates them."""
    found = _FIELDS.fullmatch(message) if len(message) <= MAX_MESSAGE_CHARACTERS else None
    if found is None:
        return None
    network = networks.BY_CAIP2.get(f"eip155:{int(found['chain_id'])}")
    issued_at, expires_at = _time(found["issued_at"]), _time(found["expires_at"])
    if network is None or issued_at is None or expires_at is None:
        return None
    return _Text(
        network=network.caip2,
        address=found["address"].lower(),
        salt=found["nonce"][:_SALT_DIGITS],
        issued_at=issued_at,
        expires_at=expires_at,
    )


def _time(text: str) -> datetime | None:
    try:
        return datetime.strptime(text, _TIME).replace(tzinfo=UTC)
    except ValueError:
        return None


def _signature_bytes(signature: str) -> bytes:
    if len(signature) <= 2 + 2 * MAX_SIGNATURE_BYTES and _SIGNATURE.fullmatch(signature):
        return bytes.fromhex(signature[2:])
    raise WalletRejected(Code.SIGNATURE_INVALID, "the signature is not 0x and hex")

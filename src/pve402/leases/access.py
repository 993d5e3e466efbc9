"""Who may manage what: tokens, and the wallet signatures that buy them."""

import dataclasses
import secrets
from collections.abc import Awaitable, Sequence
from datetime import datetime, timedelta

from pve402.domain import account, errors, lease
from pve402.leases import questions
from pve402.leases.service import Caller
from pve402.payments import errors as payment_errors
from pve402.payments import wallet
from pve402.storage import database, lease_rows, token_rows, vault

SCOPES = frozenset(
    {"read", "exec", "console", "files", "renew", "end", "power", "network", "ports", "redeem"}
    | {"snapshots", "change", "reinstall"}
)
_WALLET_TOKEN_LIFE = timedelta(hours=12)
_STRANGER_TOKEN_LIFE = timedelta(minutes=15)  # wallets are free, so their tokens must not pile up
_MAX_TOKEN_CHARACTERS = 200


@dataclasses.dataclass(frozen=True, kw_only=True)
class IssuedToken:
    """A new token, shown only once."""

    token: str = dataclasses.field(repr=False)
    owner: str
    lease_id: str | None
    scope: frozenset[str]
    expires_at: datetime | None


class Access:
    """Issues and checks tokens."""

    def __init__(
        self,
        db: database.Database,
        wallets: wallet.WalletAuthenticator,
        networks: tuple[str, ...],
        asking: questions.Questions,
    ) -> None:
        self._db = db
        self._asking = asking
        self._wallets = wallets
        self._networks = networks  # CAIP-2; the first is the default

    async def authenticate(self, token: str) -> Caller:
        """Return the caller that a token identifies.

        Raises Unauthenticated if it is not valid, LeaseEnded if it was valid until its lease ended.
        """
        if len(token) > _MAX_TOKEN_CHARACTERS:
            raise errors.Unauthenticated
        async with self._db.read() as tx:
            token_hash = vault.token_hash(token)
            found = await token_rows.find(self._db, tx, token_hash)
            ended = found is None and await token_rows.was_of_lease(self._db, tx, token_hash)
        if found is None:
            raise errors.LeaseEnded if ended else errors.Unauthenticated
        return Caller(
            owner=found.owner,
            lease_id=found.lease_id,
            scope=frozenset(found.scope.split()),
            how="token" if found.lease_id else "wallet",
            by_key=found.by_key,
        )

    async def new_challenge(self, address: str, chain: str | None) -> wallet.WalletChallenge:
        """Return the text that a wallet signs to prove its identity.

        `chain` is a CAIP-2 id, by default the first accepted network.
        """
        return self._wallets.challenge(account.account(chain or self._networks[0], address))

    async def issue_token(
        self,
        message: str,
        signature: str,
        *,
        lease_id: str | None,
        scope: Sequence[str] | None,
        expires_at: datetime | None,
        client_address: str | None = None,
    ) -> IssuedToken:
        """Exchange a signed challenge for a token.

        With a leaseId, the token is for that lease; a new token with full scope revokes the
        previous one. Without a leaseId, it is for the wallet and lasts at most 12 hours, or 15
        minutes if the wallet never had a lease. Each wallet and each lease keeps its newest 100.
        Raises Unauthenticated, LeaseNotFound, InvalidRequest, TooManyQuestions.
        """
        async with self._asking.turn(client_address):
            proven = await self._prove(self._wallets.verify(message, signature))
        words = _checked_scope(scope)
        now = await self._db.time()
        if expires_at is not None and expires_at <= now:
            raise errors.InvalidRequest("expiresAt is in the past")
        if lease_id is None:
            return await self._issue_for_wallet(proven, words, expires_at, now)
        return await self._issue_for_lease(proven, lease_id, words, expires_at)

    async def revoke(self, token: str) -> None:
        """Revoke a token. Raises as `authenticate`."""
        async with self._db.single() as tx:
            revoked = await token_rows.revoke(self._db, tx, vault.token_hash(token))
        if not revoked:
            await self.authenticate(token)

    def offer_sign_in(self, method: str, url: str, network: str) -> str:
        """Return the extension `sign-in-with-x` for one call; `network` is a CAIP-2 id."""
        return self._wallets.offer(method, url).extension(network)

    async def sign_in(
        self, header: str, method: str, url: str, client_address: str | None
    ) -> Caller:
        """Return the wallet that signed what a 402 of this method and URL offered.

        Raises Unauthenticated, TooManyQuestions, and TryLater for a chain that cannot be read.
        """
        async with self._asking.turn(client_address):
            proven = await self._prove(self._wallets.verify_signed_in(header, method, url))
        return Caller(owner=proven.account, how="wallet", by_key=proven.by_key)

    async def _prove(self, proving: Awaitable[wallet.ProvenWallet]) -> wallet.ProvenWallet:
        try:
            return await proving
        except wallet.WalletRejected as rejection:
            raise errors.Unauthenticated(rejection.detail) from rejection
        except payment_errors.ChainUnavailable as error:
            raise errors.TryLater(
                "this wallet's chain cannot be read right now", retry_after_seconds=10
            ) from error

    async def _issue_for_wallet(
        self,
        proven: wallet.ProvenWallet,
        scope: frozenset[str],
        expires_at: datetime | None,
        now: datetime,
    ) -> IssuedToken:
        accounts = [proven.account]
        if proven.by_key:
            accounts = account.on_networks(proven.account, self._networks)
        async with self._db.begin() as tx:
            known = await lease_rows.owns_any(tx, accounts)
            latest = now + (_WALLET_TOKEN_LIFE if known else _STRANGER_TOKEN_LIFE)
            ends = min(expires_at or latest, latest)
            token = _new_token(proven.account, None, scope, ends, by_key=proven.by_key)
            await token_rows.make_room(self._db, tx, owner=proven.account, lease_id=None)
            await token_rows.insert(self._db, tx, token[1])
        return _issued(*token)

    async def _issue_for_lease(
        self,
        proven: wallet.ProvenWallet,
        lease_id: str,
        scope: frozenset[str],
        expires_at: datetime | None,
    ) -> IssuedToken:
        async with self._db.begin() as tx:
            found = await lease_rows.get(tx, lease_id)
            if found is None or not found.handed_over or not proven.is_account(found.account):
                raise errors.LeaseNotFound
            if found.status in lease.OVER:
                raise errors.LeaseOver
            token = _new_token(found.account, lease_id, scope, expires_at, by_key=False)
            await token_rows.make_room(self._db, tx, owner=found.account, lease_id=lease_id)
            await token_rows.insert(self._db, tx, token[1])
        return _issued(*token)


def _checked_scope(scope: Sequence[str] | None) -> frozenset[str]:
    words = frozenset(scope or ["*"])
    if "*" in words:
        return frozenset({"*"})
    if not words <= SCOPES:
        raise errors.InvalidRequest(f"scope must be a list of: {', '.join(sorted(SCOPES))}")
    return words


def _new_token(
    owner: str,
    lease_id: str | None,
    scope: frozenset[str],
    expires_at: datetime | None,
    *,
    by_key: bool,
) -> tuple[str, token_rows.Token]:
    text = f"pve402_{secrets.token_hex(32)}"
    full = lease_id is not None and scope == {"*"} and expires_at is None
    row = token_rows.Token(
        token_hash=vault.token_hash(text),
        owner=owner,
        lease_id=lease_id,
        scope=" ".join(sorted(scope)),
        primary_of_lease=full,
        by_key=by_key,
        expires_at=expires_at,
    )
    return text, row


def _issued(text: str, row: token_rows.Token) -> IssuedToken:
    return IssuedToken(
        token=text,
        owner=row.owner,
        lease_id=row.lease_id,
        scope=frozenset(row.scope.split()),
        expires_at=row.expires_at,
    )

"""Challenges (EIP-4361), as a service writes them, and as one that is not honest might."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

NONCE = "0123456789abcdef" * 3
STATEMENT = "Prove that you hold this wallet, to manage the leases it paid for."


def written(url: str, account: str, *, domain: str | None = None, lasts: int = 300) -> str:
    """The text for a wallet to sign in to the service at `url` with, good for some seconds."""
    now = datetime.now(UTC)
    times = (now, now + timedelta(seconds=lasts))
    issued, expires = (f"{moment:%Y-%m-%dT%H:%M:%SZ}" for moment in times)
    named = url.partition("//")[2] if domain is None else domain
    return (
        f"{named} wants you to sign in with your Ethereum account:\n{account}\n\n"
        f"{STATEMENT}\n\nURI: {url}\nVersion: 1\nChain ID: 84532\nNonce: {NONCE}\n"
        f"Issued At: {issued}\nExpiration Time: {expires}"
    )

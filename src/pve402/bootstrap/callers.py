"""Builds what finds out who calls."""

from collections.abc import Mapping
from datetime import UTC, datetime

from pve402 import config
from pve402.leases import access, nonces, questions
from pve402.payments import networks as chains
from pve402.payments import settlement, wallet
from pve402.storage import database, vault


def access_of(
    settings: config.Settings,
    db: database.Database,
    secret_vault: vault.Vault,
    routes: Mapping[str, settlement.Route],
    asking: questions.Questions,
) -> access.Access:
    """Tokens, and the wallets that ask for them."""
    wallets = wallet.WalletAuthenticator(
        wallet.WalletOptions(
            public_url=settings.public_url, secret=secret_vault.key("wallet challenge")
        ),
        nonces.StoredChallengeNonces(db),
        {n: route.asked_by_strangers or route.chain for n, route in routes.items()},
        now=lambda: datetime.now(UTC),
    )
    networks = tuple(chains.resolve(name).caip2 for name in settings.network)
    return access.Access(db, wallets, networks, asking)

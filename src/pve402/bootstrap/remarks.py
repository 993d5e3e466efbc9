"""What the log says at every start: what should be changed, and what keeps guests apart."""

import structlog

from pve402 import config
from pve402.bootstrap import payments
from pve402.domain import catalogue

log = structlog.get_logger(__name__)


def make(settings: config.Settings, sku_catalogue: catalogue.Catalogue) -> None:
    """Warn about settings that should be changed, and name the isolation of each network."""
    if settings.pve_token_id.startswith("root@pam!"):
        log.warning("token_of_root", setting="PVE_TOKEN_ID", remedy="a user with the rights needed")
    if settings.trust_facilitator:
        log.warning("facilitator_trusted", setting="TRUST_FACILITATOR", loss="the operator's")
    for network in payments.without_cdp_key(settings):
        setting = "CDP_API_KEY_ID, CDP_API_KEY_SECRET"
        log.warning("facilitator_key_missing", network=network, setting=setting)
    for name, profile in sku_catalogue.networks_on_sale.items():
        log.info("network", network=name, isolation=profile.isolation.value)

"""Builds what moves money: a facilitator and a chain reader for each accepted network."""

import time
from collections.abc import Mapping
from urllib.parse import urlsplit

from pve402 import config
from pve402.leases import deals, nonces
from pve402.payments import chain, chain_watch, networks, rpc, settlement
from pve402.payments.facilitators import base as facilitators
from pve402.payments.facilitators import cdp, http, support
from pve402.storage import database

_LOOK_SECONDS = 3.0


def routes_of(
    settings: config.Settings, db: database.Database, deal_writer: deals.Deals
) -> Mapping[str, settlement.Route]:
    """Return how payments are settled, by CAIP-2 id."""
    routes = {}
    for network in settings.network:
        options = rpc.RpcOptions(url=settings.rpc_url_of(network) or "")
        endpoint = rpc.Rpc(options)
        routes[network] = settlement.Route(
            facilitator=_facilitator(settings, network, endpoint, db, deal_writer),
            chain=chain.Chain(endpoint),
            asked_by_strangers=chain.Chain(rpc.Rpc(options)),
            trust_facilitator=settings.trust_facilitator,
        )
    return routes


def support_of(routes: Mapping[str, settlement.Route]) -> support.Support:
    """Return what knows the wire versions of each network; our own key settles every one."""
    asked = {name: route.facilitator for name, route in routes.items()}
    return support.Support(
        {name: each for name, each in asked.items() if isinstance(each, http.HttpFacilitator)}
    )


def without_cdp_key(settings: config.Settings) -> list[str]:
    """Return the networks settled by Coinbase's facilitator, which requires a key."""
    if settings.cdp_api_key_id:
        return []
    urls = {network: settings.facilitator_url_of(network) or "" for network in settings.network}
    return [networks.BY_CAIP2[network].name for network, url in urls.items() if _is_cdp(url)]


def watch_of(settings: config.Settings) -> chain_watch.ChainWatch:
    """Return the chain watcher.

    If the facilitator is trusted, chains need not be readable, but endpoints that the operator
    named must not be of another chain.
    """
    named = [n for n in settings.network if settings.rpc_urls.get(n) or settings.rpc_url]
    watched = named if settings.trust_facilitator else settings.network
    options = chain_watch.WatchOptions(is_needed=not settings.trust_facilitator)
    return chain_watch.ChainWatch(
        {
            network: chain.Chain(
                rpc.Rpc(
                    rpc.RpcOptions(
                        url=settings.rpc_url_of(network) or "",
                        timeout_seconds=_LOOK_SECONDS,
                        read_attempts=2,
                    )
                )
            )
            for network in watched
        },
        options,
    )


def _facilitator(
    settings: config.Settings,
    network: str,
    endpoint: rpc.Rpc,
    db: database.Database,
    deal_writer: deals.Deals,
) -> facilitators.Facilitator:
    url = settings.facilitator_url_of(network)
    if url is None:
        return _embedded(settings, network, endpoint, db, deal_writer)
    authorize = None
    if _is_cdp(url) and settings.cdp_api_key_id and settings.cdp_api_key_secret:
        key = cdp.CdpKey(
            key_id=settings.cdp_api_key_id, secret=settings.cdp_api_key_secret.get_secret_value()
        )
        authorize = cdp.CdpAuth(key, now_seconds=time.time).header
    return http.HttpFacilitator(http.HttpFacilitatorOptions(url=url, authorize=authorize))


def _is_cdp(url: str) -> bool:
    """Whether a facilitator is Coinbase's, however its address is written."""
    return urlsplit(url).hostname == urlsplit(networks.CDP_FACILITATOR_URL).hostname


def _embedded(
    settings: config.Settings,
    network: str,
    endpoint: rpc.Rpc,
    db: database.Database,
    deal_writer: deals.Deals,
) -> facilitators.Facilitator:
    """Our own signer; imported here because most installations use a facilitator."""
    from pve402.payments.facilitators import embedded  # noqa: PLC0415

    secret = settings.facilitator_private_key
    own = embedded.EmbeddedOptions(
        network=network, private_key=secret.get_secret_value() if secret else ""
    )
    return embedded.EmbeddedFacilitator(
        own,
        endpoint,
        nonces.StoredSignerNonces(db),
        record_transaction=deal_writer.record_transaction,
    )

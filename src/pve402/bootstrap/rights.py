"""Which rights on Proxmox VE an installation needs, by its settings and its catalogue."""

from collections.abc import Iterator

from pve402 import config
from pve402.domain import oci
from pve402.domain.catalogue import Catalogue
from pve402.domain.networks import Source
from pve402.proxmox import access


def needs(settings: config.Settings, catalogue: Catalogue, node: str) -> access.Needs:
    """Return what is needed to sell this catalogue on a node."""
    networks = catalogue.networks_on_sale.values()
    disks = [name for sku in catalogue.skus.values() for name in sku.storages]
    storages = (*(disks or [settings.pve_storage]), *_template_storages(settings, catalogue))
    return access.Needs(
        vmid=settings.pve_vmid_min,
        node=node,
        storages=tuple(dict.fromkeys(storages)),
        bridges={profile.bridge: profile.zone or access.PLAIN_BRIDGES for profile in networks},
        pool=settings.pve_pool,
        console_users=settings.pve_console_mode == "direct",
        snapshots=settings.pve402_snapshots > 0 or settings.pve402_forks > 0,
        clones=_clones(settings, catalogue),
        pulls=frozenset(
            image.template.partition(":")[0]
            for image in catalogue.images_on_sale
            if image.reference is not None
        ),
        firewall=any(profile.is_isolated for profile in networks),
        ipam=frozenset(
            profile.bridge
            for profile in networks
            if any(one.source is Source.SDN for one in profile.learned)
        ),
    )


def templates(settings: config.Settings, catalogue: Catalogue, node: str | None) -> set[str]:
    """Return the template volumes for containers on one node, or on any.

    Those of OCI images are left out: the service has them pulled.
    """
    return {one for one in _volumes(settings, catalogue, node) if not oci.is_file(one)}


def _volumes(settings: config.Settings, catalogue: Catalogue, node: str | None) -> set[str]:
    wanted = {settings.pve_os_template}
    for sku in catalogue.skus.values():
        if node is None or sku.is_sold_on(node):
            wanted |= set(sku.templates.values())
    return wanted


def _clones(settings: config.Settings, catalogue: Catalogue) -> bool:
    are_prepared = any(image.prepare for image in catalogue.images_on_sale)
    are_saved = any(sku.rates.image_gb_usd_minute for sku in catalogue.skus.values())
    return settings.pve402_forks > 0 or are_prepared or are_saved


def _template_storages(settings: config.Settings, catalogue: Catalogue) -> Iterator[str]:
    for volume in sorted(_volumes(settings, catalogue, None)):
        yield volume.partition(":")[0]

"""Builds what publishes ports."""

from pve402.bootstrap import components
from pve402.domain import published
from pve402.leases import ports


def published_ports(installation: components.Components) -> ports.Ports:
    """Published ports; none if the operator gave them no domain."""
    text = installation.settings.pve402_ports_domain
    domain = None if text is None else published.PortsDomain(text)
    return ports.Ports(installation.db, installation.access, domain)

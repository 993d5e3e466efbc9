"""Checks of networks: what keeps guests apart, as far as configuration says."""

from pve402 import bootstrap
from pve402.domain import networks as profiles
from pve402.ops.checks import findings
from pve402.ops.checks.findings import Finding

_RIGHTS = "`pveum acl modify / --users {user} --roles R402Node --propagate 0`"
_ON = "`pvesh set /cluster/firewall/options --enable 1`, after the rules for the nodes themselves"


async def networks(parts: bootstrap.Components) -> list[Finding]:
    """Check each network on sale: whether it isolates guests, and whether that can work now."""
    on_sale = parts.leases.catalogue.networks_on_sale.values()
    if any(profile.is_isolated for profile in on_sale):
        await parts.firewalls.look()
    proofs = await parts.firewalls.proofs() if any(one.is_isolated for one in on_sale) else {}
    seen = [
        findings.good(
            f"node {node}",
            f"packets were seen to be stopped on {proof.proven_at:%Y-%m-%d %H:%M UTC},"
            f" by {proof.program} {proof.version or 'of unknown version'}",
        )
        for node, proof in sorted(proofs.items())
    ]
    away = [_away(node) for node in sorted(parts.firewalls.unseen)]
    return [*(_finding(profile, parts) for profile in on_sale), *seen, *away]


def unsent() -> Finding:
    """Say what no configuration tells."""
    detail = (
        "none was sent, so nobody knows whether containers start, get an address and reach the"
        " internet, and whether rules stop what they should"
    )
    return findings.note("packets", detail, mend="`pve402 ops doctor --deep`")


def _away(node: str) -> Finding:
    detail = (
        "does not answer, so not all of its addresses are known: the rules of running containers"
        " keep the nodes' addresses that they have"
    )
    mend = "start it, or remove it from the cluster; or `pve402 ops isolate LEASE` for each"
    return findings.note(f"node {node}", detail, mend=mend)


def _finding(profile: profiles.NetworkProfile, parts: bootstrap.Components) -> Finding:
    what, problem = f"network {profile.name}", parts.firewalls.problem
    if not profile.is_isolated:
        detail = "isolation: none; containers reach each other and your network"
        mend = 'isolation = "tenant", see docs/how-to/networking.md'
        return findings.note(what, detail, variable="PVE402_CATALOGUE", mend=mend)
    if problem is None:
        return findings.good(what, "isolation: tenant, and the firewall of the datacenter is on")
    user = parts.settings.pve_token_id.partition("!")[0]
    mend = _RIGHTS.format(user=user) if "cannot be read" in problem else _ON
    return findings.bad(what, f"isolation: unavailable; {problem}", mend=mend)

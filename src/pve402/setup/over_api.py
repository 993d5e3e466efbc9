"""Makes over the API what `commands` prints, as an administrator who logs in for this one run.

Password and ticket are kept in memory alone. Every change is shown before it is made, and looked at
again where its answer was lost.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from pve402 import config
from pve402.bootstrap import catalogue_file, rights
from pve402.domain.catalogue import Catalogue
from pve402.proxmox import administration, certificate, errors, nodes, options, roles
from pve402.proxmox.administration import Change
from pve402.proxmox.client import ProxmoxClient, ProxmoxOptions
from pve402.setup import (
    commands,
    configuration,
    firewalling,
    making,
    network_choice,
    sdn_steps,
    steps,
    switching,
)
from pve402.setup.operator import Cancelled, Operator

_FINGERPRINT = (
    "{host} shows a certificate with the fingerprint\n  {shown}\n"
    "Compare it with the node's: `openssl x509 -noout -fingerprint -sha256 -in"
    " /etc/pve/local/pve-ssl.pem`"
)
_NOTHING_SOLD = (
    "Everything else is in place, but nothing is sold from an isolated network until the"
    " datacenter's firewall is on."
)
_RENEW = (
    "The token {token} exists, but the settings file does not have its secret. Make a new one?"
    " Whatever uses the old one stops working."
)


@dataclass(frozen=True, kw_only=True)
class Work:
    """What a run needs: the wish, settings, who to ask, and how to keep a secret.

    With `chooses_network` the catalogue is not written yet: its network depends on the nodes.
    """

    asked: configuration.Asked
    settings: config.Settings
    operator: Operator
    pace: switching.Pace
    has_secret: bool
    keep_secret: Callable[[str], None]
    chooses_network: bool

    @property
    def nodes(self) -> Sequence[str]:
        """The nodes that were named; none: all."""
        return [*self.asked.node_addresses] or list(filter(None, [self.settings.pve_node]))

    @property
    def token(self) -> tuple[str, str]:
        """The user and the name of the service's token."""
        user, _, name = self.settings.pve_token_id.partition("!")
        return user, name

    @property
    def sold(self) -> Catalogue:
        """The catalogue that the rights are for."""
        return catalogue_file.catalogue_of(self.settings)


async def confirm_host(settings: config.Settings, operator: Operator) -> str | None:
    """Show the host's fingerprint and have it confirmed; None for plain HTTP on loopback.

    Raises Cancelled if there is no certificate, it is not the pinned one, or the operator says no.
    """
    if options.api_url(settings.pve_host).scheme == "http":
        return None
    shown = await certificate.shown_fingerprint(settings.pve_host)
    if not shown:
        raise Cancelled(f"PVE_HOST: {settings.pve_host} shows no certificate; is it reachable?")
    operator.tell(_FINGERPRINT.format(host=settings.pve_host, shown=shown))
    pinned = settings.pve_fingerprint
    if pinned and options.fingerprint_digest(pinned) != options.fingerprint_digest(shown):
        raise Cancelled("PVE_FINGERPRINT is another one. Nothing was sent.")
    if not operator.agrees("Is it the same?"):
        raise Cancelled("Nothing was sent.")
    return shown


async def prepare(work: Work, fingerprint: str | None) -> int:
    """Log in, make what is missing, and check the token's rights; return the exit status.

    Raises Cancelled or ProxmoxError; what was made until then stays, and is found by the next run.
    """
    operator = work.operator
    user = operator.ask("Administrator for this run, as name@realm", "root@pam")
    password = operator.ask_secret(f"Password of {user} (not kept)")
    try:
        login = ProxmoxOptions(
            host=work.settings.pve_host,
            username=user,
            password=password,
            fingerprint_sha256=fingerprint,
        )
    except ValueError as error:
        raise Cancelled(str(error)) from None
    async with ProxmoxClient(login) as client:
        site = steps.Site(client)
        names = work.nodes or [node.node for node in await site.nodes.list()]
        if work.chooses_network:
            asked = await network_choice.choose(work.asked, site, names, operator)
            work = replace(work, settings=configuration.write_catalogue(asked, operator))
        has_new_secret = await _make_all(work, site, names)
        if not has_new_secret and not await _accepts_secret(work, fingerprint):
            await _renew_secret(work, site)
        if sdn_steps.pool_of(work.sold):
            await sdn_steps.wait_until_taken_over(site, names)
        network_choice.warn(work.sold, operator)
        status = await _check(work, site, names)
        return await _secure(work, login, site) or status


async def _make_all(work: Work, site: steps.Site, names: Sequence[str]) -> bool:
    """Make what is missing; True if a new token's secret is in the settings file now."""
    networks = sdn_steps.of_catalogue(work.sold, names)
    for one in sorted(await site.sdn.waiting() - sdn_steps.OURS) if networks else ():
        work.operator.tell(f"Somebody else's change waits, and is applied along with ours: {one}")
    has_new_secret = False

    def answered(change: Change, answer: object) -> None:
        nonlocal has_new_secret
        if change == administration.create_token(*work.token):
            has_new_secret = _keep_secret(work, answer)

    wanted = [*networks, *steps.steps(work.settings, work.sold, names)]
    await making.make_all(wanted, site, work.operator, answered)
    return has_new_secret


async def _secure(work: Work, login: ProxmoxOptions, site: steps.Site) -> int:
    """Have the datacenter's firewall on if a network on sale needs it; return the exit status."""
    if not any(one.is_isolated for one in work.sold.networks_on_sale.values()):
        return 0
    center = firewalling.Datacenter(
        login=login, operator=work.operator, ways=work.asked.ways, pace=work.pace
    )
    try:
        return await firewalling.secure(center, site)
    except Cancelled as refusal:
        raise Cancelled(f"{refusal}\n{_NOTHING_SOLD}") from None


def _keep_secret(work: Work, answer: object) -> bool:
    """Write the secret that an answer holds into the settings file; False if it holds none."""
    secret = answer.get("value") if isinstance(answer, dict) else None
    if not isinstance(secret, str):
        return False
    work.keep_secret(secret)
    return True


async def _accepts_secret(work: Work, fingerprint: str | None) -> bool:
    """Whether Proxmox VE takes the secret that the settings file has."""
    if not work.has_secret:
        return False
    login = ProxmoxOptions(
        host=work.settings.pve_host,
        token_id=work.settings.pve_token_id,
        token_secret=work.settings.pve_token_secret.get_secret_value(),
        fingerprint_sha256=fingerprint,
    )
    async with ProxmoxClient(login) as client:
        try:
            await nodes.Nodes(client).version()
        except errors.AuthenticationFailed:
            return False
    return True


async def _renew_secret(work: Work, site: steps.Site) -> None:
    """Make a new secret for a token that exists, if the operator wants it."""
    change = administration.renew_secret(*work.token)
    work.operator.tell(f"token {work.settings.pve_token_id}\n  {commands.command(change)}")
    if not work.operator.agrees(_RENEW.format(token=work.settings.pve_token_id)):
        raise Cancelled("Then add PVE_TOKEN_SECRET=... to the settings file.")
    _keep_secret(work, await site.administration.make(change))


async def _check(work: Work, site: steps.Site, names: Sequence[str]) -> int:
    """Say which rights the token lacks; entries of others can take away what was granted."""
    needed = [rights.needs(work.settings, work.sold, name).privileges() for name in names]
    lacking = {
        path: privileges - await site.administration.privileges_of(work.settings.pve_token_id, path)
        for path, privileges in {p: held for one in needed for p, held in one.items()}.items()
    }
    for path, privileges in lacking.items():
        if privileges:
            place = roles.place_of(path)
            text = f"The token still lacks {', '.join(sorted(privileges))} on {place}"
            work.operator.tell(f"{text}: see `pveum acl list` for an entry on a deeper path.")
    if any(lacking.values()):
        return 1
    work.operator.tell("The token has all the rights it needs.")
    return 0

"""Makes over the API what `commands` prints, as an administrator who logs in for this one run.

Password and ticket are kept in memory alone. Every change is shown before it is made, and looked at
again where its answer was lost.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pve402 import config
from pve402.bootstrap import guests as guest_building
from pve402.bootstrap import rights
from pve402.domain.catalogue import Catalogue
from pve402.proxmox import administration, certificate, errors, nodes, options, roles, tasks
from pve402.proxmox.administration import Change
from pve402.proxmox.client import ProxmoxClient, ProxmoxOptions
from pve402.setup import commands, steps
from pve402.setup.operator import Cancelled, Operator

_TRIES = 3
_DOWNLOAD_SECONDS = 1800
_FINGERPRINT = (
    "{host} shows a certificate with the fingerprint\n  {shown}\n"
    "Compare it with the node's: `openssl x509 -noout -fingerprint -sha256 -in"
    " /etc/pve/local/pve-ssl.pem`"
)
_RENEW = (
    "The token {token} exists, but the settings file does not have its secret. Make a new one?"
    " Whatever uses the old one stops working."
)


@dataclass(frozen=True, kw_only=True)
class Work:
    """What a run needs: settings, who to ask, and how to keep a secret."""

    settings: config.Settings
    operator: Operator
    nodes: Sequence[str]
    has_secret: bool
    keep_secret: Callable[[str], None]

    @property
    def token(self) -> tuple[str, str]:
        """The user and the name of the service's token."""
        user, _, name = self.settings.pve_token_id.partition("!")
        return user, name

    @property
    def sold(self) -> Catalogue:
        """The catalogue that the rights are for."""
        return guest_building.catalogue_of(self.settings)


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
        names = work.nodes or [node.node for node in await nodes.Nodes(client).list()]
        has_new_secret = await _make_all(work, steps.Site(client), tasks.Tasks(client), names)
        if not has_new_secret and not await _accepts_secret(work, fingerprint):
            await _renew_secret(work, steps.Site(client))
        return await _check(work, steps.Site(client), names)


async def _make_all(
    work: Work, site: steps.Site, running: tasks.Tasks, names: Sequence[str]
) -> bool:
    """Make what is missing; True if a new token's secret is in the settings file now."""
    found = [(step, await step.needed(site)) for step in _steps(work, names)]
    missing = [(step, change) for step, change in found if change is not None]
    for step, change in missing:
        work.operator.tell(f"{step.what}\n  {commands.command(change)}")
    if missing and not work.operator.agrees(f"Make these {len(missing)} changes?"):
        raise Cancelled("Nothing was changed on Proxmox VE.")
    has_new_secret = False
    for step, change in missing:
        answer = await _make(step, change, site)
        if change == administration.create_token(*work.token):
            has_new_secret = _keep_secret(work, answer)
        await _wait(running, answer)
        work.operator.tell(f"done: {step.what}")
    if not missing:
        work.operator.tell("Proxmox VE has everything already.")
    return has_new_secret


async def _make(step: steps.Step, change: Change, site: steps.Site) -> object:
    """Make a change; where the answer was lost, look whether it was made, and try again."""
    for _ in range(_TRIES - 1):
        try:
            return await site.administration.make(change)
        except errors.OutcomeUnknown:
            still_needed = await step.needed(site)
        if still_needed is None:
            return None
        change = still_needed
    return await site.administration.make(change)


async def _wait(running: tasks.Tasks, answer: object) -> None:
    if isinstance(answer, str) and answer.startswith("UPID:"):
        upid = tasks.Upid.parse(answer)
        await running.wait_until_finished(upid, limit_seconds=_DOWNLOAD_SECONDS)


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


def _steps(work: Work, names: Sequence[str]) -> list[steps.Step]:
    return list(steps.steps(work.settings, work.sold, names))

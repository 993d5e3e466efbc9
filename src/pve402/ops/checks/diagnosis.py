"""What a failed call to Proxmox VE means: the cause, the setting to change, and the fix."""

from pve402 import config
from pve402.domain import causes
from pve402.ops.checks import findings
from pve402.ops.checks.findings import Finding
from pve402.proxmox import certificate, options
from pve402.proxmox import errors as pve

_WHAT = "Proxmox VE"
_RESTART = "on the node: `systemctl restart pvedaemon pveproxy`, and look at the log of both"


async def explain(error: pve.ProxmoxError, settings: config.Settings) -> Finding:
    """Explain why a call to Proxmox VE failed."""
    if isinstance(error, pve.CertificateRejected):
        return await _certificate(error, settings)
    if isinstance(error, pve.Unreachable | pve.OutcomeUnknown):
        return _unreachable(error, settings)
    if isinstance(error, pve.AuthenticationFailed):
        return _token(settings)
    if isinstance(error, pve.PermissionDenied):
        return _denied(error, settings)
    if isinstance(error, pve.UnexpectedAnswer | pve.CallNotSupported):
        return not_the_api(settings)
    return findings.bad(_WHAT, str(error), variable="PVE_HOST", mend=_RESTART)


def not_the_api(settings: config.Settings) -> Finding:
    """Say that something else answers at the address."""
    detail = f"the service at {_address(settings)} is not the API of Proxmox VE"
    mend = "use the address of Proxmox VE's own web interface; its port is 8006"
    return findings.bad(_WHAT, detail, variable="PVE_HOST", mend=mend)


def _unreachable(error: pve.ProxmoxError, settings: config.Settings) -> Finding:
    cause = error.__cause__ or error
    address = _address(settings)
    if causes.speaks_no_tls(cause):
        detail = f"{address} does not speak https"
        mend = "check the port: Proxmox VE's API listens on 8006, over HTTPS only"
        return findings.bad(_WHAT, detail, variable="PVE_HOST", mend=mend)
    if error.status is not None:
        detail = f"{address} answers {error.status}, so the API behind it is down: {error.message}"
        return findings.bad(_WHAT, detail, variable="PVE_HOST", mend=_RESTART)
    why = causes.reason(cause) if error.__cause__ else error.message
    detail = f"{address} cannot be reached: {why}"
    mend = "check the name, the port, and that no firewall blocks this machine"
    return findings.bad(_WHAT, detail, variable="PVE_HOST", mend=mend)


def _token(settings: config.Settings) -> Finding:
    user, _, name = settings.pve_token_id.partition("!")
    detail = f"does not accept the token {settings.pve_token_id}"
    mend = (
        f"compare with `pveum user token list {user}`; the secret is shown only once, so"
        f" if it is lost: `pveum user token remove {user} {name}` and"
        f" `pveum user token add {user} {name} --privsep 0`"
    )
    return findings.bad(_WHAT, detail, variable="PVE_TOKEN_ID, PVE_TOKEN_SECRET", mend=mend)


def _denied(error: pve.PermissionDenied, settings: config.Settings) -> Finding:
    lacking = " or ".join(sorted(error.privileges)) or "a privilege"
    detail = f"the token lacks {lacking}" + (f" on {error.path}" if error.path else "")
    mend = f"see `pveum user token permissions {settings.pve_token_id.replace('!', ' ')}`"
    return findings.bad("rights", detail, mend=mend)


async def _certificate(error: pve.ProxmoxError, settings: config.Settings) -> Finding:
    cause = error.__cause__ or error
    seen = await certificate.shown_fingerprint(settings.pve_host)
    shown = f" It shows the fingerprint {seen}." if seen else ""
    if settings.pve_fingerprint is not None:
        detail = f"{_address(settings)} shows another certificate than the one in PVE_FINGERPRINT"
        mend = f"if it was renewed, set PVE_FINGERPRINT={seen}" if seen else "set the new one"
        return findings.bad(_WHAT, detail, variable="PVE_FINGERPRINT", mend=mend)
    fault = causes.certificate_fault(cause) or "it is not trusted"
    mend = (
        "copy /etc/pve/pve-root-ca.pem from a node, give the path of the copy, and use a name in "
        f"PVE_HOST that the certificate is for; or set PVE_FINGERPRINT after comparing it.{shown}"
    )
    detail = f"the certificate of {_address(settings)} was rejected: {fault}"
    return findings.bad(_WHAT, detail, variable="PVE_CA_FILE", mend=mend)


def _address(settings: config.Settings) -> str:
    url = options.api_url(settings.pve_host)
    return f"{url.host}:{url.port}"

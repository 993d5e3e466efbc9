"""Builds the jump host, whose library is imported only where it runs."""

from typing import TYPE_CHECKING

from pve402 import config
from pve402.guests import guest_work
from pve402.jump import way
from pve402.leases import service
from pve402.storage import vault

if TYPE_CHECKING:
    from pve402.jump import host

_NO_LIBRARY = (
    "PVE402_SSH_BIND: the jump host needs asyncssh, which is not installed:"
    " pip install 'pve402[server,ssh]'"
)


def jump_host(
    settings: config.Settings,
    secret_vault: vault.Vault,
    work: guest_work.GuestWork,
    leases: service.LeaseService,
) -> "host.JumpHost | None":
    """Return the jump host; None unless its address is set. Raises SettingsError."""
    if settings.pve402_ssh_bind is None:
        return None
    try:
        from pve402.jump import host, host_key, inside, proxies  # noqa: PLC0415 -- an extra
    except ModuleNotFoundError as error:
        if error.name != "asyncssh":
            raise
        raise config.SettingsError({"PVE402_SSH_BIND": _NO_LIBRARY}) from None
    key = host_key.of(secret_vault.key(host_key.PURPOSE))
    name, port = settings.ssh_address
    access = way.Way(host=name, port=port, public_key=host_key.public_text(key))
    believed = proxies.Proxies(settings.pve402_ssh_proxies)
    within = inside.of(work, leases.find, leases.wake_for)
    return host.JumpHost(settings.pve402_ssh_bind, key, access, within, proxies=believed)

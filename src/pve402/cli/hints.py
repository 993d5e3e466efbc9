"""What to type after a refusal, where the service can only name what programs send."""

from typing import Final

from pve402 import client

_BY_CODE: Final = {
    "credential_required": "give --ssh-key FILE, or set PVE402_ROOT_PASSWORD",
    "fork_needs_stop": "`pve402 stop` stops it, `pve402 start` starts it again",
    "guest_not_running": "`pve402 start` starts it, or wakes it if it is paused",
    "has_snapshots": "--delete-snapshots deletes them with it",
    "lease_not_ready": "`pve402 show` says how it is, `pve402 renew` brings it back after its end",
    "needs_restart": "--allow-restart lets the service restart it",
    "stop_first": "`pve402 stop` stops it, --snapshot NAME saves one of its snapshots",
    "unknown_template": "`pve402 catalogue` lists the images on sale, `pve402 images` your own",
}


def of(error: client.ClientError) -> str | None:
    """Return what the tenant may type next, if a command or an option helps."""
    return _BY_CODE.get(error.code) if isinstance(error, client.Refused) else None

"""Hands a warm-pool guest to its tenant: sets host name, root password, SSH keys.

Proxmox VE sets these when it creates or starts a guest; in a running guest we set them through its
terminal. All values go through the program's standard input, the password as a hash, so that they
never appear on a command line in the guest. We write the files the way Proxmox VE does, using only
the shell and replacing each file in one move. So no tool in the guest can refuse a password that
was paid for, and re-keying is idempotent.
"""

import asyncio

from pve402.domain import errors, lease, private_images
from pve402.guests import guest_work, host_keys, password_hash
from pve402.hub import hub
from pve402.hub.request import ExecRequest
from pve402.leases import machine, warm_guests, workflow

_LIMIT_SECONDS = 10.0

_CHECK = """
for tool in cat chmod cp mkdir mv; do command -v $tool >/dev/null || exit 3; done
test -w /etc && test -w /etc/hostname && test -w /etc/shadow && test -d /root
"""

_REKEY = r"""
set -eu
umask 077
IFS= read -r name
IFS= read -r hash
short=${name%%.*}
words=$name
[ "$name" = "$short" ] || words="$name $short"
read -r old </etc/hostname || :
rewrite() {
  cp -p "$1" "$1.pve402"
  while IFS= read -r line || [ -n "$line" ]; do
    "$2"
    printf '%s\n' "$line"
  done <"$1" >"$1.pve402"
  mv "$1.pve402" "$1"
}
in_hosts() {
  case "$line " in
    *[[:space:]]"$old"[[:space:]]*) line="${line%%"$old"*}$words${line#*"$old"}" ;;
  esac
}
in_shadow() {
  case $line in
    root:*) line=root:$hash:${line#root:*:} ;;
  esac
}
if [ -f /etc/hosts ] && [ -n "$old" ] && [ "$old" != "$short" ]; then
  rewrite /etc/hosts in_hosts
fi
printf '%s\n' "$short" >/etc/hostname
chmod 644 /etc/hostname
{ hostname "$name" || printf '%s' "$name" >/proc/sys/kernel/hostname; } 2>/dev/null || :
[ -z "$hash" ] || rewrite /etc/shadow in_shadow
keys=$(cat)
if [ -n "$keys" ]; then
  mkdir -p /root/.ssh
  printf '%s\n' "$keys" >/root/.ssh/authorized_keys.pve402
  mv /root/.ssh/authorized_keys.pve402 /root/.ssh/authorized_keys
fi
"""

_LOCKED = "*"
_FORGET_KEYS = """
[ -n "$keys" ] || rm -f /root/.ssh/authorized_keys
"""


class TerminalRekeying:
    """Re-keys through a session, which stays open for the tenant's first command."""

    def __init__(self, terminal: hub.Hub) -> None:
        self._hub = terminal

    async def check(self, row: lease.Lease) -> None:
        """Check that a shell answers and has what we need. Raises warm_guests.NotReady.

        A clone gets SSH host keys of its own, which is no tenant's doing.
        """
        try:
            code = await self._run(row, _CHECK) or await self._renew_host_keys(row)
        except (errors.Pve402Error, TimeoutError) as error:
            raise warm_guests.NotReady(workflow.reason_of(error)) from error
        if code:
            raise warm_guests.NotReady(f"a tool or a file is missing in the guest ({code})")

    async def rekey(self, row: lease.Lease, secrets: machine.Secrets) -> None:
        """Set host name, password and keys. Raises RetryLater until all of them are set.

        What opened the container that a private image was saved from opens no copy of it.
        """
        is_copy = private_images.chosen(row.template) is not None
        hashed, command = (_LOCKED, _REKEY + _FORGET_KEYS) if is_copy else ("", _REKEY)
        if secrets.password is not None:
            hashed = await asyncio.to_thread(password_hash.hash_password, secrets.password)
        lines = (row.hostname, hashed, *secrets.ssh_public_keys)
        try:
            code = await self._renew_host_keys(row)
            code = code or await self._run(
                row, command, "".join(f"{line}\n" for line in lines).encode()
            )
        except (errors.Pve402Error, TimeoutError) as error:
            raise workflow.RetryLater(f"not re-keyed: {workflow.reason_of(error)}") from error
        if code:
            raise workflow.RetryLater(f"not re-keyed: exit code {code}")

    async def leave(self, row: lease.Lease) -> None:
        """Close the guest's session, so that the replica that sells the guest can open its own."""
        await self._hub.close_guest(guest_work.ref(row))

    async def _renew_host_keys(self, row: lease.Lease) -> int:
        return 0 if row.base is None else await self._run(row, host_keys.renewal(row.lease_id))

    async def _run(self, row: lease.Lease, command: str, stdin: bytes | None = None) -> int:
        wish = ExecRequest(
            command=command,
            stdin=stdin,
            timeout_seconds=_LIMIT_SECONDS,
            has_variables=False,
            is_ours=True,
        )
        async with asyncio.timeout(2 * _LIMIT_SECONDS):
            return (await self._hub.exec(guest_work.ref(row), wish)).exit_code

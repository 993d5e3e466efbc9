"""The SSH keys that may log in to a guest as root, and the guest's own host keys.

They are read from the guest and written there: a tenant may change the file by hand.
"""

import asyncio
import base64
import hashlib
import weakref
from dataclasses import dataclass
from typing import Final

from pve402.domain import errors, ssh_keys
from pve402.hub import errors as hub_errors
from pve402.hub import guest_scripts, hub
from pve402.proxmox.guests import GuestRef

_MOST_BYTES: Final = 256 * 1024
_MOST_KEYS: Final = 256


class KeyMissing(errors.Pve402Error):
    """No key of the guest has this fingerprint."""

    detail = "No key of this container has this fingerprint."
    code = "key_missing"


@dataclass(frozen=True, kw_only=True)
class Key:
    """One line of the file; the fingerprint is empty if we cannot read the line as a key."""

    line: str
    fingerprint: str


class SshKeys:
    """Lists and changes keys, one change at a time in each guest."""

    def __init__(self, terminal: hub.Hub) -> None:
        self._hub = terminal
        self._turns: weakref.WeakValueDictionary[GuestRef, asyncio.Lock] = (
            weakref.WeakValueDictionary()
        )

    async def authorized(self, guest: GuestRef) -> list[Key]:
        """The keys in the file. Raises what `Hub.exec` raises."""
        lines = (await self._run(guest, "keys", "list")).splitlines()
        found = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
        return [Key(line=line, fingerprint=fingerprint(line)) for line in found[:_MOST_KEYS]]

    async def host_keys(self, guest: GuestRef) -> list[str]:
        """The guest's public host keys, as `type base64`; none where OpenSSH is missing."""
        try:
            lines = (await self._run(guest, "sshd", "host-keys")).splitlines()
        except hub_errors.FileRefused:
            return []
        return [" ".join(line.split()[:2]) for line in lines if fingerprint(line)]

    async def add(self, guest: GuestRef, line: str) -> None:
        """Let a key log in; idempotent. Raises InvalidSshKey, FileRefused."""
        key = ssh_keys.tidy(line)
        try:
            ssh_keys.check(key)
        except ssh_keys.BadKey as reason:
            raise errors.InvalidSshKey(f"the key cannot be used: {reason}") from None
        async with self._turn(guest):
            await self._run(guest, "keys", "add", key)

    async def remove(self, guest: GuestRef, wanted: str) -> None:
        """Stop a key from logging in. Raises KeyMissing, FileRefused."""
        async with self._turn(guest):
            lines = {key.line for key in await self.authorized(guest) if key.fingerprint == wanted}
            if not wanted or not lines:
                raise KeyMissing
            for line in lines:
                await self._run(guest, "keys", "remove", line)

    def _turn(self, guest: GuestRef) -> asyncio.Lock:
        return self._turns.setdefault(guest, asyncio.Lock())

    async def _run(self, guest: GuestRef, script: str, *arguments: str) -> str:
        wish = guest_scripts.request(script, *arguments, output_limit_bytes=_MOST_BYTES)
        done = await self._hub.exec(guest, wish)
        if done.exit_code != 0:
            raise hub_errors.FileRefused
        return done.stdout.decode("utf-8", "replace")


def fingerprint(line: str) -> str:
    """The fingerprint that `ssh-keygen -l` shows; empty if the line is not a plain key."""
    key = ssh_keys.tidy(line)
    try:
        ssh_keys.check(key)
    except ssh_keys.BadKey:
        return ""
    digest = hashlib.sha256(base64.b64decode(key.split()[1])).digest()
    return f"SHA256:{base64.b64encode(digest).decode().rstrip('=')}"

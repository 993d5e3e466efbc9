"""What a tenant requests, parsed and checked; prices depend on these values alone."""

import dataclasses
import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from typing import Any

from pve402.domain import catalogue, errors, idling, lease, ssh_keys, user_data, variables

_LABEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
_MAX_PASSWORD = 128
_CAME_LATER = frozenset(
    {"wake_on", "env", "user_data", "user_data_skips_network", "idle_pause_minutes"}
    | {"fork_of", "snapshot", "others"}
)
_IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e]{22,255}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class CreationRequest:
    """A container to be leased. The password never appears in a repr."""

    sku: str
    minutes: int
    hostname: str | None  # None: derived from the sku's name and the lease id
    size: lease.Size
    template: str | None = None
    password: str | None = dataclasses.field(default=None, repr=False)
    ssh_public_keys: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = dataclasses.field(default_factory=dict, repr=False)
    env: Mapping[str, str] = dataclasses.field(default_factory=dict, repr=False)
    user_data: str | None = dataclasses.field(default=None, repr=False)
    wake_on: tuple[str, ...] = ()  # values of power.Use, each once
    user_data_skips_network: bool = False  # it runs while the guest may not be connected
    idle_pause_minutes: int | None = None  # None: it is not paused by itself
    fork_of: str | None = None  # the lease whose guest is copied, with its keys and password
    snapshot: str | None = None  # the one of that guest that is copied, by its tenant's name
    others: int = 0  # containers like it that the same payment buys; only for forks

    def check(self, sku_catalogue: catalogue.Catalogue) -> catalogue.Sku:
        """Return the sku; raises the InvalidRequest that says what cannot be sold."""
        sku = sku_catalogue.sku(self.sku)
        sku.check(self.size, self.minutes)
        if self.hostname is not None:
            check_hostname(self.hostname)
            check_hostname(self.named(self.others))
        sku.template_volume(self.template, "")
        if self.password is None and not self.ssh_public_keys and self.fork_of is None:
            raise errors.CredentialRequired
        if self.password is not None:
            check_password(self.password)
        check_ssh_keys(self.ssh_public_keys)
        variables.check(self.env)
        if self.user_data is not None:
            user_data.check(self.user_data)
        if self.wake_on and not sku.rates.paused_usd_minute:
            raise errors.OutOfBounds("wakeOn: containers of this sku cannot be paused")
        if self.idle_pause_minutes is not None:
            check_idle_pause(self.idle_pause_minutes)
            if not sku.rates.paused_usd_minute:
                raise errors.OutOfBounds(
                    "idlePauseMinutes: containers of this sku cannot be paused"
                )
        return sku

    @property
    def count(self) -> int:
        """How many containers are bought at once."""
        return 1 + self.others

    def named(self, number: int) -> str:
        """Return the host name of one of several containers: `web`, `web-2`, `web-3`."""
        label, dot, rest = (self.hostname or "").partition(".")
        return f"{label}-{number + 1}{dot}{rest}" if number and label else label + dot + rest

    def canonical(self) -> dict[str, Any]:
        """Return everything that makes two requests the same, secrets included.

        What came later is left out while it is not used, so that an order of before has its hash.
        """
        given = dataclasses.asdict(self)
        return {name: value for name, value in given.items() if value or name not in _CAME_LATER}

    def kept(self) -> dict[str, Any]:
        """Return what is stored with the lease for its owner to read back: no secrets."""
        given = {
            "template": self.template,
            "sshPublicKeys": list(self.ssh_public_keys),
            "env": sorted(self.env),
            "userData": self.user_data is not None,
            "wakeOn": list(self.wake_on),
            "idlePauseMinutes": self.idle_pause_minutes,
        }
        return {**self.metadata, **{name: value for name, value in given.items() if value}}


@dataclasses.dataclass(frozen=True, kw_only=True)
class RenewalRequest:
    """More minutes for a lease."""

    lease_id: str
    minutes: int

    def canonical(self) -> dict[str, Any]:
        """Return everything that makes two requests the same."""
        return dataclasses.asdict(self)


def fingerprint(route: str, canonical: Mapping[str, Any], key: bytes) -> str:
    """Return a keyed hash of a request; the key prevents guessing a password from the hash."""
    text = json.dumps([route, canonical], sort_keys=True, ensure_ascii=False)
    return hmac.new(key, text.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()


def default_hostname(sku: str, lease_id: str) -> str:
    """Return the host name of a lease requested without one: always the same for a given lease."""
    label = re.sub("[^a-z0-9]+", "-", sku.lower())[:56].strip("-") or "lease"
    return f"{label}-{hashlib.sha256(lease_id.encode()).hexdigest()[:6]}"


def check_idle_pause(minutes: int) -> None:
    """Raise OutOfBounds unless a lease may be paused after so many idle minutes."""
    least, most = idling.LEAST_MINUTES, idling.MOST_MINUTES
    if not least <= minutes <= most:
        raise errors.OutOfBounds(f"idlePauseMinutes: must be from {least} to {most}")


def check_hostname(hostname: str) -> None:
    """Raise InvalidHostname unless it is a valid RFC 1123 name.

    Proxmox VE refuses underscores, but accepts 64 characters, which Linux cannot set; a total of 63
    is the safe limit.
    """
    labels = hostname.split(".")
    if len(hostname) > 63 or not all(_LABEL.fullmatch(label) for label in labels):
        raise errors.InvalidHostname


def check_password(password: str) -> None:
    """Raise InvalidPassword outside 5 (Proxmox's minimum) to 128 printable characters."""
    if not 5 <= len(password) <= _MAX_PASSWORD or not password.isprintable():
        raise errors.InvalidPassword


def check_ssh_keys(keys: tuple[str, ...]) -> None:
    """Raise InvalidSshKey, which says which key and why, unless OpenSSH reads each; at most 16."""
    if len(keys) > ssh_keys.LARGEST_KEYS:
        raise errors.InvalidSshKey(f"Send at most {ssh_keys.LARGEST_KEYS} SSH public keys.")
    for number, key in enumerate(keys, 1):
        try:
            ssh_keys.check(key)
        except ssh_keys.BadKey as error:
            which = "The SSH public key" if len(keys) == 1 else f"SSH public key {number}"
            raise errors.InvalidSshKey(f"{which} cannot be used: {error}.") from None


def check_idempotency_key(key: str) -> None:
    """Raise InvalidIdempotencyKey unless the key is long enough for 128 random bits."""
    if not _IDEMPOTENCY_KEY.fullmatch(key):
        raise errors.InvalidIdempotencyKey

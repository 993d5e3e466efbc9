"""Reads tenants' credentials: wallet key, SSH keys, password. None is ever shown."""

import contextlib
import functools
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final, NoReturn

import typer

from pve402 import client, schemas
from pve402.cli import profile, terminal

KEY_VARIABLE: Final = profile.KEY_VARIABLE
TOKEN_VARIABLE: Final = "PVE402_TOKEN"  # noqa: S105 -- its name
URL_VARIABLE: Final = "PVE402_URL"
_PRIVATE_KEY: Final = re.compile(r"(0x)?[0-9a-fA-F]{64}")


def holder(url: str, token: str | None) -> client.Client:
    """Return a client that uses the token, those of held leases, or the wallet; all are free."""
    if _is_for(url, token) and token:
        return client.Client(url, token=token)
    held = leases(url)
    key = wallet_key(url)
    if key is None and not held:
        _no_key()
    return client.Client(url, key=key, held=held)


def buyer(url: str, token: str | None = None) -> client.Client:
    """Return a client whose wallet can pay. Exits with 2 if there is no wallet."""
    key = wallet_key(url)
    if key is None:
        _no_key()
    known = token if _is_for(url, token) else None
    return client.Client(url, key=key, token=known, held=leases(url))


def _is_for(url: str, token: str | None) -> bool:
    """Whether a token may go to a service: one from the environment only to that of PVE402_URL.

    Without PVE402_URL, it is for the current service, if there is one.
    """
    if not token or not token.strip():
        return False
    if token != os.environ.get(TOKEN_VARIABLE):
        return True
    with terminal.told():
        named = os.environ.get(URL_VARIABLE, "").strip()
        if not named and profile.load().current is None:
            return True
        own = profile.url_of(named)
        if client.address.origin(own) == client.address.origin(url):
            return True
    terminal.say(f"{TOKEN_VARIABLE} is for {client.plain(own, 200)} and is not sent elsewhere")
    return False


def wallet_key(url: str) -> str | Callable[[], str] | None:
    """Return the key of the wallet for a service, or what fetches it; None if there is none.

    Exits with 2 if the environment holds something other than a key.
    """
    if key := environment_key():
        return key
    with terminal.told():
        wallet = profile.load().wallet_of(url)
    return None if wallet is None else functools.partial(profile.key_of, wallet)


def environment_key() -> str:
    """The key in the environment, if there is one. Exits with 2 if it is none."""
    key = os.environ.get(KEY_VARIABLE, "").strip()
    if key and not _PRIVATE_KEY.fullmatch(key):
        terminal.misused(f"{KEY_VARIABLE} is not a private key: 0x and 64 hexadecimal digits")
    return key


def leases(url: str) -> list[client.held.Held]:
    """The leases at a service that this user has tokens of; none for what is no address."""
    with contextlib.suppress(client.AddressInvalid), terminal.told():
        return client.held.Leases().of(url)
    return []


def keep(url: str, lease: schemas.LeaseAnswer | schemas.LeaseItem, token: str | None) -> bool:
    """Keep the token of a lease; if it cannot be kept, say why, and return false."""
    one = client.held.Held.of(lease, token)
    if one is None:
        return False
    try:
        client.held.Leases().keep(url, one)
    except client.NotesUnusable as error:
        terminal.say(error)
        return False
    return True


def drop(url: str, lease_id: str) -> None:
    """Forget the token of a lease that is over, if it can be forgotten."""
    with contextlib.suppress(client.NotesUnusable):
        client.held.Leases().forget(url, lease_id)


def _no_key() -> NoReturn:
    terminal.misused(
        f"there is no wallet for this service: run `pve402 login URL`, or set {KEY_VARIABLE} to the"
        " private key of the wallet that pays"
    )


def public_key(file: Path) -> str:
    """Return the SSH public key in a file. Exits with 2 if the file has none."""
    try:
        text = file.read_text().strip()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is not text"
        terminal.misused(f"{file}: {reason}")
    if "PRIVATE KEY" in text:
        terminal.misused(f"{file}: this is a private key; give the public one, {file.name}.pub")
    return text


def root_password() -> str:
    """Return the password for the container's root user."""
    given = os.environ.get("PVE402_ROOT_PASSWORD")
    if given:
        return given
    if not sys.stdin.isatty():
        terminal.misused("give --ssh-key or set PVE402_ROOT_PASSWORD")
    asked: str = typer.prompt("Root password", hide_input=True, confirmation_prompt=True)
    return asked

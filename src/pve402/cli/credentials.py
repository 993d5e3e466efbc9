"""Reads tenants' credentials: wallet key, SSH keys, password. None is ever shown."""

import os
import re
import sys
from pathlib import Path
from typing import Final

import typer

from pve402 import client
from pve402.cli import terminal

KEY_VARIABLE: Final = "PVE402_WALLET_KEY"
_PRIVATE_KEY: Final = re.compile(r"(0x)?[0-9a-fA-F]{64}")


def holder(url: str, token: str | None) -> client.Client:
    """Return a client that uses the token, or signs in with the wallet; both are free."""
    if token and token.strip():
        return client.Client(url, token=token)
    return client.Client(url, key=wallet_key())


def wallet_key() -> str:
    """Return the wallet's private key. Exits with 2 if there is none."""
    key = os.environ.get(KEY_VARIABLE, "").strip()
    if not key:
        terminal.misused(f"set {KEY_VARIABLE} to the private key of the wallet that pays")
    if not _PRIVATE_KEY.fullmatch(key):
        terminal.misused(f"{KEY_VARIABLE} is not a private key: 0x and 64 hexadecimal digits")
    return key


def public_key(file: Path) -> str:
    """Return the SSH public key in a file. Exits with 2 if the file has none."""
    try:
        text = file.read_text().strip()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is not text"
        terminal.misused(f"--ssh-key {file}: {reason}")
    if "PRIVATE KEY" in text:
        terminal.misused(
            f"--ssh-key {file}: this is a private key; give the public one, {file.name}.pub"
        )
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

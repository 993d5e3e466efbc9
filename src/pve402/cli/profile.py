"""The services and wallets that the user has named, kept in `config.json` for this user alone.

A wallet's key is in a file, in the environment, or fetched by a command from a keyring; this file
only says where.
"""

import contextlib
import fcntl
import json
import os
import re
import shlex
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, Field, ValidationError

from pve402 import client
from pve402.client import private

KEY_VARIABLE: Final = "PVE402_WALLET_KEY"
LOCAL_URL: Final = "http://127.0.0.1:4021"
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")

_PRIVATE_KEY: Final = re.compile(r"(0x)?[0-9a-fA-F]{64}")
_LARGEST_BYTES: Final = 1024 * 1024
_COMMAND_SECONDS: Final = 120.0


class KeptWallet(BaseModel):
    """A wallet and where its key is."""

    address: str
    source: Literal["file", "env", "command"]
    where: str


class KeptService(BaseModel):
    """A service and the wallet that pays it."""

    url: str
    wallet: str | None = None


class Profile(BaseModel):
    """All that the user has named."""

    current: str | None = None
    services: dict[str, KeptService] = Field(default_factory=dict)
    wallets: dict[str, KeptWallet] = Field(default_factory=dict)

    def service_of(self, url: str) -> KeptService | None:
        """The named service at this address."""
        for service in self.services.values():
            with contextlib.suppress(client.AddressInvalid):
                if client.address.origin(service.url) == client.address.origin(url):
                    return service
        return None

    def wallet_of(self, url: str) -> KeptWallet | None:
        """The wallet that pays at this address: the service's own, or the only one there is."""
        service = self.service_of(url)
        if service is not None and service.wallet is not None:
            return self.wallets.get(service.wallet)
        return next(iter(self.wallets.values())) if len(self.wallets) == 1 else None


def path() -> Path:
    """The file."""
    return private.config_folder() / "config.json"


def load() -> Profile:
    """Read the file; empty if there is none. Raises NotesUnusable."""
    try:
        text = path().read_bytes()[:_LARGEST_BYTES]
    except FileNotFoundError:
        return Profile()
    except OSError as error:
        raise client.NotesUnusable(f"{path()}: {error.strerror}") from None
    try:
        return Profile.model_validate_json(text)
    except ValidationError:
        raise client.NotesUnusable(f"{path()} cannot be read; mend or remove it") from None


@contextlib.contextmanager
def changed() -> Iterator[Profile]:
    """Lock the file for the block, and write what the block changed. Raises NotesUnusable."""
    try:
        lock = path().with_name(".config.lock")
        private.ensure(lock)
        with lock.open("r+") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            found = load()
            yield found
            private.write(path(), json.dumps(found.model_dump(mode="json"), indent=2) + "\n")
    except OSError as error:
        raise client.NotesUnusable(f"{path()} cannot be written: {error.strerror}") from None


def url_of(text: str) -> str:
    """The address of a service by its name or address; of the current one if there is no text."""
    known = load()
    name = text.strip() or known.current
    if not name:
        return LOCAL_URL
    return known.services[name].url if name in known.services else name


def key_of(wallet: KeptWallet) -> str:
    """Fetch a wallet's key. Raises KeyInvalid, which says where it looked and never what it saw."""
    if wallet.source == "env":
        found, where = os.environ.get(wallet.where, ""), wallet.where
    elif wallet.source == "file":
        found, where = _from_file(Path(wallet.where)), wallet.where
    else:
        found, where = _from_command(wallet.where), "the key's command"
    if not _PRIVATE_KEY.fullmatch(found.strip()):
        raise client.KeyInvalid(f"{where} has no private key: 0x and 64 hexadecimal digits")
    return found.strip()


def keys_file(name: str) -> Path:
    """Where we keep the key of a wallet ourselves."""
    return private.config_folder() / "wallets" / f"{name}.key"


def as_json(known: Profile) -> Any:
    """All of it, which has no secrets."""
    return known.model_dump(mode="json")


def _from_file(file: Path) -> str:
    try:
        if stat.S_IMODE(file.stat().st_mode) & 0o077:
            raise client.KeyInvalid(f"{file} can be read by others; run: chmod 600 {file}")
        return file.read_text(encoding="utf-8")[:1000]
    except OSError as error:
        raise client.KeyInvalid(f"{file}: {error.strerror}") from None
    except ValueError:
        return ""


def _from_command(command: str) -> str:
    try:
        done = subprocess.run(  # noqa: S603 -- the user's own command, without a shell
            shlex.split(command),
            stdout=subprocess.PIPE,
            timeout=_COMMAND_SECONDS,
            check=True,
            text=True,
        )
    except (OSError, ValueError, subprocess.SubprocessError):
        raise client.KeyInvalid("the command that fetches the key failed") from None
    return done.stdout

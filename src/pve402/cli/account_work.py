"""The work of `login`, `logout`, `use` and `services`."""

import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import typer

from pve402 import client
from pve402.cli import calls, credentials, exit_codes, profile, terminal
from pve402.client import private
from pve402.client.wallet import Wallet

_MAIN: Final = "main"
_LARGEST_KEY: Final = 1000
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where the user says that a key is."""

    file: Path | None = None
    variable: str | None = None
    command: str | None = None

    @property
    def count(self) -> int:
        """How many places these are."""
        return sum(place is not None for place in (self.file, self.variable, self.command))


@dataclass(frozen=True, kw_only=True)
class _Chosen:
    """The wallet to pay with; `typed` is its key if that is to be kept once it is good."""

    name: str
    kept: profile.KeptWallet
    typed: str = field(default="", repr=False)


def login(
    url: str, name: str | None, wallet: str | None, source: Source, *, as_json: bool = False
) -> None:
    """Name a service and its wallet, once the service has taken the wallet's signature."""
    if source.count > 1:
        terminal.misused("give one of --key-file, --key-env and --key-command")
    with terminal.told():
        url = client.address.checked(url)
        name = _name(name or urlsplit(url).hostname or "")
        wallet = None if wallet is None else _name(wallet)
        chosen = _wallet(wallet, source)
        key = chosen.typed or profile.key_of(chosen.kept)

    async def signed_in(service: client.Client) -> client.Client:
        await service.catalogue()
        await service.log_in()
        return service

    calls.run(client.Client(url, key=key), signed_in)
    with terminal.told(), profile.changed() as known:
        _check_same(chosen, known)
        if chosen.typed:
            save_key(chosen.name, chosen.typed)
        known.wallets[chosen.name] = chosen.kept
        known.services[name] = profile.KeptService(url=url, wallet=chosen.name)
        known.current = name
    if as_json:
        terminal.show_facts(
            {"name": name, "url": url, "wallet": chosen.name, "address": chosen.kept.address}
        )
        return
    terminal.say(f"{name} is {url}, paid by wallet {chosen.name} ({chosen.kept.address})")
    terminal.say("next: `pve402 catalogue`, `pve402 lease --hostname web`")


def logout(name: str) -> None:
    """Forget a service and the tokens for it."""
    with terminal.told(), profile.changed() as known:
        service = known.services.pop(name, None)
        if service is None:
            raise typer.Exit(_unknown(name, known))
        if known.current == name:
            known.current = next(iter(known.services), None)
        store = client.held.Leases()
        for one in store.of(service.url):
            store.forget(service.url, one.lease_id)
    terminal.say(f"{name} is forgotten; `pve402 token LEASE` gets new tokens with the wallet")


def use(name: str) -> None:
    """Make a service the current one."""
    with terminal.told(), profile.changed() as known:
        if name not in known.services:
            raise typer.Exit(_unknown(name, known))
        known.current = name
    terminal.say(f"commands go to {known.services[name].url} now")


def show_services(*, as_json: bool) -> None:
    """Show the named services; a star marks the current one."""
    with terminal.told():
        known = profile.load()
    if as_json:
        terminal.show_facts(profile.as_json(known))
    elif known.services:
        rows = [
            ("*" if name == known.current else "", name, service.url, service.wallet or "")
            for name, service in known.services.items()
        ]
        terminal.show_columns([("", "name", "address", "wallet"), *rows])
    else:
        terminal.say("no service is named yet: run `pve402 login URL`")


def save_key(name: str, key: str) -> profile.KeptWallet:
    """Keep a key in a file of our own. Raises KeyInvalid, OSError."""
    address = Wallet(key).address
    file = profile.keys_file(name)
    try:
        private.write(file, key.strip() + "\n", replaces=False)
    except FileExistsError:
        if file.read_text(encoding="utf-8").strip() != key.strip():
            terminal.misused(f"there is a wallet {name} already: {file}")
    return profile.KeptWallet(address=address, source="file", where=str(file))


def _wallet(wallet: str | None, source: Source) -> _Chosen:
    """The wallet to pay with: by its name, from the given place, or as asked for."""
    known = profile.load()
    if source.count:
        chosen = _from(wallet or _free_name(known), source)
        _check_same(chosen, known)
        return chosen
    if wallet is not None:
        if wallet not in known.wallets:
            terminal.misused(f"there is no wallet {wallet}: run `pve402 wallet new {wallet}`")
        return _Chosen(name=wallet, kept=known.wallets[wallet])
    if len(known.wallets) == 1:
        ((name, kept),) = known.wallets.items()
        return _Chosen(name=name, kept=kept)
    if known.wallets:
        terminal.misused(f"name one of your wallets with --wallet: {', '.join(known.wallets)}")
    return _first()


def _check_same(chosen: _Chosen, known: profile.Profile) -> None:
    """Refuse to put another key under a name: the place of the first would be forgotten."""
    had = known.wallets.get(chosen.name)
    if had is not None and had.address.lower() != chosen.kept.address.lower():
        terminal.misused(
            f"the wallet {chosen.name} has another key, of {had.address}; choose a new name"
        )


def _first() -> _Chosen:
    """The first wallet of all: in the environment, or asked for."""
    if credentials.environment_key():
        return _from(_MAIN, Source(variable=profile.KEY_VARIABLE))
    if not terminal.can_ask():
        terminal.misused("give --key-file, --key-env or --key-command, or run `pve402 wallet new`")
    key: str = typer.prompt("Private key of your wallet", hide_input=True, err=True)
    return _typed(_MAIN, key)


def _from(name: str, source: Source) -> _Chosen:
    """A wallet whose key is in a place that the user named."""
    if source.file == Path("-"):
        return _typed(name, sys.stdin.read(_LARGEST_KEY))
    if source.file is not None:
        kept = profile.KeptWallet(address="", source="file", where=str(source.file.absolute()))
    elif source.variable is not None:
        if not _VARIABLE.fullmatch(source.variable):
            terminal.misused("--key-env takes the name of a variable, not the key itself")
        kept = profile.KeptWallet(address="", source="env", where=source.variable)
    else:
        kept = profile.KeptWallet(address="", source="command", where=source.command or "")
    address = Wallet(profile.key_of(kept)).address
    return _Chosen(name=name, kept=kept.model_copy(update={"address": address}))


def _typed(name: str, text: str) -> _Chosen:
    key, file = text.strip(), str(profile.keys_file(name))
    kept = profile.KeptWallet(address=Wallet(key).address, source="file", where=file)
    return _Chosen(name=name, kept=kept, typed=key)


def _free_name(known: profile.Profile) -> str:
    names = (_MAIN, *(f"{_MAIN}-{number}" for number in range(2, 1000)))
    return next(name for name in names if name not in known.wallets)


def _name(text: str) -> str:
    if not profile.NAME.fullmatch(text):
        terminal.misused(f"{client.plain(text, 80)!r} cannot be a name; use letters and digits")
    return text


def _unknown(name: str, known: profile.Profile) -> int:
    terminal.say(f"no service is named {client.plain(name, 80)}: {', '.join(known.services)}")
    return exit_codes.USAGE

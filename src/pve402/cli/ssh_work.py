"""The work of `ssh`, `ssh-config`, `tunnel` and `keys`."""

import asyncio
import contextlib
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn

import typer

from pve402 import client, schemas
from pve402.cli import calls, credentials, exit_codes, terminal
from pve402.client import threads

_NO_SERVER: Final = (
    "this container has no SSH server; add one with `pve402 exec {name} -- apt-get install -y"
    " openssh-server` (Debian, Ubuntu) or `apk add openssh` (Alpine); shell, exec and cp work"
    " without it"
)
_LARGEST_KEY_BYTES: Final = 16 * 1024


@dataclass(frozen=True, kw_only=True)
class _Way:
    """What ssh needs to know to reach a container."""

    name: str
    lease_id: str
    url: str
    known_hosts: Path
    identity: Path
    authorization: str

    @property
    def alias(self) -> str:
        """The name that ssh has for the container's host key."""
        return f"pve402-{self.lease_id}"

    @property
    def options(self) -> dict[str, str]:
        """Options of ssh_config(5)."""
        proxy = [*_ourselves(), "tunnel", self.lease_id, "--url", self.url]
        return {
            "HostName": self.alias,
            "HostKeyAlias": self.alias,
            "User": "root",
            "ProxyCommand": shlex.join(proxy).replace("%", "%%"),
            "UserKnownHostsFile": f'"{self.known_hosts}"',
            "StrictHostKeyChecking": "yes",
            "IdentityFile": f'"{self.identity}"',
        }


def log_in(
    url: str, token: str | None, name: str, words: Sequence[str], identity: Path | None
) -> NoReturn:
    """Become ssh."""
    way = _prepared(url, token, name, identity)
    options = [f"-o{option}={value}" for option, value in way.options.items()]
    leading = _leading_options(words)
    os.environ.update(
        {credentials.TOKEN_VARIABLE: way.authorization, credentials.URL_VARIABLE: way.url}
    )
    try:
        os.execvp("ssh", ["ssh", *options, *leading, way.alias, *words[len(leading) :]])  # noqa: S606, S607 -- the user's own ssh
    except OSError as error:
        terminal.say(f"ssh: {error.strerror}")
        raise typer.Exit(exit_codes.FAILED) from None


def show_config(url: str, token: str | None, name: str, identity: Path | None) -> None:
    """Print a Host stanza."""
    way = _prepared(url, token, name, identity)
    names = [name for name in (way.name, way.alias) if client.names.is_host_name(name)]
    lines = [f"Host {' '.join(dict.fromkeys(names))}"]
    lines += [f"  {option} {value}" for option, value in way.options.items()]
    typer.echo("\n".join(lines))


def tunnel(url: str, token: str | None, name: str) -> int:
    """Carry stdin and stdout to the container's SSH server. Returns its exit code."""
    wish = schemas.StreamSocketRequest(service="ssh")

    async def carried(service: client.Client) -> int:
        ctid = await client.names.resolve(service, name)
        async with client.streams.opened(service, ctid, wish) as stream:
            feeding = asyncio.create_task(_feed(stream))
            try:
                async with contextlib.aclosing(stream.output()) as output:
                    async for piece in output:
                        await terminal.write(1 if piece.stream == "stdout" else 2, piece.data)
            finally:
                feeding.cancel()
                await asyncio.gather(feeding, return_exceptions=True)
            return exit_codes.FAILED if stream.exit_code is None else stream.exit_code

    return calls.run(credentials.holder(url, token), carried)


def keys(
    url: str,
    token: str | None,
    name: str,
    add: Path | None,
    remove: str | None,
    *,
    as_json: bool,
) -> None:
    """Change the keys as asked, and show them."""
    line = None if add is None else credentials.public_key(add)

    async def changed(service: client.Client) -> schemas.KeysAnswer:
        ctid = await client.names.resolve(service, name)
        if line is not None:
            await client.keys.add(service, ctid, line)
        if remove is not None:
            await client.keys.remove(service, ctid, remove)
        return await client.keys.show(service, ctid)

    found = calls.run(credentials.holder(url, token), changed)
    if as_json:
        terminal.show(found, as_json=True)
    elif found.keys:
        terminal.show_columns([(key.fingerprint or "?", key.public_key) for key in found.keys])
    else:
        terminal.say("no SSH key may log in to this container; --add lets one in")


async def _feed(stream: client.streams.Stream) -> None:
    async for data in terminal.stdin():
        await stream.write(data)
    await stream.end_input()


def _prepared(url: str, token: str | None, name: str, identity: Path | None) -> _Way:
    """Find the lease, let a key of ours in, and write its host keys down."""
    folder = _folder()
    private = identity or _own_key(folder)
    public = credentials.public_key(private.with_name(f"{private.name}.pub"))

    async def prepared(service: client.Client) -> _Way:
        ctid = await client.names.resolve(service, name)
        lease = _checked(await service.show(ctid))
        found = await client.keys.add(service, ctid, public)
        if not found.host_keys:
            raise _NoServer(_NO_SERVER.format(name=name))
        bearer = (await service.authorization(ctid))["Authorization"]
        way = _Way(
            name=lease.hostname,
            lease_id=lease.lease_id,
            url=service.url,
            known_hosts=folder / "known_hosts",
            identity=private.absolute(),
            authorization=bearer.partition(" ")[2],
        )
        await threads.run(_note_host, way, found.host_keys)
        return way

    return calls.run(credentials.holder(url, token), prepared, code_of=_code_of)


def _checked(lease: schemas.LeaseItem) -> schemas.LeaseItem:
    """Refuse a leaseId that would be more than a name in ssh's configuration."""
    if not client.names.is_lease_id(lease.lease_id):
        raise client.UnexpectedAnswer("the service names the lease by what is no leaseId")
    return lease


class _NoServer(client.ClientError):
    """The container has no SSH server."""


def _code_of(error: client.ClientError) -> int:
    return exit_codes.NOT_NOW if isinstance(error, _NoServer) else exit_codes.of(error)


def _note_host(way: _Way, host_keys: Sequence[str]) -> None:
    """Replace the host keys of one lease in our file of known hosts."""
    way.known_hosts.touch(mode=0o600)
    before = way.known_hosts.read_text().splitlines()
    kept = [line for line in before if not line.startswith(f"{way.alias} ")]
    lines = [*kept, *(f"{way.alias} {client.plain(key, _LARGEST_KEY_BYTES)}" for key in host_keys)]
    partial = way.known_hosts.with_name(f".known_hosts.{os.getpid()}")
    partial.write_text("".join(f"{line}\n" for line in lines))
    partial.chmod(0o600)
    partial.replace(way.known_hosts)


def _own_key(folder: Path) -> Path:
    """The key that we log in with; made at first use."""
    private = folder / "id_ed25519"
    if not private.exists():
        comment = f"pve402 {os.uname().nodename}"
        made = [
            *("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment),
            *("-f", str(private)),
        ]
        try:
            subprocess.run(made, check=True, stdin=subprocess.DEVNULL)  # noqa: S603 -- our words
        except (OSError, subprocess.CalledProcessError):
            terminal.misused("ssh-keygen made no key; install OpenSSH's client, or give --identity")
    return private


def _folder() -> Path:
    """Where we keep our key and the known hosts."""
    base = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    folder = Path(base) / "pve402"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def _ourselves() -> list[str]:
    """The command line of this program."""
    return [sys.executable, "-m", "pve402"]


def _leading_options(words: Sequence[str]) -> Sequence[str]:
    """The words before the remote command: ssh's own options with their values."""
    place = 0
    while place < len(words) and words[place].startswith("-"):
        letter = words[place][1:2]
        has_value = letter in _VALUED and len(words[place]) == 2
        place += 2 if has_value else 1
    return words[:place]


#: Options of ssh(1) that take a value.
_VALUED: Final = frozenset("BbcDEeFIiJLlmOopQRSWw")

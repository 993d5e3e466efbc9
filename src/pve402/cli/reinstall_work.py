"""The work of `reinstall`."""

import os
from collections.abc import Sequence
from pathlib import Path

from pve402 import client, schemas
from pve402.cli import calls, credentials, guest_work, holdings, terminal, user_data_work


def wish(
    *,
    template: str | None,
    ssh_key: Sequence[Path],
    env: list[str],
    user_data: Path | None,
    at_once: bool,
    delete_snapshots: bool,
) -> schemas.ReinstallRequest:
    """Return the request. Exits with 2 if a file cannot be read."""
    keys = [credentials.public_key(file) for file in ssh_key]
    return schemas.ReinstallRequest(
        template=template,
        password=None if keys else os.environ.get("PVE402_ROOT_PASSWORD") or None,
        ssh_public_keys=keys,
        env=guest_work.lease_environment(env),
        user_data=user_data_work.read(user_data),
        user_data_network=False if at_once else None,
        delete_snapshots=delete_snapshots,
    )


def show(url: str, token: str | None, name: str, *, as_json: bool) -> None:
    """Show the latest reinstallation."""

    async def asked(service: client.Client) -> schemas.ReinstallAnswer:
        return await client.reinstalls.show(service, await client.names.resolve(service, name))

    _show(calls.run(credentials.holder(url, token), asked), as_json=as_json)


def reinstall(
    url: str,
    token: str | None,
    name: str,
    wanted: schemas.ReinstallRequest,
    *,
    yes: bool,
    as_json: bool,
) -> None:
    """Reinstall after the user confirms, and show how far it is."""

    async def done(service: client.Client, ctid: str) -> schemas.ReinstallAnswer:
        return await client.reinstalls.reinstall(service, ctid, wanted)

    question = f"Destroy all files of {name} and make a fresh container?"
    answer = holdings.run_agreed(url, token, name, done, question=question, yes=yes)
    _show(answer, as_json=as_json)


def _show(answer: schemas.ReinstallAnswer, *, as_json: bool) -> None:
    if as_json:
        terminal.show(answer, as_json=True)
        return
    why = f": {answer.problem}" if answer.problem else ""
    state = "never reinstalled" if answer.state == "none" else answer.state
    terminal.say(f"{state}{why}; the lease ends {terminal.moment(answer.expires_at)}")

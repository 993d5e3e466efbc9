"""The work of `snapshots`, `snapshot` and `rollback`."""

from typing import Final

from pve402 import client, schemas
from pve402.cli import calls, credentials, holdings, terminal

_HEADS: Final = ("name", "state", "created", "USD per minute", "problem")


def show(url: str, token: str | None, name: str, *, delete: str | None, as_json: bool) -> None:
    """Show the snapshots, after deleting one of them if told to."""

    async def asked(service: client.Client) -> schemas.SnapshotsAnswer:
        ctid = await client.names.resolve(service, name)
        if delete is not None:
            return await client.snapshots.delete(service, ctid, delete)
        return await client.snapshots.show(service, ctid)

    answer = calls.run(credentials.holder(url, token), asked)
    if as_json:
        terminal.show(answer, as_json=True)
        return
    if answer.snapshots:
        terminal.show_columns([_HEADS, *map(_row, answer.snapshots)])
    terminal.say(_room(answer))


def take(url: str, token: str | None, name: str, snapshot: str, *, as_json: bool) -> None:
    """Take a snapshot, and show it."""

    async def done(service: client.Client) -> schemas.SnapshotItem:
        ctid = await client.names.resolve(service, name)
        return await client.snapshots.take(service, ctid, snapshot)

    terminal.show(calls.run(credentials.holder(url, token), done), as_json=as_json)


def roll_back(
    url: str, token: str | None, name: str, snapshot: str, *, yes: bool, as_json: bool
) -> None:
    """Roll back after the user confirms, and show the snapshot."""

    async def done(service: client.Client, ctid: str) -> schemas.SnapshotItem:
        return await client.snapshots.roll_back(service, ctid, snapshot)

    question = f"Stop {name} and lose what was written since {snapshot}?"
    item = holdings.run_agreed(url, token, name, done, question=question, yes=yes)
    terminal.show(item, as_json=as_json)


def _row(item: schemas.SnapshotItem) -> tuple[str, str, str, str, str]:
    created = terminal.moment(item.created_at)
    return item.name, item.state, created, item.minute_usd, item.problem or ""


def _room(answer: schemas.SnapshotsAnswer) -> str:
    if answer.at_most == 0:
        return "this service takes no snapshots"
    if answer.possible is False:
        return "the storage of this container's disk takes no snapshots"
    standing = [one for one in answer.snapshots if one.state != "failed"]
    count = f"{len(standing)} of {answer.at_most} snapshots"
    if answer.next_minute_usd == "0" or not answer.possible:
        return count
    return f"{count}; another one burns {answer.next_minute_usd} USD per minute"

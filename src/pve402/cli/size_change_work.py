"""The work of `change`."""

from collections.abc import Mapping

from pve402 import client, schemas
from pve402.cli import calls, credentials, terminal

Sizes = Mapping[str, int | None]


def quote(url: str, token: str | None, name: str, size: Sizes, *, as_json: bool) -> None:
    """Show what another size would cost."""
    if not any(size.values()):
        terminal.misused("give --cores, --memory-mb or --disk-gb")

    async def asked(service: client.Client) -> schemas.ChangeAnswer:
        ctid = await client.names.resolve(service, name)
        return await client.size_changes.quote(service, ctid, **size)

    _show(calls.run(credentials.holder(url, token), asked), as_json=as_json)


def change(
    url: str, token: str | None, name: str, size: Sizes, *, allow_restart: bool, as_json: bool
) -> None:
    """Change the size, or show the latest change if no size is given."""

    async def done(service: client.Client) -> schemas.ChangeAnswer:
        ctid = await client.names.resolve(service, name)
        if not any(size.values()):
            return await client.size_changes.show(service, ctid)
        return await client.size_changes.change(service, ctid, **size, allow_restart=allow_restart)

    _show(calls.run(credentials.holder(url, token), done), as_json=as_json)


def _show(answer: schemas.ChangeAnswer, *, as_json: bool) -> None:
    if as_json:
        terminal.show(answer, as_json=True)
        return
    heads = ("", "cores", "MiB", "GiB", "USD per minute")
    rows = (_row("before", answer.before), _row("after", answer.after))
    terminal.show_columns([heads, *rows])
    why = f": {answer.problem}" if answer.problem else ""
    verb = "would end" if answer.state == "quote" else "ends"
    terminal.say(f"{answer.state}{why}; the lease {verb} {terminal.moment(answer.expires_at)}")


def _row(name: str, size: schemas.SizeAtPrice) -> tuple[str, ...]:
    return name, str(size.cores), str(size.memory_mb), str(size.disk_gb), size.minute_usd

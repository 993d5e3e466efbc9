"""What is owed to the wallet: list it, and lease containers for it."""

from pve402 import client, schemas
from pve402.cli import calls, credentials, purchases, terminal

_HEADS = ("owedId", "status", "USD", "network", "since", "why")


def show_all(url: str, *, as_json: bool) -> None:
    """Show what is owed, or say that nothing is."""

    async def listed(service: client.Client) -> None:
        items = await service.owed()
        if as_json:
            terminal.show_list(items)
        elif items:
            terminal.show_columns([_HEADS, *map(_row, items)])
        else:
            terminal.say("nothing is owed to this wallet here")

    calls.run(credentials.buyer(url), listed)


def redeem(url: str, owed_id: str, wish: schemas.LeaseRequest, *, as_json: bool) -> None:
    """Lease a container for what is owed, and show it with its token."""

    async def redeemed(service: client.Client) -> schemas.LeaseAnswer:
        return await service.redeem(owed_id, wish)

    answer = calls.run(credentials.buyer(url), redeemed)
    purchases.show(url, answer, with_token=False, as_json=as_json)


def _row(item: schemas.OwedItem) -> tuple[str, ...]:
    status: str = item.status
    if item.redeemable_at is not None:
        status = f"{status}, redeemable {terminal.moment(item.redeemable_at)}"
    since = terminal.moment(item.since)
    return (item.owed_id or "", status, item.usd, item.network, since, item.reason)

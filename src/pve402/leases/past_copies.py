"""What became of a wallet's copies: they run before they are paid, and must not fail at will."""

from pve402.domain import copies
from pve402.storage import copy_rows, database

_REMEMBERED_SECONDS = 3600.0


async def check(db: database.Database, account: str) -> None:
    """Raise CopiesFailed for a while after copies for an account did not come up."""
    async with db.read() as tx:
        past = await copy_rows.failed(db, tx, account, _REMEMBERED_SECONDS)
    if past.wait_seconds:
        raise copies.CopiesFailed(retry_after_seconds=past.wait_seconds)

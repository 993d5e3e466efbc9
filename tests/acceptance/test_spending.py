"""The spend ledger against a running service; `make chaos` kills a hundred times."""

import random
import time
from pathlib import Path

from tests.support import spenders
from tests.support.processes import ServeProcess

from pve402 import client

KILLS = 5
LIMIT_MICRO_USD = 3_300
PATIENCE_SECONDS = 90


async def test_two_killed_processes_never_spend_more_than_their_budget(
    service: ServeProcess, tmp_path: Path, monkeypatch
):
    monkeypatch.setenv("PVE402_RPC_URL", service.devnet.settings["RPC_URL"])
    book = client.ledger.Ledger(tmp_path / "spending.sqlite3")
    campaign = spenders.Campaign(
        service=service,
        book_path=book.path,
        limit_micro_usd=LIMIT_MICRO_USD,
        wallet=service.devnet.wallet(10 * LIMIT_MICRO_USD),
        kills_wanted=KILLS,
        dice=random.Random(402),
    )

    campaign.run()
    give_up_at = time.monotonic() + PATIENCE_SECONDS  # the service still works on what was sent
    while campaign.violations(book) and time.monotonic() < give_up_at:
        await client.reckoning.reckon(book)

    assert campaign.violations(book) == []
    assert campaign.kills >= KILLS
    assert campaign.kills_while_paying > 0
    assert book.path.stat().st_mode & 0o777 == 0o600

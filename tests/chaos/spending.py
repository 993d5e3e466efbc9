"""A hundred kills of two processes that pay under one limit, and what chain and ledger say then."""

import asyncio
import os
import random
import time
from pathlib import Path

from tests.support import processes, spenders

from pve402 import client

KILLS = 100
LIMIT_MICRO_USD = 90_000
_AFTER_ALL_SECONDS = 3 * 3600  # a signature lives for ten minutes


def run(folder: Path, seed: int) -> list[str]:
    """Run it, print the figures and return the violations."""
    with (
        processes.running_devnet(folder) as devnet,
        processes.serving(folder, devnet) as service,
    ):
        os.environ[client.chain.VARIABLE] = devnet.settings["RPC_URL"]
        book = client.ledger.Ledger(folder / "spending.sqlite3")
        campaign = spenders.Campaign(
            service=service,
            book_path=book.path,
            limit_micro_usd=LIMIT_MICRO_USD,
            wallet=devnet.wallet(10 * LIMIT_MICRO_USD),
            kills_wanted=KILLS,
            dice=random.Random(seed),
        )
        campaign.run()
        time.sleep(5)  # the service ends what it was sent
        unknown = len(book.payments((client.spending.State.SENT,)))
        devnet.rpc("evm_increaseTime", _AFTER_ALL_SECONDS)
        devnet.rpc("evm_mine")
        outcome = asyncio.run(client.reckoning.reckon(book))
        violations = campaign.violations(book)
    if outcome.still_open or outcome.problems:
        violations.append(f"{outcome.still_open} payments stay open: {outcome.problems}")
    if campaign.kills < KILLS:
        violations.append(f"only {campaign.kills} kills")
    states = {state.value: len(book.payments((state,))) for state in client.spending.State}
    print(
        f"kills: {campaign.kills}, {campaign.kills_while_paying} of them after a signature\n"
        f"unknown outcomes: {unknown}; of open payments {outcome.settled} had moved money,"
        f" {outcome.voided} never can\n"
        f"spent at most {campaign.most_spent_atomic} of {LIMIT_MICRO_USD}\n"
        f"payments: {states}\nviolations: {violations or 'none'}"
    )
    return violations

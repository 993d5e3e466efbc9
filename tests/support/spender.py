"""A tenant's program that renews a lease over and over under a spend ledger, until it is killed.

    python -m tests.support.spender URL LEDGER_FILE LIMIT_MICRO_USD

Reads a line of JSON for each run, and forks for it: the imports take longer than all the rest. A
run says `pid N`, `sent` before each payment leaves, and `over` at the limit; `gone` says that it
ended. The wallet's key is in the lines, not in the arguments.
"""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

from x402.http import x402_http_client as _  # noqa: F401 -- imported before the forks
from x402.mechanisms.evm import exact as __  # noqa: F401 -- the same

from pve402 import client


async def renew_until_over(url: str, book: client.ledger.Ledger, told: dict[str, Any]) -> None:
    """Renew the lease by a minute at a time; a run that pays once then waits to be killed."""
    key, token = told["key"], told["token"]
    async with client.Client(url, key=key, token=token, book=book) as service:
        while True:
            try:
                await service.renew(told["lease"], 1, on_progress=lambda _lease: say("sent"))
            except client.OverLimit:
                say("over")
                return
            except client.Refused as refused:
                say(f"refused {refused.code}")
                await asyncio.sleep(0.05)
                continue
            if told["pays"] == "once":
                await asyncio.Event().wait()


def say(line: str) -> None:
    """Tell the test."""
    print(line, flush=True)


def main() -> None:
    """Fork for every line, and wait for the end of that run."""
    url, path, limit = sys.argv[1:]
    limits = client.spending.Limits(in_all_micro_usd=int(limit))
    for line in sys.stdin:
        if (pid := os.fork()) == 0:
            say(f"pid {os.getpid()}")
            book = client.ledger.Ledger(Path(path), limits=limits)
            asyncio.run(renew_until_over(url, book, json.loads(line)))
            os._exit(0)
        os.waitpid(pid, 0)
        say("gone")


if __name__ == "__main__":
    main()

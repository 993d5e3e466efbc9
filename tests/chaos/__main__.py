"""The kill loop in its long form: `make chaos`, or one part of it.

    python -m tests.chaos [--part sqlite|postgresql|soak|spending] [--leases 2000] [--seconds N]

Without a part: 2,000 leases with one server on SQLite, 2,000 with three on PostgreSQL, ten minutes
of 200 tenants on three servers, two of which are killed, and 100 kills of tenants that pay under
one limit. It ends by itself, with 1 if anything was violated.
"""

import argparse
import asyncio
import contextlib
import sys
import tempfile
import time
from pathlib import Path

from tests.chaos import loop, plan, soak, spending
from tests.support import postgres

PARTS = ("sqlite", "postgresql", "soak", "spending")
_MOST_SECONDS = 1800.0
_SOAK_SECONDS = 600.0


def main() -> int:
    """Run the parts and print what they came to."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos")
    parser.add_argument("--part", choices=PARTS, action="append")
    parser.add_argument("--leases", type=int, default=2000)
    parser.add_argument("--seconds", type=float, help="the longest time of load in each part")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    chosen = parser.parse_args()
    held = True
    for part in chosen.part or PARTS:
        print(f"== {part}, seed {chosen.seed}", flush=True)
        held = _run(part, chosen) and held
    return 0 if held else 1


def _run(part: str, chosen: argparse.Namespace) -> bool:
    folder = Path(tempfile.mkdtemp(prefix=f"pve402-chaos-{part}-"))
    if part == "spending":
        return not spending.run(folder, chosen.seed)
    gauge = soak.Gauge()
    with contextlib.ExitStack() as stack:
        url = f"sqlite:///{folder}/pve402.sqlite3"
        if part != "sqlite":
            server = stack.enter_context(postgres.running_server())
            url = server.create_database().replace("postgresql+asyncpg://", "postgresql://")
        the_plan = _plan(part, url, chosen, gauge)
        figures = asyncio.run(loop.run(the_plan, folder))
    if part == "soak":
        figures.violations += gauge.violations()
        print(gauge.table())
    print(figures.table())
    print(f"logs: {folder}", flush=True)
    return not figures.violations


def _plan(part: str, url: str, chosen: argparse.Namespace, gauge: soak.Gauge) -> plan.Plan:
    if part == "soak":
        return plan.Plan(
            database_url=url,
            replicas=3,
            spared=1,
            leases=1_000_000,
            tenants=200,
            pause_seconds=60.0,
            most_seconds=chosen.seconds or _SOAK_SECONDS,
            life_seconds=20.0,
            seed=chosen.seed,
            during=gauge.watch,
        )
    several = part == "postgresql"
    return plan.Plan(
        database_url=url,
        replicas=3 if several else 1,
        leases=chosen.leases,
        tenants=24,
        most_seconds=chosen.seconds or _MOST_SECONDS,
        life_seconds=8.0 if several else 4.0,
        stall_seconds=4.0 if several else 0.0,
        seed=chosen.seed,
    )


if __name__ == "__main__":
    sys.exit(main())

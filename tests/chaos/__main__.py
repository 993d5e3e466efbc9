"""The kill loop by hand: `python -m tests.chaos --database sqlite --leases 300`."""

import argparse
import asyncio
import contextlib
import sys
import tempfile
from pathlib import Path

from tests.chaos import loop
from tests.support import postgres


def main() -> int:
    """Run and print the figures; 1 if anything was violated."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos")
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--leases", type=int, default=100)
    parser.add_argument("--tenants", type=int, default=12)
    parser.add_argument("--seconds", type=float, default=90)
    parser.add_argument("--life", type=float, default=3)
    parser.add_argument("--seed", type=int, default=402)
    parser.add_argument("--fair", action="store_true")
    chosen = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="pve402-chaos-"))
    with contextlib.ExitStack() as stack:
        if chosen.database == "sqlite":
            url, replicas = f"sqlite:///{folder}/pve402.sqlite3", 1
        else:
            server = stack.enter_context(postgres.running_server())
            url = server.create_database().replace("postgresql+asyncpg://", "postgresql://")
            replicas = 3
        plan = loop.Plan(
            database_url=url,
            replicas=replicas,
            leases=chosen.leases,
            tenants=chosen.tenants,
            most_seconds=chosen.seconds,
            seed=chosen.seed,
            fair=chosen.fair,
            life_seconds=chosen.life,
        )
        figures = asyncio.run(loop.run(plan, folder))
    print(loop.table(figures))
    print(folder)
    return 1 if figures.violations else 0


if __name__ == "__main__":
    sys.exit(main())

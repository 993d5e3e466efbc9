"""What a start reads: nothing that serving does not need."""

import subprocess
import sys

NOT_NEEDED = (
    "alembic",
    "asyncpg",
    "eth_account",
    "mako",
    "pve402.cli",
    "pve402.client",
    "pve402.devnet",
    "pve402.ops",
    "sqlalchemy.orm",
    "web3",
    "x402",
)


def test_serving_reads_no_module_that_it_does_not_need():
    script = "import sys, pve402.__main__, pve402.api.server; print(*sys.modules)"

    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )

    assert set(NOT_NEEDED).isdisjoint(done.stdout.split())

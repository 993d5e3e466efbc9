"""Limits hold while many creations come to three replicas at the same moment."""

from __future__ import annotations

import collections
import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest
from eth_account.signers.local import LocalAccount
from tests.acceptance.test_exec_replicas import serve_replica
from tests.support.api_fixtures import BODY
from tests.support.processes import DevnetProcess, ServeProcess

pytestmark = pytest.mark.postgres

AT_ONCE = 20
OF_WALLET, OF_ADDRESS, OF_NEW = 3, 6, 12
LIMITS = {
    "PVE402_WALLET_LIMITS": f"leases={OF_WALLET}",
    "PVE402_ADDRESS_LIMITS": f"leases={OF_ADDRESS}",
    "PVE402_NEW_WALLET_LIMITS": f"leases={OF_NEW}",
    "PVE402_MAX_UNSETTLED_PER_WALLET": "100",
    "PVE402_MAX_UNSETTLED_PER_ADDRESS": "100",
    "PVE402_TRUSTED_PROXIES": "127.0.0.1",
}
Replicas = Sequence[ServeProcess]


@pytest.fixture
def replicas(
    devnet: DevnetProcess, postgres_server: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Replicas]:
    """Three servers with limits on a fresh database."""
    url = postgres_server.create_database()
    with ExitStack() as stack:
        yield [serve_replica(stack, devnet, url, tmp_path_factory, **LIMITS)[0] for _ in range(3)]


def race(
    replicas: Replicas, wallets: Sequence[LocalAccount], addresses: Sequence[str]
) -> collections.Counter[str]:
    """Buy with each wallet from each address at the same moment; what came of it."""
    begin = threading.Barrier(len(wallets))

    def buy(service: ServeProcess, wallet: LocalAccount, address: str) -> str:
        tenant = service.tenant(wallet)
        tenant.headers["X-Forwarded-For"] = address
        begin.wait()
        reply = tenant.post(f"{service.url}/lease/container", json=BODY, timeout=120)
        return "sold" if reply.ok else str(reply.json()["code"])

    with ThreadPoolExecutor(len(wallets)) as threads:
        return collections.Counter(threads.map(buy, itertools.cycle(replicas), wallets, addresses))


def test_creations_that_race_at_three_replicas_exceed_no_limit(
    replicas: Replicas, devnet: DevnetProcess
) -> None:
    wallet: Callable[[], LocalAccount] = devnet.wallet
    addresses = [f"198.51.100.{number}" for number in range(AT_ONCE)]
    own = wallet()
    before = devnet.usdc(devnet.settings["PAY_TO"])

    of_wallet = race(replicas, [own] * AT_ONCE, addresses)
    of_address = race(replicas, [wallet() for _ in range(AT_ONCE)], ["203.0.113.9"] * AT_ONCE)
    of_new = race(replicas, [wallet() for _ in range(AT_ONCE)], addresses)

    left = OF_NEW - OF_WALLET - OF_ADDRESS
    for sold, limit in ((of_wallet, OF_WALLET), (of_address, OF_ADDRESS), (of_new, left)):
        assert sold == {"sold": limit, "limit_reached": AT_ONCE - limit}
    assert devnet.usdc(devnet.settings["PAY_TO"]) - before == OF_NEW * 21_800

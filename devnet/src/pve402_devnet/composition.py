"""A whole devnet in one process: Proxmox, chain and facilitator, started and ended together.

    async with Devnet(DevnetOptions()) as devnet:
        devnet.settings["PVE_HOST"], devnet.chain.rpc("evm_mine"), devnet.facilitator.faults ...

Every run generates new keys, so that nothing signed here is valid elsewhere.
"""

from __future__ import annotations

import contextlib
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Self

from eth_account import Account
from eth_account.signers.local import LocalAccount

from pve402_devnet import proxmox
from pve402_devnet.chain import ChainOptions, SimulatedChain, contracts
from pve402_devnet.facilitator import FacilitatorOptions, SimulatedFacilitator
from pve402_devnet.guests import removal
from pve402_devnet.options import HOST, DevnetOptions
from pve402_devnet.pve import SimulatedProxmox

NETWORK = "base-sepolia"
GRANT_USDC_ATOMIC = 1_000 * 10**6
GRANT_ETH = 10


class Devnet:
    """All parts, to be started once."""

    def __init__(self, options: DevnetOptions) -> None:
        self.options = options
        self.tenant = _new_account()
        self.operator_address = _new_account().address
        self.chain = SimulatedChain(
            ChainOptions(
                host=HOST,
                port=options.chain_port,
                block_interval_seconds=options.block_interval_seconds,
            )
        )
        self.facilitator = SimulatedFacilitator(self._facilitator_options())
        self.settings: dict[str, str] = {}
        self._proxmox: proxmox.ProxmoxPart | None = None
        self._running = AsyncExitStack()

    @property
    def proxmox(self) -> SimulatedProxmox:
        """The Proxmox part's API; only while it runs."""
        if self._proxmox is None:
            raise RuntimeError("the devnet has not been started")
        return self._proxmox.api

    async def start(self) -> Self:
        """Start every part; when this returns, `settings` is complete and everything answers.

        Raises: proxmox.GuestsRefused: guests cannot be isolated from this machine. OSError: a port
        is taken.
        """
        async with AsyncExitStack() as starting:
            directory = starting.enter_context(_working_directory())
            part = proxmox.make(self.options, directory / "guests")
            for service in (self.chain, part, self.facilitator):
                starting.push_async_callback(service.stop)
                await service.start()
            self._proxmox = part
            self._running = starting.pop_all()
        for address in (self.tenant.address, *self.options.fund):
            self.chain.fund(address, usdc_atomic=GRANT_USDC_ATOMIC, eth=GRANT_ETH)
        database = f"sqlite:///{directory / 'database' / 'pve402.sqlite3'}"
        self.settings = part.settings(old=self.options.old_proxmox) | self._settings(database)
        return self

    async def stop(self) -> None:
        """Stop every part and remove every file."""
        await self._running.aclose()

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def _facilitator_options(self) -> FacilitatorOptions:
        key = _new_account()
        self.chain.fund(key.address, eth=GRANT_ETH)
        return FacilitatorOptions(
            call_node=self.chain.rpc,
            private_key=key.key.hex(),
            host=HOST,
            port=self.options.facilitator_port,
            wallet_factories=(contracts.WALLET_FACTORY_ADDRESS,),
        )

    def _settings(self, database: str) -> dict[str, str]:
        return {
            "NETWORK": NETWORK,
            "PAY_TO": self.operator_address,
            "RPC_URL": self.chain.url,
            "FACILITATOR_URL": self.facilitator.url,
            "DATABASE_URL": database,
            "DEVNET_TENANT_KEY": "0x" + self.tenant.key.hex(),
        }


def _new_account() -> LocalAccount:
    account: LocalAccount = Account.from_key(secrets.token_bytes(32))
    return account


@contextlib.contextmanager
def _working_directory() -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="pve402-devnet-"))
    (directory / "guests").mkdir()
    (directory / "database").mkdir(mode=0o700)
    try:
        yield directory
    finally:
        removal.remove_tree(directory)

"""Checks the devnet from outside: the chain by JSON-RPC, Proxmox VE by its own API.

The demo trusts neither the server nor its own client: it verifies every effect at its source.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import aiohttp

_BALANCE_OF: Final = "0x70a08231"  # balanceOf(address)
USDC: Final = "0x036CbD53842c5426634e7929541eC2318f3dCF7e"
MICRO: Final = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Outside:
    """Addresses and credentials from the devnet's settings file."""

    session: aiohttp.ClientSession
    settings: Mapping[str, str]

    @property
    def rpc_url(self) -> str:
        """JSON-RPC of the chain."""
        found = self.settings.get("RPC_URL_BASE_SEPOLIA") or self.settings["RPC_URL"]
        return found.rstrip("/")

    @property
    def pve_url(self) -> str:
        """The simulated Proxmox VE."""
        host = self.settings["PVE_HOST"]
        return host if "://" in host else f"https://{host}"

    @property
    def pay_to(self) -> str:
        """The operator's address."""
        return self.settings.get("PAY_TO") or self.settings["ADDRESS"]

    async def rpc(self, method: str, *params: Any) -> Any:
        """Call a method of the chain's node. Raises RuntimeError if the node refuses."""
        call = {"jsonrpc": "2.0", "id": 1, "method": method, "params": list(params)}
        async with self.session.post(self.rpc_url, json=call) as response:
            answer = await response.json()
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]

    async def usdc(self, address: str) -> int:
        """Return an address's balance in atomic units."""
        data = _BALANCE_OF + address[2:].lower().rjust(64, "0")
        return int(await self.rpc("eth_call", {"to": USDC, "data": data}, "latest"), 16)

    async def transfer_succeeded(self, transaction: str) -> bool:
        """Return whether a transaction is on the chain and succeeded."""
        receipt = await self.rpc("eth_getTransactionReceipt", transaction)
        return receipt is not None and int(receipt["status"], 16) == 1

    async def guest(self, ctid: str) -> Mapping[str, Any]:
        """Return a container's status: GET /nodes/{node}/lxc/{vmid}/status/current."""
        rows = await self._pve("/cluster/resources?type=vm")
        node = next(row["node"] for row in rows if str(row["vmid"]) == ctid)
        found: Mapping[str, Any] = await self._pve(f"/nodes/{node}/lxc/{ctid}/status/current")
        return found

    async def _pve(self, path: str) -> Any:
        token = f"{self.settings['PVE_TOKEN_ID']}={self.settings['PVE_TOKEN_SECRET']}"
        async with self.session.get(
            f"{self.pve_url}/api2/json{path}",
            headers={"Authorization": f"PVEAPIToken={token}"},
            ssl=False,  # the devnet is on loopback and signs its own certificate
        ) as response:
            if response.status != 200:
                raise RuntimeError(f"Proxmox VE answered {response.status} {response.reason}")
            return (await response.json())["data"]


def dollars(amount_atomic: int | str) -> str:
    """Format an amount of USDC for people."""
    return f"{int(amount_atomic) / MICRO:.6f} USDC"

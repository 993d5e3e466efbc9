"""A wallet in a browser: announced by EIP-6963, called by EIP-1193, signing with a devnet's key.

It keeps what it was asked, and does what a test wants of its user: decline, turn to another
account, be on a chain, or not know one.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from eth_account.messages import encode_defunct
from eth_account.signers.local import LocalAccount
from playwright.sync_api import Page
from tests.support.processes import DevnetProcess

BASE_SEPOLIA: Final = 84532
_DECLINED: Final = {"error": {"code": 4001, "message": "User rejected the request."}}
_UNKNOWN: Final = {"error": {"code": 4902, "message": "Unrecognized chain ID."}}
_PROVIDER: Final = """(() => {
  const heard = {};
  const provider = {
    async request({ method, params }) {
      const told = await askWallet(method, params ?? []);
      if (told.silent) return new Promise(() => {});
      if (told.error) throw Object.assign(new Error(told.error.message), told.error);
      return told.result;
    },
    on: (name, hear) => (heard[name] ??= new Set()).add(hear),
    removeListener: (name, hear) => heard[name]?.delete(hear),
  };
  globalThis.emitFromWallet = (name, value) => heard[name]?.forEach((hear) => hear(value));
  const info = { uuid: "0b7c2e7e", name: "Test wallet", rdns: "test.wallet",
                 icon: "data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg'/>" };
  const announce = () => dispatchEvent(
    new CustomEvent("eip6963:announceProvider", { detail: Object.freeze({ info, provider }) }));
  addEventListener("eip6963:requestProvider", announce);
  announce();
})()"""


@dataclass(kw_only=True)
class BrowserWallet:
    """The wallet of one page."""

    page: Page
    devnet: DevnetProcess
    account: LocalAccount
    chain_id: int = BASE_SEPOLIA
    knows: set[int] = field(default_factory=lambda: {BASE_SEPOLIA, 1})
    declines: bool = False
    is_silent: bool = False
    """Whether its user does not answer when asked to sign."""
    asked: list[str] = field(default_factory=list)
    """The methods that it was asked for."""
    signed: list[dict[str, Any]] = field(default_factory=list)
    """The payments that it signed."""

    def put_in(self) -> BrowserWallet:
        """Put it into the page, and into all that are loaded there later."""
        self.page.expose_function("askWallet", self.answer)
        self.page.add_init_script(_PROVIDER)
        return self

    @property
    def balance(self) -> int:
        """What its account owns, in atomic units."""
        return self.devnet.usdc(self.account.address)

    def turn_to(self, account: LocalAccount, *, silently: bool = False) -> None:
        """Choose another account, as its user does; some wallets do not tell the page."""
        self.account = account
        if not silently:
            self.page.evaluate(
                "(one) => emitFromWallet('accountsChanged', [one])", self.account.address
            )

    def answer(self, method: str, params: list[Any]) -> dict[str, Any]:
        """Answer the page."""
        self.asked.append(method)
        if method in {"personal_sign", "eth_signTypedData_v4"}:
            return self._ask_to_sign(method, params)
        answers: dict[str, Callable[[], Any]] = {
            "eth_accounts": lambda: [self.account.address],
            "eth_requestAccounts": lambda: [self.account.address],
            "eth_chainId": lambda: hex(self.chain_id),
            "eth_call": lambda: self.devnet.rpc(method, *params),
            "wallet_addEthereumChain": lambda: self.knows.add(int(params[0]["chainId"], 16)),
        }
        if method == "wallet_switchEthereumChain":
            return self._switch(int(params[0]["chainId"], 16))
        return {"result": answers[method]()}

    def _ask_to_sign(self, method: str, params: list[Any]) -> dict[str, Any]:
        if self.declines:
            return _DECLINED
        if self.is_silent:
            return {"silent": True}
        if method == "eth_signTypedData_v4":
            return {"result": self._sign(json.loads(params[1]))}
        text = encode_defunct(hexstr=params[0])
        return {"result": self.account.sign_message(text).signature.to_0x_hex()}

    def _switch(self, chain_id: int) -> dict[str, Any]:
        if chain_id not in self.knows:
            return _UNKNOWN
        self.chain_id = chain_id
        return {"result": None}

    def _sign(self, data: dict[str, Any]) -> str:
        assert data["domain"]["chainId"] == self.chain_id, "wallets refuse another chain"
        self.signed.append(data["message"])
        signature: str = self.account.sign_typed_data(full_message=data).signature.to_0x_hex()
        return signature

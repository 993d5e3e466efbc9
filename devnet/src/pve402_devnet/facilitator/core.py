"""Verifies and settles payments with the official SDK's facilitator core; calls block.

Importing this module takes about a second, so `server` does it in a thread.
"""

from __future__ import annotations

from typing import Any

from x402 import facilitator as x402_facilitator
from x402.mechanisms.evm.exact.facilitator import ExactEvmScheme, ExactEvmSchemeConfig
from x402.mechanisms.evm.exact.v1.facilitator import ExactEvmSchemeV1, ExactEvmSchemeV1Config
from x402.schemas import SchemeNotFoundError, helpers

from pve402_devnet.facilitator.questions import BadQuestion, Json
from pve402_devnet.facilitator.signer import NodeSigner


class Core:
    """An honest facilitator for scheme `exact` on one network, x402 versions 1 and 2."""

    def __init__(
        self, *, signer: NodeSigner, network: str, network_v1: str, factories: tuple[str, ...]
    ) -> None:
        allowed = list(factories)
        v2 = ExactEvmScheme(signer, ExactEvmSchemeConfig(eip6492_allowed_factories=allowed))
        v1 = ExactEvmSchemeV1(signer, ExactEvmSchemeV1Config(eip6492_allowed_factories=allowed))
        self._facilitator = x402_facilitator.x402FacilitatorSync()
        self._facilitator.register([network], v2)
        self._facilitator.register_v1([network_v1], v1)
        self.address = signer.get_addresses()[0]
        self._signer = signer

    def close(self) -> None:
        """Abandon every wait for a block."""
        self._signer.close()

    def supported(self) -> Json:
        """Return the answer to GET /supported."""
        return _json(self._facilitator.get_supported())

    def verify(self, question: Json) -> Json:
        """Return the answer to POST /verify.

        Raises:
            BadQuestion: the body cannot be read.
        """
        payload, requirements = _read(question)
        try:
            return _json(self._facilitator.verify(payload, requirements))
        except SchemeNotFoundError:
            return {"isValid": False, "invalidReason": "unsupported_scheme"}

    def settle(self, question: Json) -> Json:
        """Return the answer to POST /settle once the transfer has a receipt.

        Raises:
            BadQuestion: the body cannot be read.
        """
        payload, requirements = _read(question)
        try:
            return _json(self._facilitator.settle(payload, requirements))
        except SchemeNotFoundError:
            network = str(requirements.network)
            reason = "unsupported_scheme"
            return {"success": False, "errorReason": reason, "transaction": "", "network": network}


def _read(question: Json) -> tuple[Any, Any]:
    try:
        payload = helpers.parse_payment_payload(question["paymentPayload"])
        requirements = helpers.parse_payment_requirements(
            payload.x402_version, question["paymentRequirements"]
        )
        authorization = payload.payload["authorization"]
        numbers = [int(authorization[name]) for name in ("value", "validAfter", "validBefore")]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadQuestion("paymentPayload or paymentRequirements cannot be read") from error
    if min(numbers) < 0:
        raise BadQuestion("an authorization has no negative numbers")
    return payload, requirements


def _json(answer: Any) -> Json:
    shown: Json = answer.model_dump(by_alias=True, exclude_none=True)
    return shown

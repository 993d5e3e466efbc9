"""The scheme `exact`, behind the common `Scheme` interface."""

from dataclasses import replace
from typing import Any, Final

from pve402.payments import addresses, errors, fields, signatures
from pve402.payments.chain import Block, Chain, Receipt
from pve402.payments.networks import Network
from pve402.payments.payment import Payment, Requirements, Version, match
from pve402.payments.schemes.base import Call, Finding, Limits, Standing
from pve402.payments.schemes.exact import eip3009, local_checks, onchain

MAX_SIGNATURE_BYTES: Final = 4096


class Exact:
    """See `Scheme`: a transfer of exactly the price, authorized by EIP-3009."""

    name = "exact"

    def read(
        self, version: Version, network: Network, asset: str, payload: dict[str, Any]
    ) -> Payment:
        """See `Scheme`."""
        if "authorization" not in payload:
            if "permit2Authorization" in payload:
                raise errors.PaymentRejected(
                    errors.Code.UNSUPPORTED_METHOD, "only EIP-3009 authorizations are accepted"
                )
            fields.malformed("payload.authorization is missing")
        signed = fields.json_object(payload, "authorization")
        return Payment(
            version=version,
            scheme=self.name,
            network=network.caip2,
            asset=asset,
            payer=fields.address(signed, "from"),
            pay_to=fields.address(signed, "to"),
            amount_atomic=fields.uint256(signed, "value"),
            valid_after=fields.uint256(signed, "validAfter"),
            valid_before=fields.uint256(signed, "validBefore"),
            nonce=fields.word(signed, "nonce"),
            signature=fields.hex_bytes(payload, "signature", MAX_SIGNATURE_BYTES),
        )

    def payload(self, payment: Payment) -> dict[str, Any]:
        """See `Scheme`."""
        authorization = {
            "from": addresses.checksum(payment.payer),
            "to": addresses.checksum(payment.pay_to),
            "value": str(payment.amount_atomic),
            "validAfter": str(payment.valid_after),
            "validBefore": str(payment.valid_before),
            "nonce": payment.nonce,
        }
        return {"signature": payment.signature, "authorization": authorization}

    def check_terms(
        self, payment: Payment, requirements: Requirements, *, now_seconds: int, limits: Limits
    ) -> None:
        """See `Scheme`."""
        match(payment, requirements)
        local_checks.check_window(payment, requirements, now_seconds=now_seconds, limits=limits)

    def check_signature(
        self, payment: Payment, requirements: Requirements, *, payer_has_code: bool | None = None
    ) -> Standing:
        """See `Scheme`."""
        return local_checks.check_signature(payment, requirements, payer_has_code=payer_has_code)

    def as_sent(
        self, payment: Payment, standing: Standing, *, payer_has_code: bool | None
    ) -> Payment:
        """See `Scheme`: keys' signatures as the token takes them, deployed wallets' unwrapped.

        What a contract checks is passed on byte for byte.
        """
        signature = payment.signature_bytes
        if standing is Standing.PROVEN:
            signature = signatures.as_token_takes_it(signature)
        elif payer_has_code:
            shape = signatures.unwrap(signature)
            signature = signature if shape is None else shape.inner
        return replace(payment, signature="0x" + signature.hex())

    def transfer(self, payment: Payment) -> Call:
        """See `Scheme`."""
        return Call(to=payment.asset, data=eip3009.transfer_with_authorization(payment))

    def judge(self, receipt: Receipt, payment: Payment) -> Finding | None:
        """See `Scheme`."""
        return onchain.judge(receipt, payment)

    async def find(
        self,
        chain: Chain,
        payment: Payment,
        *,
        not_before_seconds: int,
        newest: Block,
    ) -> Finding:
        """See `Scheme`."""
        return await onchain.find(
            chain, payment, not_before_seconds=not_before_seconds, newest=newest
        )

    async def could_land(self, chain: Chain, payment: Payment) -> bool:
        """See `Scheme`."""
        return await onchain.could_land(chain, payment)

"""Payment settings: networks, recipient, facilitators and chain endpoints."""

from collections.abc import Mapping
from typing import Annotated, Self

import pydantic
from pydantic import AfterValidator, AliasChoices, Field, SecretStr
from pydantic_settings import BaseSettings

from pve402.config import values
from pve402.payments import networks

Url = Annotated[str, AfterValidator(values.http_url)]


class PaymentSettings(BaseSettings):
    """Who gets paid, on which networks, and through which facilitator."""

    network: Annotated[values.Names, AfterValidator(values.network_ids)] = Field(
        ("base-sepolia",),
        validate_default=True,
        description="Networks for payments, separated by commas; x402 names or CAIP-2 ids.",
        examples=["base-sepolia,base"],
    )
    pay_to: Annotated[str, AfterValidator(values.payee)] = Field(
        validation_alias=AliasChoices("PAY_TO", "ADDRESS", "pay_to"),
        description="Address that receives the payments (ADDRESS works as well). Each installation "
        "needs its own: a transfer does not say which of them it was meant for.",
        examples=["0x209693Bc6afc0C5328bA36FaF03C514EF312287C"],
    )
    rpc_url: Url | None = Field(
        None,
        description="JSON-RPC of the chain; RPC_URL_BASE_SEPOLIA sets it for one network only.",
        examples=["https://sepolia.base.org"],
    )
    rpc_urls: Mapping[str, Url] = Field(default_factory=dict, exclude=True)
    facilitator_url: Url | None = Field(
        None,
        description="x402 facilitator; FACILITATOR_URL_BASE sets it for one network only.",
        examples=[networks.PUBLIC_FACILITATOR_URL],
    )
    facilitator_urls: Mapping[str, Url] = Field(default_factory=dict, exclude=True)
    facilitator_private_key: Annotated[SecretStr, AfterValidator(values.private_key)] | None = (
        Field(
            None,
            description="Private key of an account that pays gas, to settle without a facilitator.",
            examples=["0x and 64 hex digits"],
        )
    )
    cdp_api_key_id: str | None = Field(
        None,
        description="Key id for Coinbase's facilitator (CDP), which base, polygon, arbitrum and "
        "monad use unless another is named.",
    )
    cdp_api_key_secret: SecretStr | None = Field(
        None, description="Key secret for Coinbase's facilitator."
    )
    trust_facilitator: bool = Field(
        False, description="Trust the facilitator without checking the chain."
    )

    @pydantic.model_validator(mode="after")
    def _check_payments(self) -> Self:
        """Refuse settings that contradict each other."""
        if bool(self.cdp_api_key_id) != bool(self.cdp_api_key_secret):
            raise values.disagrees("CDP_API_KEY_SECRET", "is required together with CDP_API_KEY_ID")
        for network in self.network:
            self._check_network(networks.BY_CAIP2[network])
        return self

    def _check_network(self, network: networks.Network) -> None:
        """Check that a network has a facilitator and, unless that is trusted, a chain endpoint."""
        suffix = network.name.replace("-", "_").upper()
        embedded = self.facilitator_url_of(network.caip2) is None
        if embedded and self.facilitator_private_key is None:
            reason = f"no facilitator is known for {network.name}"
            raise values.disagrees(f"FACILITATOR_URL_{suffix}", reason)
        needs_chain = embedded or not self.trust_facilitator
        if needs_chain and self.rpc_url_of(network.caip2) is None:
            reason = f"no public JSON-RPC is known for {network.name}"
            raise values.disagrees(f"RPC_URL_{suffix}", reason)

    def rpc_url_of(self, network: str) -> str | None:
        """The JSON-RPC address of a CAIP-2 network: its own, the common or the public one."""
        return self.rpc_urls.get(network) or self.rpc_url or networks.BY_CAIP2[network].rpc_url

    def facilitator_url_of(self, network: str) -> str | None:
        """The facilitator of a CAIP-2 network; None if we settle with our own key."""
        chosen = self.facilitator_urls.get(network) or self.facilitator_url
        if chosen or self.facilitator_private_key:
            return chosen
        return networks.BY_CAIP2[network].facilitator_url

"""The start warns about settings that work but should be changed; limits reach what they limit."""

import base64
from typing import Any

import pytest
import structlog

from pve402 import bootstrap, config

CDP_SECRET = base64.b64encode(bytes(range(64))).decode()
CDP = "https://api.cdp.coinbase.com/platform/v2/x402"
GOOD = {
    "pve_host": "https://pve.example.net",
    "pve_token_id": "pve402@pve!service",
    "pve_token_secret": "12345678-90ab-cdef-1234-567890abcdef",
    "pve_storage": "local-lvm",
    "pve_os_template": "local:vztmpl/debian-12.tar.zst",
    "pay_to": "0x209693Bc6afc0C5328bA36FaF03C514EF312287C",
    "pve402_secret_key": "k" * 32,
    "database_url": "sqlite:///unused.sqlite3",
}


@pytest.mark.parametrize(
    ("change", "event"),
    [
        ({}, None),
        ({"pve_token_id": "root@pam!mytoken"}, "token_of_root"),
        ({"trust_facilitator": True}, "facilitator_trusted"),
        ({"network": "base"}, "facilitator_key_missing"),
        ({"network": "polygon"}, "facilitator_key_missing"),
        ({"network": "arbitrum"}, "facilitator_key_missing"),
        ({"network": "monad"}, "facilitator_key_missing"),
        ({"network": "base-sepolia,base"}, "facilitator_key_missing"),
        ({"network": "sei", "facilitator_url": CDP.upper()}, "facilitator_key_missing"),
        ({"network": "sei", "facilitator_url": CDP + "/?k=v"}, "facilitator_key_missing"),
        ({"network": "base", "facilitator_url": "https://f.example"}, None),
        ({"network": "base", "facilitator_url": "https://f.example/api.cdp.coinbase.com"}, None),
        ({"network": "base", "cdp_api_key_id": "k", "cdp_api_key_secret": CDP_SECRET}, None),
    ],
)
async def test_a_setting_that_should_not_stay_is_warned_about(
    change: dict[str, Any], event: str | None
) -> None:
    settings = config.Settings(_env_file=None, **{**GOOD, **change})

    with structlog.testing.capture_logs() as said:
        await bootstrap.build(settings).close()

    warned = [line["event"] for line in said if line["log_level"] == "warning"]
    assert warned == ([event] if event else [])


async def test_the_hub_has_the_limit_of_the_settings() -> None:
    components = bootstrap.build(
        config.Settings(_env_file=None, **{**GOOD, "pve402_terminals_per_node": 7})
    )

    limit = components.guest_work.hub.options.max_sessions_per_node
    await components.close()

    assert limit == 7

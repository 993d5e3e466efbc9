"""What works, and yet should not stay so, is said at the start."""

from typing import Any

import pytest
import structlog

from pve402 import bootstrap, config

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

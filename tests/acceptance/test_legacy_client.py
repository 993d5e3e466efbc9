"""The official Python client of x402 version 1 (x402 1.0), from an environment of its own."""

import json
import subprocess
from pathlib import Path

from tests.support.api_fixtures import BODY
from tests.support.processes import LEGACY_PYTHON, ServeProcess

SCRIPT = Path(__file__).parent / "clients" / "legacy_httpx.py"


def test_a_lease_is_bought_renewed_and_listed(service: ServeProcess):
    account = service.devnet.wallet(100_000)
    calls = [
        ["POST", "/lease/container", BODY],
        ["POST", "/lease/{ctid}/renew", {"runtimeMinutes": 30}],
        ["GET", "/management/list", None],
        ["GET", "/stats/lxc", None],
    ]

    bought, renewed, listed, figures = _calls(service, account.key.hex(), calls)

    assert [line["status"] for line in (bought, renewed, listed, figures)] == [200] * 4
    assert bought["answer"]["ownerWallet"] == account.address
    assert renewed["answer"]["expiresAt"] > bought["answer"]["expiresAt"]
    assert [item["ctid"] for item in listed["answer"]] == [bought["answer"]["ctid"]]
    assert figures["answer"][0]["error"] is None
    for line in (bought, renewed, listed, figures):
        assert (line["receipt"]["success"], line["receipt"]["network"]) == (True, "base-sepolia")
    spent = 21_800 + 9_900 + 1_000 + 1_000
    assert service.devnet.usdc(account.address) == 100_000 - spent


def _calls(service: ServeProcess, key: str, calls: list) -> list[dict]:
    done = subprocess.run(
        [LEGACY_PYTHON, SCRIPT, service.url],
        input=json.dumps(calls),
        env={"WALLET_KEY": key},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]

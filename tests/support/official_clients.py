"""The six official x402 clients, each in a process of its own, as their users run them.

All take the same calls and print the same lines, so that a test need not know which one it meets.
Their default caps on what they sign stay on.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from eth_account.signers.local import LocalAccount
from tests.support import project

SCRIPTS = project.ROOT / "tests/acceptance/clients"
PAY = project.ROOT / "tests/npm/pay.mjs"
LEGACY_PYTHON = project.ROOT / ".venv-x402-legacy/bin/python"
LIMIT_SECONDS = 100


@dataclass(frozen=True, kw_only=True)
class Line:
    """What a client was answered to one call, and the receipt it found."""

    status: int
    answer: Any
    receipt: dict[str, Any] | None


@dataclass(frozen=True, kw_only=True)
class Client:
    """One official client; `version` is the version of x402 that it speaks."""

    name: str
    version: int
    command: tuple[str, ...]

    def calls(
        self,
        url: str,
        account: LocalAccount,
        calls: Sequence[tuple[str, str, Any]],
        *,
        contract: str | None = None,
    ) -> list[Line]:
        """Make calls, one after the other; `{ctid}` in a path is the lease bought before.

        With `contract`, a JavaScript client pays from that contract wallet, whose owner signs.
        """
        environment = {"PATH": os.environ["PATH"], "WALLET_KEY": "0x" + account.key.hex()}
        if contract is not None:
            environment["WALLET_ADDRESS"] = contract
        done = subprocess.run(
            [*self.command, url],
            input=json.dumps(calls),
            env=environment,
            cwd=project.ROOT,
            capture_output=True,
            text=True,
            timeout=LIMIT_SECONDS,
            check=False,
        )
        assert done.returncode == 0, f"{self.name}: {done.stderr[-3000:]}"
        return [Line(**json.loads(line)) for line in done.stdout.splitlines()]


def _python(name: str, version: int, script: str, python: str = sys.executable) -> Client:
    return Client(name=name, version=version, command=(python, str(SCRIPTS / script)))


def _node(name: str, version: int) -> Client:
    return Client(name=name, version=version, command=("node", str(PAY), name))


HTTPX = _python("x402[httpx]", 2, "current_httpx.py")
REQUESTS = _python("x402[requests]", 2, "current_requests.py")
LEGACY_HTTPX = _python("x402 1.0", 1, "legacy_httpx.py", str(LEGACY_PYTHON))
FETCH = _node("@x402/fetch", 2)
AXIOS = _node("@x402/axios", 2)
SIGN_IN = _node("@x402/extensions", 2)
SIGN_IN_AND_PAY = _node("@x402/fetch+extensions", 2)
LEGACY_FETCH = _node("x402-fetch", 1)
LEGACY_AXIOS = _node("x402-axios", 1)
ALL = (HTTPX, REQUESTS, LEGACY_HTTPX, FETCH, AXIOS, LEGACY_FETCH, LEGACY_AXIOS)

"""The gateway for E2B's SDKs, as tests meet it: in this process, or as the command."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import requests
from tests.support import processes, project
from tests.support.processes import Process, ServeProcess

from pve402 import client
from pve402.e2b import records, sandboxes, secret, server

KEY = "e2b_" + "5e" * 20
SANDBOX_ID = "l" + "0" * 25
SDK = project.ROOT / ".venv-e2b/bin/python"
_ADDRESS = re.compile(r"E2B_API_URL=(\S+)")


def noted(sandbox_id: str = SANDBOX_ID, **facts: Any) -> records.Sandbox:
    """A sandbox that runs for an hour."""
    now = time.time()
    usual: dict[str, Any] = {
        "idempotency_key": sandbox_id,
        "template": "base",
        "started_at": now,
        "ends_at": now + 3600,
        "paid_until": now + 3600,
        "cores": 1,
        "memory_mb": 512,
        "disk_gb": 8,
    }
    return records.Sandbox(sandbox_id=sandbox_id, **{**usual, **facts})


@dataclass(kw_only=True)
class Gateway:
    """A gateway in this process."""

    url: str
    kept: records.Records
    known: sandboxes.Sandboxes
    http: aiohttp.ClientSession

    async def ask(
        self, method: str, path: str, *, key: str = KEY, **more: Any
    ) -> tuple[int, Any, dict[str, str]]:
        """Call the control API: status, JSON and headers."""
        headers = {"X-API-Key": key, **more.pop("headers", {})}
        async with self.http.request(method, self.url + path, headers=headers, **more) as answer:
            said = await answer.json() if await answer.read() else None
            return answer.status, said, dict(answer.headers)

    def inside(self, sandbox_id: str = SANDBOX_ID, token: str | None = None) -> dict[str, str]:
        """The headers of a call into a sandbox."""
        opened = secret.token_of(KEY, sandbox_id) if token is None else token
        return {"E2b-Sandbox-Id": sandbox_id, "X-Access-Token": opened}


@asynccontextmanager
async def running(folder: Path, service: client.Client) -> AsyncIterator[Gateway]:
    """Serve what a client's service offers."""
    kept = records.Records(service.url, folder / "e2b.sqlite3")
    known = sandboxes.Sandboxes(
        service,
        KEY,
        templates={"base": sandboxes.Template()},
        kept=kept,
        held=client.held.Leases(folder / "leases.sqlite3"),
    )
    async with server.serving(known, 0) as url, aiohttp.ClientSession() as http:
        yield Gateway(url=url, kept=kept, known=known, http=http)


@asynccontextmanager
async def unserved(folder: Path) -> AsyncIterator[Gateway]:
    """Run a gateway that knows a sandbox; its service is never asked."""
    async with (
        client.Client("http://127.0.0.1:1", token="t" * 20) as service,
        running(folder, service) as made,
    ):
        made.kept.keep(noted())
        yield made


@dataclass(kw_only=True)
class Command:
    """`pve402 e2b` in a process of its own."""

    process: Process
    url: str
    home: Path

    @property
    def settings(self) -> dict[str, str]:
        """What programs need."""
        key = (self.home / "pve402/e2b.key").read_text().strip()
        return {"E2B_API_URL": self.url, "E2B_SANDBOX_URL": self.url, "E2B_API_KEY": key}

    def ask(self, method: str, path: str, **more: Any) -> requests.Response:
        """Call the control API."""
        headers = {"X-API-Key": self.settings["E2B_API_KEY"], **more.pop("headers", {})}
        return requests.request(method, self.url + path, headers=headers, timeout=200, **more)

    def program(self, text: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a program with E2B's SDK for Python."""
        return subprocess.run(
            [SDK, "-c", text, *arguments],
            env={"PATH": os.environ["PATH"], **self.settings},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )


@contextlib.contextmanager
def command(service: ServeProcess, folder: Path, *options: str, key: str) -> Iterator[Command]:
    """Run the command on a service, on any port."""
    folder.mkdir(exist_ok=True)
    process = processes.start(
        folder,
        *("e2b", "--port", "0", "--url", service.url, *options),
        python=sys.executable,
        PVE402_WALLET_KEY=key,
        XDG_STATE_HOME=str(folder),
        XDG_CONFIG_HOME=str(folder),
    )
    try:
        processes.wait_until(lambda: bool(_ADDRESS.search(process.said())), process, "listening")
        found = _ADDRESS.search(process.said())
        assert found is not None
        yield Command(process=process, url=found[1], home=folder)
    finally:
        process.end()

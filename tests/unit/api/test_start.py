"""A start imports nothing that serving does not need."""

import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from starlette.types import Message

from pve402.api import app
from pve402.domain import errors

NOT_NEEDED = (
    "alembic",
    "asyncpg",
    "eth_account",
    "mako",
    "pve402.cli",
    "pve402.client.client",
    "pve402_devnet",
    "pve402.ops",
    "sqlalchemy.orm",
    "web3",
    "x402",
)


def test_serving_reads_no_module_that_it_does_not_need():
    script = "import sys, pve402.__main__, pve402.api.server; print(*sys.modules)"

    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )

    assert set(NOT_NEEDED).isdisjoint(done.stdout.split())


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (errors.DatabaseUnavailable("It is newer."), "pve402 cannot start: It is newer. (why)"),
        (RuntimeError("a fault"), "OSError: why"),
    ],
)
async def test_a_start_that_fails_for_a_reason_outside_says_it_in_a_sentence(
    error: Exception, told: str
):
    sent: list[Message] = []

    @asynccontextmanager
    async def life(_app: object) -> AsyncIterator[None]:
        raise error from OSError("why")
        yield

    async def receive() -> Message:
        return {"type": "lifespan.startup"}

    async def send(message: Message) -> None:
        sent.append(message)

    application = app.Application(lifespan=life)
    with pytest.raises(type(error)):
        await application({"type": "lifespan"}, receive, send)

    assert [message["type"] for message in sent] == ["lifespan.startup.failed"]
    assert sent[0]["message"].startswith(told)

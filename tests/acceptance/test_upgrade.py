"""An installation of an earlier version, its database and `.env` as they are, serves on."""

from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa
from tests.support import commands
from tests.support.processes import ServeProcess

from pve402 import client
from pve402.storage import migrate

#: The tables of version 0.1.0, and those of versions before it.
EARLIER = ("0004", "0003", "0002")


@pytest.mark.parametrize("revision", EARLIER)
async def test_a_database_of_an_earlier_version_serves_on(
    serve: Callable[..., ServeProcess], tmp_path: Path, revision: str
) -> None:
    database = tmp_path / "earlier.sqlite3"
    kept = {"DATABASE_URL": f"sqlite:///{database}"}
    earlier = serve(**kept)
    wallet = earlier.devnet.wallet(1_000_000)
    container = commands.lease(earlier, wallet)
    earlier.process.end()
    await migrate.downgrade(sa.make_url(f"sqlite+aiosqlite:///{database}"), revision)
    assert _revision(database) == revision

    later = serve(**kept, **_vmids_of(container.ctid))

    moved = container.at(later)
    assert _revision(database) == migrate.newest_revision()
    assert moved.output("echo still here") == "still here\n"
    async with client.Client(later.url, key=wallet.key.hex(), token=container.token) as tenant:
        renewed = await tenant.renew(container.lease_id, 5)
        (listed,) = await tenant.leases()
        await tenant.end(container.lease_id)
    assert listed.expires_at == renewed.answer.expires_at


def _revision(database: Path) -> str:
    with sa.create_engine(f"sqlite:///{database}").connect() as connection:
        return str(connection.execute(sa.text("select version_num from alembic_version")).scalar())


def _vmids_of(ctid: str) -> dict[str, str]:
    """The settings that another server of this session has otherwise."""
    block = int(ctid) // 1000 * 1000
    return {"PVE_VMID_MIN": str(block), "PVE_VMID_MAX": str(block + 999)}

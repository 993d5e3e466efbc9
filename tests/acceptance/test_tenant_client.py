"""The client in a tenant's program, against a running service: only leases are paid for."""

from pathlib import Path

from tests.support.processes import ServeProcess

from pve402 import client, schemas

WISH = schemas.LeaseRequest(
    sku="standard-lxc",
    runtime_minutes=5,
    hostname="in-a-program",
    memory_mb=256,
    disk_gb=4,
    password="a-good-password",
)
COMMAND = schemas.ExecRequest(argv=["hostname"])


async def test_a_life_of_a_lease_is_one_transfer(service: ServeProcess, tmp_path: Path) -> None:
    wallet = service.devnet.wallet(1_000_000)
    (tmp_path / "file").write_bytes(b"hello")

    async with client.Client(service.url, key=wallet.key.hex()) as tenant:
        lease = (await tenant.lease(WISH)).answer
        for name in (lease.ctid, lease.lease_id):
            assert (await client.commands.run(tenant, name, COMMAND)).stdout == "in-a-program\n"
            told = [it async for it in client.commands.follow(tenant, name, COMMAND)]
            assert isinstance(told[-1], client.commands.Ending)
        await client.files.put_file(tenant, lease.lease_id, tmp_path / "file", "/root/file")
        await client.files.get_file(tenant, lease.lease_id, "/root/file", tmp_path / "back")
        assert await client.names.resolve(tenant, "in-a-program") == lease.lease_id
        assert [item.lease_id for item in await tenant.leases()] == [lease.lease_id]
        await tenant.end(lease.lease_id)

    assert (tmp_path / "back").read_bytes() == b"hello"
    assert service.devnet.usdc(wallet.address) == 1_000_000 - int(lease.amount)


async def test_a_token_of_a_lease_is_made_again(service: ServeProcess) -> None:
    wallet = service.devnet.wallet(1_000_000)
    async with client.Client(service.url, key=wallet.key.hex()) as tenant:
        lease = (await tenant.lease(WISH)).answer
    async with client.Client(service.url, key=wallet.key.hex()) as tenant:
        made = await tenant.log_in(lease.lease_id)
        shown = await tenant.show(lease.lease_id)
        await tenant.end(lease.lease_id)

    assert shown.ctid == lease.ctid
    assert made.access_token != lease.access_token
    assert service.devnet.usdc(wallet.address) == 1_000_000 - int(lease.amount)

"""What becomes of a box during its lease: another size, or a fresh container in its place."""

from collections.abc import Mapping, Sequence

from pve402 import client, schemas
from pve402.sdk import facts


class AsyncAlterations(facts.Facts):
    """How a box becomes another."""

    _service: client.Client

    async def show(self) -> schemas.LeaseItem:
        """The lease as it is now. Raises Refused, ServiceUnreachable."""
        self._state.lease = found = await self._service.show(self.lease_id)
        return found

    async def quote_change(
        self,
        *,
        cores: int | None = None,
        memory_mb: int | None = None,
        disk_gb: int | None = None,
    ) -> schemas.ChangeAnswer:
        """What another size would cost, and when the lease would end. Raises as `show`."""
        wanted = {"cores": cores, "memory_mb": memory_mb, "disk_gb": disk_gb}
        return await client.size_changes.quote(self._service, self.lease_id, **wanted)

    async def change(
        self,
        *,
        cores: int | None = None,
        memory_mb: int | None = None,
        disk_gb: int | None = None,
        allow_restart: bool = False,
    ) -> schemas.ChangeAnswer:
        """Change the size, and with it how long the paid time lasts; a disk only grows.

        With `allow_restart`, the box is stopped and started if need be. Raises as `show`.
        """
        changed = await client.size_changes.change(
            self._service,
            self.lease_id,
            cores=cores,
            memory_mb=memory_mb,
            disk_gb=disk_gb,
            allow_restart=allow_restart,
        )
        await self.show()
        return changed

    async def reinstall(
        self,
        *,
        template: str | None = None,
        password: str | None = None,
        ssh_public_keys: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        user_data: str | None = None,
        user_data_network: bool | None = None,
        delete_snapshots: bool = False,
    ) -> schemas.ReinstallAnswer:
        """Destroy the container and have a fresh one in its place; all files are lost.

        Lease, token, addresses, size and end stay. Without password and keys, the keys that it was
        leased with may log in; without `env`, the variables stay. `state` is `reinstalling` if it
        takes long: `reinstalled` shows how it goes on. Raises as `show`.
        """
        wish = schemas.ReinstallRequest(
            template=template,
            password=password,
            ssh_public_keys=list(ssh_public_keys),
            env=None if env is None else dict(env),
            user_data=user_data,
            user_data_network=user_data_network,
            delete_snapshots=delete_snapshots,
        )
        made = await client.reinstalls.reinstall(self._service, self.lease_id, wish)
        await self.show()
        return made

    async def reinstalled(self) -> schemas.ReinstallAnswer:
        """The latest reinstallation, and how far it is. Raises as `show`."""
        return await client.reinstalls.show(self._service, self.lease_id)

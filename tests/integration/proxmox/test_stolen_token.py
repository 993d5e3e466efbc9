"""What somebody can do who has the service's token, with exactly the documented rights."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tests.integration.leases import test_isolation_rights as documented

from pve402.proxmox import errors
from pve402.proxmox.client import ProxmoxClient, ProxmoxOptions
from pve402_devnet.pve.simulator import SimulatedProxmox

OUT_OF_REACH = {
    "give itself rights": ("PUT", "/access/acl", {"path": "/", "roles": "Administrator"}),
    "make a token": ("POST", f"/access/users/{documented.USER}/token/more", {}),
    "make a user": ("POST", "/access/users", {"userid": "thief@pve"}),
    "switch the firewall off": ("PUT", "/cluster/firewall/options", {"enable": 0}),
    "open a node": ("POST", "/nodes/pve/firewall/rules", {"type": "in", "action": "ACCEPT"}),
    "make a bridge": ("POST", "/cluster/sdn/zones", {"zone": "thief", "type": "simple"}),
}


@pytest.fixture
async def thief() -> AsyncIterator[ProxmoxClient]:
    """Somebody with the token, at a cluster of an operator who followed the page."""
    async with SimulatedProxmox(documented.CHOSEN) as proxmox:
        documented.grant(proxmox)
        options = ProxmoxOptions(
            host=proxmox.base_url,
            token_id=f"{documented.USER}!service",
            token_secret=documented.SECRET,
        )
        async with ProxmoxClient(options) as client:
            yield client


@pytest.mark.parametrize("what", OUT_OF_REACH)
async def test_the_cluster_itself_is_out_of_reach(thief: ProxmoxClient, what: str) -> None:
    method, path, form = OUT_OF_REACH[what]
    if what == "give itself rights":
        form = {**form, "users": documented.USER}

    with pytest.raises(errors.PermissionDenied):
        await thief.call(method, path, form)


async def test_every_container_is_within_reach(thief: ProxmoxClient) -> None:
    made = {"vmid": 300, "ostemplate": "local:vztmpl/busybox-alpine-3.22_1_amd64.tar.gz"}
    await thief.call("POST", "/nodes/pve/lxc", {**made, "storage": "local", "rootfs": "local:1"})

    opened = await thief.call("PUT", "/nodes/pve/lxc/300/firewall/options", {"enable": 0})
    gone = await thief.call("DELETE", "/nodes/pve/lxc/300")

    assert opened is None
    assert gone.startswith("UPID:pve:")

"""A container out of the pool: its tenant's own in every way, through real shells."""

from __future__ import annotations

import subprocess
import time
from typing import Any

import pytest
import requests
from tests.support.api_fixtures import BODY
from tests.support.processes import ServeProcess

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIZQ1bBq0sSF2GsAc9qTZ1JqBv1ZzY1R0J9l2Nc1xXyz me@example"
TELL = (
    "hostname; cat /etc/hostname /root/.ssh/authorized_keys; grep -c mine.example.org /etc/hosts;"
    " sed -n 's/^root:\\([^:]*\\):.*/\\1/p' /etc/shadow; stat -c %a /etc/shadow /root/.ssh"
)


@pytest.mark.parametrize(
    "template",
    [
        "local:vztmpl/debian-12-standard_12.12-1_amd64.tar.zst",
        "local:vztmpl/busybox-alpine-3.22_1_amd64.tar.gz",
    ],
    ids=["debian", "busybox"],
)
def test_it_has_its_tenants_name_password_and_keys(serve, template: str):
    service = serve(PVE402_POOL="standard-lxc:1:512:8=1", PVE_OS_TEMPLATE=template)
    vmid = wait_until_ready(service)
    body = {**BODY, "hostname": "mine.example.org", "sshPublicKeys": [KEY]}

    bought = service.tenant().post(f"{service.url}/lease/container", json=body, timeout=60).json()
    told = requests.post(
        f"{service.url}/management/exec/{bought['ctid']}",
        json={"command": TELL},
        headers={"Authorization": f"Bearer {bought['accessToken']}"},
        timeout=60,
    ).json()

    name, short, key, hosts, hashed, *modes = told["stdout"].splitlines()
    assert bought["ctid"] == vmid
    assert (name, short, key, hosts) == ("mine.example.org", "mine", KEY, "1")
    assert hashed == hash_of(BODY["password"], salt=hashed.split("$")[2])
    assert modes == ["600", "700"]
    assert configured(service, vmid)["hostname"] == "mine.example.org"
    assert BODY["password"] not in service.process.said()


def configured(service: ServeProcess, ctid: str) -> dict[str, Any]:
    """The container's configuration on Proxmox VE."""
    node = service.devnet.guests()[ctid]["node"]
    found: dict[str, Any] = service.devnet.pve(f"/nodes/{node}/lxc/{ctid}/config")
    return found


def wait_until_ready(service: ServeProcess) -> str:
    """Wait for the container of the pool; its ctid."""
    for _ in range(600):
        said = service.process.said()
        if "pool_guest_ready" in said:
            names = {row.get("name"): ctid for ctid, row in service.devnet.guests().items()}
            ready = [
                ctid for name, ctid in names.items() if name == f"ready-{ctid}" and ctid in said
            ]
            if ready:
                return max(ready, key=int)
        time.sleep(0.1)
    pytest.fail(f"the pool does not fill:\n{service.process.said()[-3000:]}")


def hash_of(password: str, *, salt: str) -> str:
    """What another program makes of a password."""
    command = ["openssl", "passwd", "-6", "-salt", salt, "-stdin"]
    made = subprocess.run(
        command, input=f"{password}\n", check=True, capture_output=True, text=True
    )
    return made.stdout.strip()

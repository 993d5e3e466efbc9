"""From the paid request to a usable shell, cold and out of the pool, with real latencies.

The devnet's Proxmox VE takes the times that were measured on a real one; the chain settles at once,
so a block's time comes on top of both on a public network.
"""

import time
from pathlib import Path
from statistics import median

import requests
from dotenv import dotenv_values
from tests.bench import rows
from tests.support import processes
from tests.support.api_fixtures import BODY

TURNS = 3
POOL = f"standard-lxc:1:512:8={TURNS}"
_FILL_SECONDS = 60.0


def measure(folder: Path) -> list[rows.Row]:
    """Lease some containers each way, and run a command in each."""
    env_file = folder / "latency.env"
    process = processes.start(folder, "devnet", "--env-file", str(env_file), "--latency", "1")
    try:
        processes.wait_until(env_file.exists, process, "up")
        settings = {k: v for k, v in dotenv_values(env_file).items() if v is not None}
        devnet = processes.DevnetProcess(process=process, env_file=env_file, settings=settings)
        with processes.serving(folder, devnet) as cold:
            made = [_until_shell(cold) for _ in range(TURNS)]
        with processes.serving(folder, devnet, PVE402_POOL=POOL) as warm:
            _wait_until_full(warm)
            taken = [_until_shell(warm) for _ in range(TURNS)]
    finally:
        process.end()
    return [
        rows.Row(
            what="paid request to usable shell, out of the pool",
            ours=f"{median(taken):.2f} s",
            beside="created cold",
            peer=f"{median(made):.2f} s",
            ratio=f"{median(made) / median(taken):.1f}",
            aim="< 1.5 s",
        )
    ]


def _until_shell(service: processes.ServeProcess) -> float:
    tenant = service.tenant()
    began = time.perf_counter()
    bought = tenant.post(f"{service.url}/lease/container", json=BODY, timeout=60).json()
    said = requests.post(
        f"{service.url}/management/exec/{bought['ctid']}",
        json={"command": "echo usable"},
        headers={"Authorization": f"Bearer {bought['accessToken']}"},
        timeout=60,
    ).json()
    seconds = time.perf_counter() - began
    if said["stdout"] != "usable\n":
        raise RuntimeError(f"no shell: {said}")
    return seconds


def _wait_until_full(service: processes.ServeProcess) -> None:
    give_up_at = time.monotonic() + _FILL_SECONDS
    while service.process.said().count("pool_guest_ready") < TURNS:
        if time.monotonic() > give_up_at:
            raise TimeoutError("the pool does not fill")
        time.sleep(0.2)

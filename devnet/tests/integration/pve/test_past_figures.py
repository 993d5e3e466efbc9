"""Past figures: as many as on Proxmox VE 9, in bytes a second, and kept under the vmid."""

import pytest
from devnet.tests.integration.pve.conftest import Client

GUEST = "/nodes/pve/lxc/100"


@pytest.mark.parametrize(
    ("frame", "points", "seconds"),
    [
        ("hour", 60, 60),
        ("day", 1440, 60),
        ("week", 336, 1800),
        ("month", 1440, 1800),
        ("year", 1440, 21600),
    ],
)
async def test_a_time_frame_has_its_points(
    client: Client, frame: str, points: int, seconds: int
) -> None:
    await client.create(100)

    shown = (await client.call("GET", f"{GUEST}/rrddata", timeframe=frame)).data

    times = [point["time"] for point in shown]
    assert len(times) == points
    assert times == [times[0] + n * seconds for n in range(points)]
    assert times[-1] % seconds == 0


async def test_the_figures_of_a_guest_outlive_it(client: Client) -> None:
    world = client.proxmox.world
    await client.create(100)
    await client.run("POST", f"{GUEST}/status/start")
    world.guests[100].started_at = world.clock.now() - 1200
    await client.run("POST", f"{GUEST}/status/stop")
    await client.run("DELETE", GUEST)

    kept = (await client.call("GET", f"{GUEST}/rrddata", timeframe="hour")).data
    await client.create(100)
    shown = (await client.call("GET", f"{GUEST}/rrddata", timeframe="hour")).data

    for points in (kept, shown):
        assert sum("cpu" in point for point in points) >= 19

"""A devnet whose times are those of tests/bench/latencies.toml, in a process of its own.

    python -m tests.bench.slow_world ENV_FILE [links] [packets]

The datacenter's firewall is on. With `links` the storage is of type btrfs and makes linked clones;
with `packets` guests have network cards that are filtered, where this machine can have those.
"""

import asyncio
import dataclasses
import sys
import tomllib
from collections.abc import Collection
from pathlib import Path
from typing import Any

from pve402_devnet import command, envfile, proxmox
from pve402_devnet.composition import Devnet
from pve402_devnet.options import DevnetOptions
from pve402_devnet.pve import cluster

TABLE = Path(__file__).with_name("latencies.toml")
PACKETS = "DEVNET_PACKETS"
"""In the file of settings: whether guests have network cards."""

_LET_IN = ("DNS", "Ping")


def figures(part: str) -> dict[str, float]:
    """Seconds by name, of one part of the table."""
    table: dict[str, dict[str, Any]] = tomllib.loads(TABLE.read_text(encoding="utf-8"))[part]
    return {name: float(row["seconds"]) for name, row in table.items()}


async def run(env_file: Path, wanted: Collection[str]) -> None:
    """Serve until a signal; the file with the settings is there once all of it answers."""
    ending = command.ending()
    devnet = await _start("packets" in wanted)
    try:
        _furnish(devnet.proxmox.world, links="links" in wanted)
        told = {PACKETS: "1" if devnet.options.network else ""}
        envfile.write(env_file, devnet.settings | told)
        await ending.wait()
    finally:
        await devnet.stop()


async def _start(with_packets: bool) -> Devnet:
    try:
        return await Devnet(DevnetOptions(network=with_packets)).start()
    except proxmox.GuestsRefused:
        if not with_packets:
            raise
        return await _start(with_packets=False)


def _furnish(world: cluster.Cluster, *, links: bool) -> None:
    world.latencies = dataclasses.replace(world.latencies, **figures("proxmox"))
    world.access.grant("/", proxmox.SERVICE_USER, "R402PullNode", propagate=False)
    world.firewalls.cluster.options["enable"] = 1
    for macro in _LET_IN:
        rule: dict[str, Any] = {"type": "in", "action": "ACCEPT", "macro": macro, "enable": 1}
        world.firewalls.node("pve").rules.append(rule)
    for storage in world.storages if links else ():
        storage.options = dataclasses.replace(storage.options, type="btrfs", snapshots=True)


if __name__ == "__main__":
    asyncio.run(run(Path(sys.argv[1]), sys.argv[2:]))

"""A devnet whose times are those of tests/bench/latencies.toml, in a process of its own.

python -m tests.bench.slow_world ENV_FILE
"""

import asyncio
import dataclasses
import sys
import tomllib
from pathlib import Path
from typing import Any

from pve402_devnet import command, envfile
from pve402_devnet.composition import Devnet
from pve402_devnet.options import DevnetOptions

TABLE = Path(__file__).with_name("latencies.toml")


def figures(part: str) -> dict[str, float]:
    """Seconds by name, of one part of the table."""
    table: dict[str, dict[str, Any]] = tomllib.loads(TABLE.read_text(encoding="utf-8"))[part]
    return {name: float(row["seconds"]) for name, row in table.items()}


async def run(env_file: Path) -> None:
    """Serve until a signal; the file with the settings is there once all of it answers."""
    ending = command.ending()
    async with Devnet(DevnetOptions()) as devnet:
        world = devnet.proxmox.world
        world.latencies = dataclasses.replace(world.latencies, **figures("proxmox"))
        envfile.write(env_file, devnet.settings)
        await ending.wait()


if __name__ == "__main__":
    asyncio.run(run(Path(sys.argv[1])))

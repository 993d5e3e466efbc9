"""The Python SDK: a rented container as an object.

`Box` blocks; `AsyncBox` is the same for asyncio, and the only one that is written out. Both are
names of the package itself, which imports them when they are first used:

    import pve402

    with pve402.Box.lease(url, key="0x...", minutes=10, max_usd="0.05") as box:
        print(box.run("make test").stdout)
"""

from pve402.sdk.blocking import Box, Command, Files, Images, Ports, Snapshots, Stream
from pve402.sdk.box import AsyncBox
from pve402.sdk.commands import AsyncCommand
from pve402.sdk.files import AsyncFiles
from pve402.sdk.paying import Keeping
from pve402.sdk.ports import AsyncPorts
from pve402.sdk.private_images import AsyncImages
from pve402.sdk.snapshots import AsyncSnapshots

__all__ = [
    "AsyncBox",
    "AsyncCommand",
    "AsyncFiles",
    "AsyncImages",
    "AsyncPorts",
    "AsyncSnapshots",
    "Box",
    "Command",
    "Files",
    "Images",
    "Keeping",
    "Ports",
    "Snapshots",
    "Stream",
]

"""`pve402-devnet pve`: a simulated Proxmox VE on loopback until Ctrl-C."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from pve402_devnet import command
from pve402_devnet.guests.options import RuntimeOptions
from pve402_devnet.guests.runtime import NamespaceRuntime
from pve402_devnet.pve import options, simulator
from pve402_devnet.terminal.manners import TerminalManners
from pve402_devnet.terminal.service import Consoles
from pve402_devnet.wires.cluster import ClusterNetwork

_PORT = 8006


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line and serve; returns the exit status."""
    return command.main(make_parser(), _serve, arguments)


def make_parser() -> argparse.ArgumentParser:
    """The command line's options."""
    parser = argparse.ArgumentParser(prog="pve402-devnet pve", description=__doc__)
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="Loopback address to listen on.")
    command.add_port(add, _PORT)
    add(
        "--control-port",
        type=command.port,
        metavar="N",
        help="Also listen for control calls that order faults.",
    )
    add("--tls", action="store_true", help="HTTPS with a self-signed certificate.")
    add("--nodes", default="pve", help="Names of the nodes, separated by commas.")
    add("--root-password", default="", help="Password of root@pam; random by default.")
    add(
        "--callers-address",
        default="",
        metavar="ADDRESS",
        help="Where the node sees its callers come from, so that its firewall filters them.",
    )
    command.add_latency(add)
    progress = [kind.value for kind in options.Progress]
    add("--progress", choices=progress, default="time", help="How simulated time passes.")
    add("--exec", action="store_true", help="Offer the exec call that stock Proxmox VE lacks.")
    add("--shells", action="store_true", help="Containers run real shells, with consoles.")
    command.add_network(add)
    command.add_unsafe_shells(add)
    return parser


def options_of(chosen: argparse.Namespace) -> options.SimulatorOptions:
    """What the command line asks for."""
    return options.SimulatorOptions(
        host=chosen.host,
        port=chosen.port,
        control_port=chosen.control_port,
        tls=chosen.tls,
        callers_address=chosen.callers_address,
        nodes=tuple(
            options.NodeOptions(name=name, address=f"10.99.0.{number}")
            for number, name in enumerate(chosen.nodes.split(","), start=1)
        ),
        storages=(options.StorageOptions(), options.LOCAL_LVM),
        templates=(options.DEBIAN, *options.TEMPLATES),
        root_password=chosen.root_password,
        progress=options.Progress(chosen.progress),
        latency_scale=chosen.latency,
        exec_endpoint=chosen.exec,
    )


async def _serve(chosen: argparse.Namespace) -> None:
    ending = command.ending()
    async with _proxmox(chosen) as proxmox:
        command.say(f"PVE_HOST={proxmox.base_url}")
        command.say(f"PVE_NODE={proxmox.world.local_node}")
        command.say(f"PVE_TOKEN_ID={proxmox.token_id}")
        command.say(f"PVE_TOKEN_SECRET={proxmox.token_secret}")
        command.say(f"PVE_ROOT_PASSWORD={proxmox.root_password}")
        if chosen.control_port is not None:
            command.say(f"# control: {proxmox.control_url}")
        if chosen.tls:
            command.say(f"# fingerprint: {proxmox.fingerprint_sha256}")
        await ending.wait()


@asynccontextmanager
async def _proxmox(chosen: argparse.Namespace) -> AsyncIterator[simulator.SimulatedProxmox]:
    made = options_of(chosen)
    if not (chosen.shells or chosen.network):
        async with simulator.SimulatedProxmox(made) as proxmox:
            yield proxmox
        return
    with tempfile.TemporaryDirectory(prefix="pve402-guests-") as disks:
        runtime = NamespaceRuntime(RuntimeOptions(disks=disks, unsafe_shells=chosen.unsafe_shells))
        consoles = Consoles(runtime, TerminalManners())
        proxmox = simulator.SimulatedProxmox(
            made,
            guest_runtime=runtime,
            terminal=consoles,
            network=ClusterNetwork(runtime, serves=True) if chosen.network else None,
        )
        try:
            await runtime.check()
            await proxmox.start()
            yield proxmox
        except RuntimeError as error:
            raise command.CannotStart(str(error)) from error
        finally:
            await proxmox.stop()
            consoles.close()
            await runtime.close()


if __name__ == "__main__":
    sys.exit(main())

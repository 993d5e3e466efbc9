"""`python -m pve402_devnet.pve`: a simulated Proxmox VE on loopback until Ctrl-C."""

import argparse
import asyncio
import contextlib
import signal
import sys

from pve402_devnet.pve import options, simulator


def main() -> int:
    """Read the command line, serve, and end cleanly on Ctrl-C."""
    arguments = _parser().parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(_options(arguments)))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m pve402_devnet.pve", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="loopback address to listen on")
    parser.add_argument("--port", type=int, default=8006, help="0 takes a free one")
    parser.add_argument("--control-port", type=int, help="also listen for fault orders")
    parser.add_argument("--tls", action="store_true", help="HTTPS, self-signed")
    parser.add_argument("--nodes", default="pve", help="names of the nodes, by comma")
    parser.add_argument("--latency", type=float, default=1.0, help="scale of all times; 0: none")
    parser.add_argument("--progress", choices=[p.value for p in options.Progress], default="time")
    parser.add_argument("--exec", action="store_true", help="provide POST .../exec")
    return parser


def _options(arguments: argparse.Namespace) -> options.SimulatorOptions:
    names = arguments.nodes.split(",")
    return options.SimulatorOptions(
        host=arguments.host,
        port=arguments.port,
        control_port=arguments.control_port,
        tls=arguments.tls,
        nodes=tuple(
            options.NodeOptions(name=name, address=f"10.99.0.{number}")
            for number, name in enumerate(names, start=1)
        ),
        progress=options.Progress(arguments.progress),
        latency_scale=arguments.latency,
        exec_endpoint=arguments.exec,
    )


async def _serve(chosen: options.SimulatorOptions) -> None:
    done = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, done.set)
    async with simulator.SimulatedProxmox(chosen) as proxmox:
        _say(f"PVE_HOST={proxmox.base_url}")
        _say(f"PVE_NODE={proxmox.world.local_node}")
        _say(f"PVE_TOKEN_ID={proxmox.token_id}")
        _say(f"PVE_TOKEN_SECRET={proxmox.token_secret}")
        if chosen.control_port is not None:
            _say(f"# control: {proxmox.control_url}")
        if chosen.tls:
            _say(f"# fingerprint: {proxmox.fingerprint_sha256}")
        await done.wait()


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())

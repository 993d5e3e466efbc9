"""A node whose vncproxy leads to a VNC server that others wrote: TigerVNC, with an xterm on it.

`python -m tests.support.vnc_host --port 0 --typed FILE` answers `vncproxy` and `vncwebsocket` of
every container, and prints its address. What is typed into the xterm is written to FILE, line by
line. It takes the place of `pve402_devnet.terminal` under `console_rig`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import secrets
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from aiohttp import WSMsgType, web
from tests.support import programs
from tests.support.loopback import free_port

from pve402.proxmox import vnc

WIDTH, HEIGHT = 640, 400
_SERVER = "Xtigervnc"
#: TigerVNC keeps its password encrypted with this key, which is the same everywhere.
_FILE_KEY = bytes([23, 82, 107, 6, 35, 78, 88, 7]).decode("latin-1")
_UPID = "UPID:pve:00001492:00097C11:6B01E963:vncproxy:103:svc@pve!test:"


def main(arguments: list[str]) -> None:
    """Serve until told to end."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--typed", type=Path, required=True)
    chosen = parser.parse_args(arguments)
    password = secrets.token_hex(4)
    with _vnc_server(password, chosen.typed) as rfb_port:
        asyncio.run(_serve(Host(rfb_port, password), chosen.port))


class Host:
    """The two calls of Proxmox VE that lead to a picture."""

    def __init__(self, rfb_port: int, password: str) -> None:
        self._rfb_port = rfb_port
        self._password = password

    async def vncproxy(self, _request: web.Request) -> web.Response:
        """Name the server and its password."""
        answer = {
            "user": "svc@pve!test",
            "ticket": f"{self._password}:PVEVNC:6B01E963::sig",
            "password": self._password,
            "port": "5900",
            "upid": _UPID,
            "cert": "",
        }
        return web.json_response({"data": answer})

    async def vncwebsocket(self, request: web.Request) -> web.WebSocketResponse:
        """Pass bytes on, both ways."""
        socket = web.WebSocketResponse(protocols=("binary",))
        await socket.prepare(request)
        reader, writer = await asyncio.open_connection("127.0.0.1", self._rfb_port)
        back = asyncio.create_task(_pass_back(reader, socket))
        async for message in socket:
            if message.type is WSMsgType.BINARY:
                writer.write(message.data)
                await writer.drain()
        writer.close()
        back.cancel()
        await asyncio.gather(back, return_exceptions=True)
        return socket


async def _pass_back(reader: asyncio.StreamReader, socket: web.WebSocketResponse) -> None:
    while data := await reader.read(65536):
        await socket.send_bytes(data)
    await socket.close()


async def _serve(host: Host, port: int) -> None:
    application = web.Application()
    guest = "/api2/json/nodes/{node}/lxc/{vmid}"
    application.router.add_post(f"{guest}/vncproxy", host.vncproxy)
    application.router.add_get(f"{guest}/vncwebsocket", host.vncwebsocket)
    runner = web.AppRunner(application, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    told_to_end = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, told_to_end.set)
    sys.stdout.write(f"http://127.0.0.1:{runner.addresses[0][1]}\n")
    sys.stdout.flush()
    await told_to_end.wait()
    await runner.cleanup()


@contextlib.contextmanager
def _vnc_server(password: str, typed: Path) -> Iterator[int]:
    """Run a VNC server on a display of its own, and an xterm that writes down what is typed."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        password_file = Path(folder, "password")
        encrypted = vnc.answer_challenge(_FILE_KEY, password.encode().ljust(8, b"\0"))
        password_file.write_bytes(encrypted)
        port = free_port()
        display = stack.enter_context(_display(port, password_file))
        environment = {"DISPLAY": f":{display}", "PATH": os.environ["PATH"], "HOME": folder}
        shell = f"exec cat >'{typed}'"
        command = ["xterm", "-geometry", "80x24+0+0", "-e", "sh", "-c", shell]
        stack.enter_context(programs.started(command, env=environment))
        yield port


@contextlib.contextmanager
def _display(port: int, password_file: Path) -> Iterator[str]:
    """Run the server on the first display that is free; the number of it."""
    told, telling = os.pipe()
    command = [
        *(_SERVER, "-displayfd", str(telling), "-rfbport", str(port), "-localhost"),
        *("-SecurityTypes", "VncAuth", "-PasswordFile", str(password_file)),
        *("-geometry", f"{WIDTH}x{HEIGHT}", "-depth", "24", "-ac", "-nolisten", "tcp"),
    ]
    quiet = subprocess.DEVNULL
    with programs.started(command, pass_fds=[telling], stdout=quiet, stderr=quiet):
        os.close(telling)
        with os.fdopen(told) as reader:
            display = reader.readline().strip()
        if not display:
            raise RuntimeError(f"{_SERVER} does not start")
        yield display


if __name__ == "__main__":
    main(sys.argv[1:])

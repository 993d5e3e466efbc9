"""What a type checker sees of the SDK in a user's program; checked by mypy, never run."""

from typing import assert_type

import pve402
from pve402 import client, schemas, sdk


def blocking() -> None:
    """Use a box without asyncio."""
    with pve402.Box.lease("https://rent.example.com", minutes=10, max_usd="0.05") as box:
        assert_type(box, pve402.Box)
        assert_type(box.run(["make", "test"], check=True), schemas.ExecAnswer)
        assert_type(box.spawn("make", env={"A": "b"}), sdk.Command)
        assert_type(box.files.read("/etc/os-release"), bytes)
        assert_type(box.ports.publish(8000).url, str)
        with box.stream("cat") as stream:
            assert_type(stream, sdk.Stream)
            assert_type(next(iter(stream.output())), client.commands.Output)
            stream.write("text")  # type: ignore[arg-type]  # bytes
        box.run("make", timeout=3)  # type: ignore[call-arg]  # timeout_seconds
        box.run(3)  # type: ignore[arg-type]
    pve402.Box.lease("https://rent.example.com")  # type: ignore[call-arg]  # for how long?


async def asynchronous() -> None:
    """Use a box with asyncio."""
    async with pve402.AsyncBox.lease("https://rent.example.com", minutes=10) as box:
        assert_type(box, pve402.AsyncBox)
        assert_type(await box.run("uptime"), schemas.ExecAnswer)
        assert_type(await box.spawn("make"), sdk.AsyncCommand)
    again = await pve402.AsyncBox.connect("https://rent.example.com", "l0", token="t")
    assert_type(again, pve402.AsyncBox)
    assert_type(await again.keep_alive(max_usd="1"), sdk.Keeping)

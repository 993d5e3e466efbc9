"""The SDK for programs without asyncio: each method is the one of the asynchronous class.

with pve402.Box.lease(url, key="0x...", minutes=10, max_usd="0.05") as box:
    print(box.run("make test").stdout)
"""

import functools
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self

from pve402.client import streams
from pve402.sdk import facts, portal
from pve402.sdk.box import AsyncBox, Opening
from pve402.sdk.commands import AsyncCommand
from pve402.sdk.files import AsyncFiles
from pve402.sdk.portal import Facade, Portal
from pve402.sdk.ports import AsyncPorts
from pve402.sdk.private_images import AsyncImages
from pve402.sdk.snapshots import AsyncSnapshots

Given = ParamSpec("Given")


class Stream(Facade[streams.Stream]):
    """A program that runs while one talks to it."""

    @property
    def exit_code(self) -> int | None:
        """How it ended; None while it runs."""
        return self._core.exit_code

    write = portal.calls(streams.Stream.write)
    resize = portal.calls(streams.Stream.resize)
    end_input = portal.calls(streams.Stream.end_input)
    output = portal.iterates(streams.Stream.output)


class Command(Facade[AsyncCommand]):
    """A command that runs on without us; `exec_id` is what to come back with."""

    @property
    def exec_id(self) -> str:
        """The command's name in its box: `box.command(exec_id)` comes back to it."""
        return self._core.exec_id

    show = portal.calls(AsyncCommand.show)
    wait = portal.calls(AsyncCommand.wait)
    output = portal.iterates(AsyncCommand.output)
    write = portal.calls(AsyncCommand.write)
    end_input = portal.calls(AsyncCommand.end_input)
    signal = portal.calls(AsyncCommand.signal)
    remove = portal.calls(AsyncCommand.remove)


class Files(Facade[AsyncFiles]):
    """The files of a box, named by absolute paths; every call may raise Refused as its class."""

    read = portal.calls(AsyncFiles.read)
    read_text = portal.calls(AsyncFiles.read_text)
    write = portal.calls(AsyncFiles.write)
    upload = portal.calls(AsyncFiles.upload)
    download = portal.calls(AsyncFiles.download)
    list = portal.calls(AsyncFiles.list)
    stat = portal.calls(AsyncFiles.stat)
    exists = portal.calls(AsyncFiles.exists)
    make_folder = portal.calls(AsyncFiles.make_folder)
    move = portal.calls(AsyncFiles.move)
    change = portal.calls(AsyncFiles.change)
    remove = portal.calls(AsyncFiles.remove)


class Ports(Facade[AsyncPorts]):
    """The ports of a box that have an address on the web."""

    publish = portal.calls(AsyncPorts.publish)
    show = portal.calls(AsyncPorts.show)
    unpublish = portal.calls(AsyncPorts.unpublish)
    login = portal.calls(AsyncPorts.login)


class Snapshots(Facade[AsyncSnapshots]):
    """States of a box's disk to come back to; they are deleted with it."""

    show = portal.calls(AsyncSnapshots.show)
    take = portal.calls(AsyncSnapshots.take)
    delete = portal.calls(AsyncSnapshots.delete)
    roll_back = portal.calls(AsyncSnapshots.roll_back)


class Images(Facade[AsyncImages]):
    """The private images of a wallet; all but `save` is about any of them."""

    show = portal.calls(AsyncImages.show)
    save = portal.calls(AsyncImages.save)
    renew = portal.calls(AsyncImages.renew)
    delete = portal.calls(AsyncImages.delete)


def _boxed(opening: Callable[Given, Opening[AsyncBox]]) -> Callable[Given, "Box"]:
    """Turn a class method of AsyncBox that makes boxes."""

    @functools.wraps(opening)
    def make(*args: Given.args, **kwargs: Given.kwargs) -> "Box":
        own = Portal()

        async def made() -> AsyncBox:
            return await opening(*args, **kwargs)

        try:
            return Box(own, own.run(made()))
        except BaseException:
            own.stop()
            raise

    return make


def _forking(
    method: Callable[Concatenate[AsyncBox, Given], Coroutine[Any, Any, list[AsyncBox]]],
) -> Callable[Concatenate["Box", Given], list["Box"]]:
    """Turn the method of AsyncBox that makes copies; each gets a loop of its own."""

    @functools.wraps(method)
    def fork(self: "Box", /, *args: Given.args, **kwargs: Given.kwargs) -> list["Box"]:
        found = self._portal.run(method(self._core, *args, **kwargs))
        return [_moved(core, self._portal) for core in found]

    return fork


def _moved(core: AsyncBox, made_in: Portal) -> "Box":
    """Give a box that was made in another loop connections in one of its own."""
    made_in.run(core.close())
    own = Portal()
    return Box(own, own.run(core._reopened()))


class Box(facts.Facts, Facade[AsyncBox]):
    """A leased container. Leaving its `with` block ends the lease, if it was leased there."""

    def __init__(self, own: Portal, core: AsyncBox) -> None:
        super().__init__(own, core)
        self._state = core._state
        self._close = portal.close_with(self, own, core.close)
        self.files = Files(own, core.files)
        self.ports = Ports(own, core.ports)
        self.snapshots = Snapshots(own, core.snapshots)
        self.images = Images(own, core.images)

    lease = staticmethod(_boxed(AsyncBox.lease))
    connect = staticmethod(_boxed(AsyncBox.connect))
    run = portal.calls(AsyncBox.run)
    stream = portal.enters(AsyncBox.stream, Stream)
    shell = portal.enters(AsyncBox.shell, Stream)
    spawn = portal.makes(AsyncBox.spawn, Command)
    command = portal.makes(AsyncBox.command, Command)
    commands = portal.calls(AsyncBox.commands)
    show = portal.calls(AsyncBox.show)
    usage = portal.calls(AsyncBox.usage)
    user_data = portal.calls(AsyncBox.user_data)
    wait_for_network = portal.calls(AsyncBox.wait_for_network)
    renew = portal.calls(AsyncBox.renew)
    keep_alive = portal.calls(AsyncBox.keep_alive)
    let_expire = portal.calls(AsyncBox.let_expire)
    start = portal.calls(AsyncBox.start)
    stop = portal.calls(AsyncBox.stop)
    pause = portal.calls(AsyncBox.pause)
    reboot = portal.calls(AsyncBox.reboot)
    quote_change = portal.calls(AsyncBox.quote_change)
    change = portal.calls(AsyncBox.change)
    reinstall = portal.calls(AsyncBox.reinstall)
    reinstalled = portal.calls(AsyncBox.reinstalled)
    end = portal.calls(AsyncBox.end)
    can_fork = portal.calls(AsyncBox.can_fork)
    fork = _forking(AsyncBox.fork)

    def __enter__(self) -> Self:
        """Nothing more: the box is there already."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the lease if it was leased here, and close the connections."""
        try:
            self._portal.run(self._core.__aexit__(kind, error, trace))
        finally:
            self.close()

    def close(self) -> None:
        """Close the connections; the lease goes on until its paid time ends."""
        self._close()

"""The blocking classes are the asynchronous ones; waiting for them can be interrupted."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import inspect
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Iterator

import pytest

import pve402
from pve402 import sdk
from pve402.client import streams
from pve402.sdk import portal

PAIRS = [
    (sdk.Box, sdk.AsyncBox),
    (sdk.Command, sdk.AsyncCommand),
    (sdk.Files, sdk.AsyncFiles),
    (sdk.Images, sdk.AsyncImages),
    (sdk.Ports, sdk.AsyncPorts),
    (sdk.Snapshots, sdk.AsyncSnapshots),
    (sdk.Stream, streams.Stream),
]
#: The client beneath is asynchronous.
ASYNC_ONLY = {"service"}


def _names(kind: type) -> set[str]:
    return {name for name in dir(kind) if not name.startswith("_")}


@pytest.mark.parametrize(("blocking", "core"), PAIRS)
def test_both_can_do_the_same(blocking: type, core: type) -> None:
    made_at_start = {"files", "images", "ports", "snapshots"} if blocking is sdk.Box else set()
    own = {"exit_code"} if blocking is sdk.Stream else set()

    assert _names(blocking) | made_at_start == (_names(core) | own) - ASYNC_ONLY


@pytest.mark.parametrize(("blocking", "core"), PAIRS)
def test_both_take_and_say_the_same(blocking: type, core: type) -> None:
    for name in _names(blocking) & _names(core) - {"lease", "connect"}:
        ours, theirs = getattr(blocking, name), getattr(core, name)
        assert inspect.getdoc(ours) == inspect.getdoc(theirs)
        if callable(ours) and not isinstance(ours, property):
            assert inspect.signature(ours) == inspect.signature(theirs)


@pytest.mark.parametrize("name", [name for names in pve402._HOMES.values() for name in names])
def test_the_package_leads_to_the_sdk(name: str) -> None:
    assert getattr(pve402, name).__name__ == name
    assert name in dir(pve402)
    assert f" as {name}\n" in inspect.getsource(pve402)


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Bxo'"):
        _ = pve402.Bxo  # type: ignore[attr-defined]


def test_importing_the_sdk_imports_no_wallet_and_the_package_nothing() -> None:
    program = (
        "import sys; import pve402; print(sorted(set(sys.modules) & {'aiohttp', 'pydantic'}));"
        "pve402.Box; print(sorted(set(sys.modules) & {'x402', 'web3', 'eth_account', 'typer'}))"
    )

    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )

    assert run.stdout == "[]\n[]\n"


class Core:
    """Something asynchronous."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.has_begun = threading.Event()

    async def add(self, one: int, *, to: int = 0) -> int:
        return one + to

    async def wait(self) -> None:
        self.has_begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError as cancelled:
            await asyncio.sleep(0)
            self.told.append("cleaned up")
            cancelled.add_note("what it means")
            raise

    async def numbers(self, most: int) -> AsyncGenerator[int]:
        try:
            for number in range(most):
                yield number
        finally:
            self.told.append("closed")

    @contextlib.asynccontextmanager
    async def opened(self) -> AsyncIterator[Core]:
        try:
            yield self
        except ZeroDivisionError:
            self.told.append("divided")

    async def close(self) -> None:
        self.told.append("over")


class Shell(portal.Facade[Core]):
    """Its blocking view."""

    add = portal.calls(Core.add)
    wait = portal.calls(Core.wait)
    numbers = portal.iterates(Core.numbers)

    @property
    def told(self) -> list[str]:
        return self._core.told

    def __init__(self, own: portal.Portal, core: Core) -> None:
        super().__init__(own, core)
        self.close = portal.close_with(self, own, core.close)


class Door(portal.Facade[Core]):
    """Another one, which opens the first."""

    opened = portal.enters(Core.opened, lambda _, core: core)


@pytest.fixture
def own() -> Iterator[portal.Portal]:
    made = portal.Portal()
    yield made
    made.stop()


def test_a_call_returns_and_raises(own: portal.Portal) -> None:
    shell = Shell(own, Core())

    assert shell.add(1, to=2) == 3
    with pytest.raises(TypeError, match="str"):
        shell.add("1")  # type: ignore[arg-type]


def test_an_interrupt_cancels_what_is_waited_for(own: portal.Portal) -> None:
    core, main = Core(), threading.get_ident()

    def interrupt() -> None:
        core.has_begun.wait(30)
        signal.pthread_kill(main, signal.SIGINT)

    interrupting = threading.Thread(target=interrupt)
    interrupting.start()
    with pytest.raises(KeyboardInterrupt) as raised:
        Shell(own, core).wait()
    interrupting.join()

    assert core.told == ["cleaned up"]
    assert raised.value.__notes__ == ["what it means"]


def test_what_is_iterated_is_closed_early_or_at_its_end(own: portal.Portal) -> None:
    shell = Shell(own, Core())

    assert list(shell.numbers(3)) == [0, 1, 2]
    left = shell.numbers(3)
    assert next(left) == 0
    del left
    gc.collect()

    assert shell.told == ["closed", "closed"]


def test_an_error_in_a_block_reaches_its_core(own: portal.Portal) -> None:
    door = Door(own, Core())

    with door.opened() as core:
        _ = 1 / 0

    assert core.told == ["divided"]


def test_what_nobody_closed_is_closed_once_it_is_gone() -> None:
    core = Core()
    shell = Shell(portal.Portal(), core)
    del shell
    gc.collect()
    closed = Shell(portal.Portal(), core)
    closed.close()
    closed.close()

    assert core.told == ["over", "over"]
    with pytest.raises(RuntimeError, match="closed"):
        closed.add(1)


def test_a_call_from_the_loop_itself_is_refused(own: portal.Portal) -> None:
    shell = Shell(own, Core())

    async def inside() -> int:
        return shell.add(1)

    with pytest.raises(RuntimeError, match="another thread"):
        own.run(inside())

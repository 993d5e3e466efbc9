"""Lets programs without asyncio call what is written for it, from a loop in a thread of its own.

The functions below turn an asynchronous method into a blocking one of the same signature and
docstring, so that nothing is written twice:

    class Box(Facade[AsyncBox]):
        run = portal.calls(AsyncBox.run)
"""

import asyncio
import concurrent.futures
import contextlib
import functools
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Any, Concatenate, Final, Generic, ParamSpec, TypeVar

Core = TypeVar("Core")
Core_co = TypeVar("Core_co", covariant=True)
Given = ParamSpec("Given")
Result = TypeVar("Result")
Made = TypeVar("Made")

_CLEAN_UP_SECONDS: Final = 10.0
_OVER: Final = object()


class Portal:
    """A loop in a thread of its own."""

    def __init__(self) -> None:
        self.is_stopped = False
        self._runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
        self._loop = self._runner.get_loop()
        self._thread = threading.Thread(target=self._serve, name="pve402", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Run a coroutine and wait for what it returns or raises.

        If the wait is interrupted, as by Ctrl-C, the coroutine is cancelled and may clean up for
        ten seconds first. What it then notes on its cancellation is noted on the interrupt too.
        """
        self._check(work)
        outcome: concurrent.futures.Future[Result] = concurrent.futures.Future()
        running: list[asyncio.Task[None]] = []

        def begin() -> None:
            running.append(self._loop.create_task(_told(work, outcome)))

        def cancel() -> None:
            if running:
                running[0].cancel()
            else:  # interrupted before it began
                work.close()
                outcome.cancel()

        try:
            self._loop.call_soon_threadsafe(begin)
            return outcome.result()
        except BaseException as error:
            if outcome.done():
                raise
            self._loop.call_soon_threadsafe(cancel)
            with contextlib.suppress(TimeoutError, concurrent.futures.CancelledError):
                cancelled = outcome.exception(_CLEAN_UP_SECONDS)
                for note in getattr(cancelled, "__notes__", ()):
                    error.add_note(note)
            raise

    def _check(self, work: Coroutine[Any, Any, object]) -> None:
        """Raise RuntimeError if nobody would ever run this."""
        if threading.current_thread() is not self._thread and not self.is_stopped:
            return
        work.close()
        raise RuntimeError("it is closed" if self.is_stopped else "this blocks; use another thread")

    def leave(self, work: Coroutine[Any, Any, object]) -> None:
        """Run a coroutine; do not wait in the thread of the loop, where that would never end."""
        if threading.current_thread() is self._thread:
            self._loop.create_task(work)
        else:
            self.run(work)

    def stop(self) -> None:
        """End the loop and its thread; what still runs there is cancelled."""
        if not self.is_stopped:
            self.is_stopped = True
            self._loop.call_soon_threadsafe(self._loop.stop)

    def _serve(self) -> None:
        with self._runner:
            self._loop.run_forever()


async def _told(
    work: Coroutine[Any, Any, Result], outcome: concurrent.futures.Future[Result]
) -> None:
    """Run, and pass on whatever comes of it."""
    try:
        result = await work
    except BaseException as error:  # noqa: BLE001 -- raised again in the thread that waits
        outcome.set_exception(error)
    else:
        outcome.set_result(result)


class Facade(Generic[Core_co]):
    """A blocking view of an asynchronous object."""

    def __init__(self, portal: Portal, core: Core_co) -> None:
        self._portal = portal
        self._core = core


def calls(
    method: Callable[Concatenate[Core, Given], Coroutine[Any, Any, Result]],
) -> Callable[Concatenate[Facade[Core], Given], Result]:
    """Turn a coroutine method into a blocking one."""

    @functools.wraps(method)
    def call(self: Facade[Core], /, *args: Given.args, **kwargs: Given.kwargs) -> Result:
        return self._portal.run(method(self._core, *args, **kwargs))

    return call


def makes(
    method: Callable[Concatenate[Core, Given], Coroutine[Any, Any, Result]],
    facade: Callable[[Portal, Result], Made],
) -> Callable[Concatenate[Facade[Core], Given], Made]:
    """Turn a coroutine method whose result needs a facade of its own."""

    @functools.wraps(method)
    def call(self: Facade[Core], /, *args: Given.args, **kwargs: Given.kwargs) -> Made:
        return facade(self._portal, self._portal.run(method(self._core, *args, **kwargs)))

    return call


def iterates(
    method: Callable[Concatenate[Core, Given], AsyncIterator[Result]],
) -> Callable[Concatenate[Facade[Core], Given], Iterator[Result]]:
    """Turn an asynchronous generator method into a generator."""

    @functools.wraps(method)
    def call(self: Facade[Core], /, *args: Given.args, **kwargs: Given.kwargs) -> Iterator[Result]:
        source = method(self._core, *args, **kwargs)
        try:
            while (item := self._portal.run(_next(source))) is not _OVER:
                yield item
        finally:
            self._portal.leave(_closed(source))

    return call


def enters(
    method: Callable[Concatenate[Core, Given], AbstractAsyncContextManager[Result]],
    facade: Callable[[Portal, Result], Made],
) -> Callable[Concatenate[Facade[Core], Given], AbstractContextManager[Made]]:
    """Turn a method that returns an asynchronous context manager."""

    @functools.wraps(method)
    @contextlib.contextmanager
    def call(self: Facade[Core], /, *args: Given.args, **kwargs: Given.kwargs) -> Iterator[Made]:
        portal, manager = self._portal, method(self._core, *args, **kwargs)
        core = portal.run(_entered(manager))
        try:
            yield facade(portal, core)
        except BaseException as error:
            if not portal.run(_left(manager, type(error), error, error.__traceback__)):
                raise
        else:
            portal.run(_left(manager, None, None, None))

    return call


def close_with(
    owner: object, portal: Portal, close: Callable[[], Coroutine[Any, Any, None]]
) -> Any:
    """Return what closes a core and its portal once: when called, or when its owner is gone."""
    return weakref.finalize(owner, _close, portal, close)


def _close(portal: Portal, close: Callable[[], Coroutine[Any, Any, None]]) -> None:
    if portal.is_stopped:
        return
    try:
        portal.leave(close())
    finally:
        portal.stop()


async def _next(source: AsyncIterator[Any]) -> Any:
    return await anext(source, _OVER)


async def _closed(source: Any) -> None:
    await source.aclose()


async def _entered(manager: AbstractAsyncContextManager[Result]) -> Result:
    return await manager.__aenter__()


async def _left(manager: AbstractAsyncContextManager[Any], *raised: Any) -> bool | None:
    return await manager.__aexit__(*raised)

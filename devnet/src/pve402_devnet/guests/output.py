"""Collect what a command in a guest writes, within a bound, until its end."""

import asyncio
import contextlib
import os

_DRAIN_SECONDS = 0.2
_CHUNK_BYTES = 65_536


class OutputPipe:
    """A pipe whose write end goes into the guest. Bytes beyond `limit_bytes` are dropped."""

    def __init__(self, limit_bytes: int) -> None:
        self._reader, self.writer = os.pipe()
        os.set_blocking(self._reader, False)
        self._limit_bytes = limit_bytes
        self._collected = bytearray()
        self._at_end = asyncio.Event()
        asyncio.get_running_loop().add_reader(self._reader, self._on_readable)

    async def finish(self) -> bytes:
        """Read the rest after the command's end, without waiting for processes it left running."""
        self.close_writer()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_DRAIN_SECONDS):
                await self._at_end.wait()
        return bytes(self._collected)

    def close_writer(self) -> None:
        """Close our copy of the write end, so that the pipe ends with the command."""
        if self.writer >= 0:
            os.close(self.writer)
            self.writer = -1

    def close(self) -> None:
        """Release both ends."""
        self.close_writer()
        asyncio.get_running_loop().remove_reader(self._reader)
        os.close(self._reader)

    def _on_readable(self) -> None:
        data = os.read(self._reader, _CHUNK_BYTES)
        if not data:
            asyncio.get_running_loop().remove_reader(self._reader)
            self._at_end.set()
        self._collected += data[: self._limit_bytes - len(self._collected)]

"""Brings the bytes of an upload into a guest, over its network or through its terminal."""

import hashlib
from collections.abc import AsyncIterator, Callable

from pve402.hub import errors, guest_scripts, packing
from pve402.hub.hub import Hub
from pve402.hub.request import ExecResult
from pve402.proxmox.guests import GuestRef

TRANSFER_SECONDS = 3600.0
#: The script's exit codes for bytes that it could not fetch: for this boot, and not yet.
_NOT_FETCHED, _NO_ROUTE_YET = 24, 25
_LONGEST_BOOT = 40
_HEAD_BYTES = 8


class Link:
    """An address from which a guest can fetch an upload, and the bytes to send it, once."""

    def __init__(self, url: str, failed_boot: str = "") -> None:
        self.url = url
        self.chunks: AsyncIterator[bytes] | None = None
        #: The guest has come.
        self.is_used = False
        #: The guest's last boot in which it could not come; it does not try again in that one.
        self.failed_boot = failed_boot


class Upload:
    """Counts and hashes the bytes that pass through, and stops at the limit."""

    def __init__(self, chunks: AsyncIterator[bytes], limit_bytes: int) -> None:
        self.size_bytes = 0
        self.digest = hashlib.sha256()
        #: Its first bytes, which tell its kind.
        self.head = b""
        self.error: BaseException | None = None
        self.cancel: Callable[[], None] = _nothing
        self._chunks = chunks
        self._limit_bytes = limit_bytes

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the bytes. On an error, cancel the program in the guest and keep the error."""
        try:
            async for chunk in self._chunks:
                self.size_bytes += len(chunk)
                if self.size_bytes > self._limit_bytes:
                    raise errors.FileTooLarge
                self.digest.update(chunk)
                if len(self.head) < _HEAD_BYTES:
                    self.head += chunk[:_HEAD_BYTES]
                yield chunk
        except Exception as error:  # noqa: BLE001 - whatever the source raises goes to the caller
            self.error = error
            self.cancel()


class Carrier:
    """Brings uploads into a guest."""

    def __init__(self, hub: Hub, guest: GuestRef) -> None:
        self._hub = hub
        self._guest = guest

    async def carry(
        self, upload: Upload, link: Link | None, path: str, temporary: str
    ) -> ExecResult:
        """Bring an upload into a new file beside its path, by its link if the guest comes.

        Raises what the upload's source raises, and OutputDamaged if the guest came and did not get
        it all.
        """
        files = (path, temporary)
        if link is not None:
            link.chunks = upload.chunks()
            words = ("fetch files", "pull", *files, link.url, link.failed_boot)
            result = await self._run(upload, words, None)
            if result.exit_code not in {_NOT_FETCHED, _NO_ROUTE_YET}:
                return result
            if link.is_used:
                raise errors.OutputDamaged("the file did not arrive complete")
            told = result.stdout.decode("ascii", "replace").strip()[:_LONGEST_BOOT]
            link.failed_boot = told if result.exit_code == _NOT_FETCHED else ""
        session = await self._hub.session(self._guest)
        source, is_packed = upload.chunks(), False
        if packing.TOOL in session.hello.tools:
            source, is_packed = await packing.packed(source)
        flag = "1" if is_packed else "0"
        return await self._run(upload, ("files", "write", *files, flag), source)

    async def _run(
        self, upload: Upload, words: tuple[str, ...], stdin: AsyncIterator[bytes] | None
    ) -> ExecResult:
        request = guest_scripts.request(*words, timeout_seconds=TRANSFER_SECONDS)
        execution = await self._hub.start(self._guest, request, stdin=stdin)
        upload.cancel = execution.cancel
        try:
            result = await execution.wait()
        except BaseException:
            execution.cancel()
            raise
        if upload.error is not None:
            raise upload.error
        return result


def _nothing() -> None:
    """There is nothing to cancel yet."""

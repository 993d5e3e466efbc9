"""Answers about files: their checksums, modes, and how an upload arrived."""

import base64
import time

from starlette.responses import Response

from pve402 import schemas
from pve402.api.messages import reply
from pve402.domain.lease import Lease
from pve402.hub import files


class Arrival:
    """Times an upload, from its first byte to the whole file."""

    def __init__(self) -> None:
        self._began_at = time.monotonic()

    def answer(
        self, lease: Lease, path: str, written: files.FileInfo, link: files.Link | None
    ) -> Response:
        """Describe what was written, which way it took, and how fast."""
        seconds = max(time.monotonic() - self._began_at, 0.001)
        answer = schemas.FileAnswer(
            ctid=lease.ctid,
            path=path,
            size_bytes=written.size_bytes,
            mode=mode_text(written),
            sha256=written.sha256 or None,
            via="network" if link is not None and link.is_used else "terminal",
            bytes_per_second=round(written.size_bytes / seconds),
        )
        return reply.respond(answer)


def checksums(info: files.FileInfo) -> dict[str, str]:
    """Return the headers with a file's checksum, if it is known."""
    if not info.sha256:
        return {}
    code = base64.b64encode(bytes.fromhex(info.sha256)).decode()
    return {"etag": f'"{info.sha256}"', "repr-digest": f"sha-256=:{code}:"}


def mode_text(info: files.FileInfo) -> str | None:
    """Return a file's permissions in octal."""
    return None if info.mode is None else f"{info.mode:04o}"

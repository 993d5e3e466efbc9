"""Compresses what goes through a terminal, where that makes it smaller.

A terminal is slow, and busybox has gzip, too. Whether it helps is seen on the first piece: files
that are compressed already go as they are.
"""

import zlib
from collections.abc import AsyncIterator

from pve402.hub import errors

#: The program in the guest, as the agent tells of it.
TOOL = "gzip"
#: What its output begins with.
MAGIC = b"\x1f\x8b"
_GZIP = 31  # of zlib: a header and a checksum around the data
_LEVEL = 1  # already far faster than any terminal
#: The part of its size that a piece may have after compression for it to be worth it.
_WORTH = 0.7
_ENOUGH_BYTES = 4096


async def packed(chunks: AsyncIterator[bytes]) -> tuple[AsyncIterator[bytes], bool]:
    """Return the same bytes, compressed if that helps, and whether they are."""
    first = b""
    while len(first) < _ENOUGH_BYTES and (chunk := await anext(chunks, b"")):
        first += chunk
    if not is_worth_it(first, len(zlib.compress(first, _LEVEL))):
        return joined(first, chunks), False
    return _compressed(joined(first, chunks)), True


def is_worth_it(data: bytes, packed_size: int) -> bool:
    """Return whether data should be compressed, of which a sample became so small."""
    return len(data) >= _ENOUGH_BYTES and packed_size < _WORTH * len(data)


def unpacked(data: bytes, most_bytes: int) -> bytes:
    """Decompress what a guest sent, up to so many bytes. Raises OutputDamaged."""
    try:
        opening = zlib.decompressobj(_GZIP)
        plain = opening.decompress(data, most_bytes)
    except zlib.error as error:
        raise errors.OutputDamaged from error
    if not opening.eof and len(plain) < most_bytes:
        raise errors.OutputDamaged
    return plain


async def joined(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield the first bytes again before the rest."""
    if first:
        yield first
    async for chunk in rest:
        yield chunk


async def _compressed(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    packing = zlib.compressobj(_LEVEL, wbits=_GZIP)
    async for chunk in chunks:
        if piece := packing.compress(chunk):
            yield piece
    yield packing.flush()

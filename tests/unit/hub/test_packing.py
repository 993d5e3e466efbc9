"""What goes through a terminal is compressed where that helps, and not trusted when it returns."""

import gzip
import os
import zlib
from collections.abc import AsyncIterator

import pytest

from pve402.hub import errors, packing

TEXT = b"the same words again and again\n" * 10_000
NOISE = os.urandom(300_000)


async def pieces(data: bytes, size: int = 7000) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


async def packed(data: bytes, size: int = 7000) -> tuple[bytes, bool]:
    chunks, is_packed = await packing.packed(pieces(data, size))
    return b"".join([chunk async for chunk in chunks]), is_packed


@pytest.mark.parametrize("size", [1, 7000, 500_000])
async def test_text_becomes_smaller_and_is_the_same_again(size: int):
    sent, is_packed = await packed(TEXT, size)

    assert is_packed
    assert len(sent) < len(TEXT) / 10
    assert gzip.decompress(sent) == TEXT


@pytest.mark.parametrize("data", [NOISE, b"", b"short " * 20, gzip.compress(NOISE)], ids=len)
async def test_what_does_not_become_smaller_goes_as_it_is(data: bytes):
    assert await packed(data) == (data, False)


@pytest.mark.parametrize(
    "sent",
    [b"", b"not compressed", gzip.compress(TEXT)[:-20], gzip.compress(NOISE)[:10] + b"\xff" * 50],
    ids=["empty", "plain", "cut", "damaged"],
)
def test_what_is_damaged_or_cut_is_refused(sent: bytes):
    with pytest.raises(errors.OutputDamaged):
        packing.unpacked(sent, 10_000_000)


def test_a_bomb_is_not_unpacked():
    bomb = zlib.compressobj(9, wbits=31)
    sent = bomb.compress(bytes(50_000_000)) + bomb.flush()

    assert len(packing.unpacked(sent, 100_000)) == 100_000

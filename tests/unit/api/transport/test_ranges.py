"""Which bytes of a file a request asks for."""

import pytest
from starlette.requests import Request

from pve402.api.transport import ranges

SIZE, ETAG = 1000, '"abc"'


def asked(text: str, **headers: str) -> ranges.Part | None:
    named = {"range": text, **{name.replace("_", "-"): value for name, value in headers.items()}}
    raw = [(name.encode(), value.encode()) for name, value in named.items()]
    return ranges.asked(Request({"type": "http", "headers": raw}), SIZE, ETAG)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("bytes=0-0", "bytes 0-0/1000"),
        ("bytes=0-", "bytes 0-999/1000"),
        ("Bytes = 10 - 19", "bytes 10-19/1000"),
        ("bytes=990-5000", "bytes 990-999/1000"),
        ("bytes=-10", "bytes 990-999/1000"),
        ("bytes=-5000", "bytes 0-999/1000"),
    ],
)
def test_one_range_is_found(text: str, shown: str):
    part = asked(text)

    assert part is not None
    assert part.content_range == shown


@pytest.mark.parametrize(
    "text",
    [
        "",
        "bytes=-",
        "bytes=5-4",
        "bytes=a-b",
        "bytes=0-1,5-6",
        "lines=0-1",
        "bytes=+1-2",
        "bytes=1",
        "bytes=0-" + "9" * 30,
    ],
)
def test_what_is_no_range_that_we_know_is_the_whole_file(text: str):
    assert asked(text) is None


@pytest.mark.parametrize("text", ["bytes=1000-", "bytes=1000-1001", "bytes=-0"])
def test_a_range_behind_the_end_is_refused(text: str):
    with pytest.raises(ranges.RangeUnsatisfiable) as refused:
        asked(text)
    assert refused.value.size_bytes == SIZE


@pytest.mark.parametrize(
    ("named", "is_part"),
    [
        (ETAG, True),
        ('"other"', False),
        (f"W/{ETAG}", False),
        ("Sun, 29 Nov 2026 14:00:00 GMT", False),
    ],
)
def test_if_range_must_name_this_very_file(named: str, is_part: bool):
    assert (asked("bytes=0-1", if_range=named) is not None) is is_part


def test_a_file_without_a_checksum_matches_no_if_range():
    headers = [(b"range", b"bytes=0-1"), (b"if-range", b"")]
    request = Request({"type": "http", "headers": headers})

    assert ranges.asked(request, SIZE, "") is None

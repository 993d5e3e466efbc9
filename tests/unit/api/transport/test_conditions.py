"""Conditions on files, as RFC 9110 has them."""

import pytest
from starlette.requests import Request

from pve402.api.transport import conditions

ETAG = '"abc"'


def asking(**headers: str) -> Request:
    named = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "method": "PUT", "headers": named})


@pytest.mark.parametrize(
    ("headers", "etag", "holds"),
    [
        ({}, ETAG, True),
        ({}, None, True),
        ({"if_match": "*"}, ETAG, True),
        ({"if_match": "*"}, "", True),
        ({"if_match": "*"}, None, False),
        ({"if_match": '"abc"'}, ETAG, True),
        ({"if_match": '"x", "abc"'}, ETAG, True),
        ({"if_match": '"x"'}, ETAG, False),
        ({"if_match": 'W/"abc"'}, ETAG, False),
        ({"if_match": '"abc"'}, "", False),
        ({"if_match": '"abc"'}, None, False),
        ({"if_none_match": "*"}, None, True),
        ({"if_none_match": "*"}, ETAG, False),
        ({"if_none_match": "*"}, "", False),
        ({"if_none_match": '"abc"'}, ETAG, False),
        ({"if_none_match": 'W/"abc", "y"'}, ETAG, False),
        ({"if_none_match": '"x"'}, ETAG, True),
        ({"if_match": '"abc"', "if_none_match": '"abc"'}, ETAG, False),
    ],
)
def test_a_file_is_written_only_where_the_conditions_hold(
    headers: dict[str, str], etag: str | None, holds: bool
):
    if holds:
        conditions.check_write(asking(**headers), etag)
    else:
        with pytest.raises(conditions.PreconditionFailed):
            conditions.check_write(asking(**headers), etag)


@pytest.mark.parametrize(
    ("headers", "known"),
    [
        ({}, False),
        ({"if_none_match": '"abc"'}, True),
        ({"if_none_match": 'W/"abc"'}, True),
        ({"if_none_match": '"x", "abc"'}, True),
        ({"if_none_match": "*"}, True),
        ({"if_none_match": '"x"'}, False),
        ({"if_match": '"abc"'}, False),
    ],
)
def test_a_file_that_the_client_has_is_not_sent_again(headers: dict[str, str], known: bool):
    assert conditions.check_read(asking(**headers), ETAG) is known


@pytest.mark.parametrize("encoding", ["", "identity", "Identity", " identity , identity "])
def test_a_body_that_is_not_encoded_is_taken(encoding: str):
    assert conditions.refuse_partial_or_encoded(asking(content_encoding=encoding)) is None

"""What the header Prefer asks for."""

import pytest
from starlette.requests import Request

from pve402.api.transport import preferences


def request(*values: str) -> Request:
    headers = [(b"prefer", value.encode()) for value in values]
    return Request({"type": "http", "headers": headers})


@pytest.mark.parametrize(
    ("values", "seconds"),
    [
        ((), 0),
        (("wait=5",), 5),
        (("respond-async, Wait = 7",), 7),
        (("respond-async", 'wait="8"; strict'), 8),
        (("wait=999999",), 30),
        (("wait=-1",), 0),
        (("wait=9999999",), 0),
        (("await=5",), 0),
        (("wait=5s",), 0),
    ],
)
def test_how_long_a_client_is_ready_to_wait(values, seconds):
    assert preferences.wait_seconds(request(*values), most=30) == seconds


@pytest.mark.parametrize(
    ("values", "asked"),
    [((), False), (("Respond-Async; wait=1",), True), (("wait=1", "respond-async"), True)],
)
def test_whether_the_answer_may_come_before_the_work_is_done(values, asked):
    assert preferences.responds_async(request(*values)) is asked

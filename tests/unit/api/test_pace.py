"""A client that stops reading does not hold its answer for ever."""

import asyncio

import pytest
from starlette.types import Message

from pve402.api.transport import pace


async def test_a_body_is_sent_in_pieces_and_whole() -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    body = bytes(range(256)) * 1000
    await pace.send_paced(send, {"type": "http.response.start", "status": 200, "headers": []})
    await pace.send_paced(send, {"type": "http.response.body", "body": body, "more_body": True})
    await pace.send_paced(send, {"type": "http.response.body", "body": b""})

    assert sent[0]["status"] == 200
    assert b"".join(message["body"] for message in sent[1:]) == body
    assert max(len(message["body"]) for message in sent[1:]) <= pace.PIECE_BYTES
    assert [message.get("more_body", False) for message in sent[1:]] == [True] * (len(sent) - 2) + [
        False
    ]


async def test_a_reader_that_stops_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "SECONDS", 0.01)

    async def never(_: Message) -> None:
        await asyncio.Event().wait()

    with pytest.raises(pace.NotRead):
        await pace.send_paced(never, {"type": "http.response.body", "body": b"x"})


async def test_another_time_out_is_not_the_readers(monkeypatch: pytest.MonkeyPatch) -> None:
    async def late(_: Message) -> None:
        raise TimeoutError

    with pytest.raises(TimeoutError):
        await pace.send_paced(late, {"type": "http.response.body", "body": b"x"})

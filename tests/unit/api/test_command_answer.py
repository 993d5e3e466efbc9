"""A command's answer is the JSON of its schema, however its output is cut, in bounded pieces."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.responses import StreamingResponse

from pve402 import schemas
from pve402.api.messages.command_answer import CommandAnswer
from pve402.hub.request import EventKind, ExecEvent

OUT, ERR = EventKind.STDOUT, EventKind.STDERR


def answer(encoding: schemas.ExecEncoding, *pieces: tuple[EventKind, bytes]) -> CommandAnswer:
    facts = schemas.ExecAnswer(
        ctid="101",
        upid="e1",
        exec_id="e1",
        output="",
        stdout="",
        stderr="",
        encoding=encoding,
        exit_code=0,
        timed_out=False,
        truncated=False,
        duration_ms=3,
        detached=False,
        state="exited",
    )
    events = [ExecEvent(id=n, kind=kind, data=data) for n, (kind, data) in enumerate(pieces, 1)]
    return CommandAnswer(facts=facts, pieces=tuple(events))


@given(st.lists(st.tuples(st.sampled_from([OUT, ERR]), st.binary(max_size=9)), max_size=9))
def test_it_is_what_the_schema_writes(pieces: list[tuple[EventKind, bytes]]) -> None:
    out = b"".join(data for kind, data in pieces if kind is OUT)
    err = b"".join(data for kind, data in pieces if kind is ERR)
    both = b"".join(data for _, data in pieces)
    for encoding in ("utf-8", "base64"):
        made = answer(encoding, *pieces)

        texts = [
            base64.b64encode(data).decode()
            if encoding == "base64"
            else data.decode("utf-8", "replace")
            for data in (both, out, err)
        ]
        names = dict(zip(("output", "stdout", "stderr"), texts, strict=True))
        expected = made.facts.model_copy(update=names).model_dump(mode="json", by_alias=True)
        assert json.loads(b"".join(made.write())) == expected


@pytest.mark.parametrize("encoding", ["utf-8", "base64"])
@pytest.mark.parametrize("letter", [b"\0", b"\xff", b"x", b'"', "é".encode()])
def test_large_output_is_written_in_bounded_pieces(
    encoding: schemas.ExecEncoding, letter: bytes
) -> None:
    made = answer(encoding, *[(OUT, letter * (48 * 1024 // len(letter)))] * 100)

    assert max(map(len, made.write())) <= 6 * 48 * 1024 + 16
    assert isinstance(made.respond(), StreamingResponse)


def test_small_output_has_a_length() -> None:
    assert "content-length" in answer("utf-8", (OUT, b"x" * 1000)).respond().headers

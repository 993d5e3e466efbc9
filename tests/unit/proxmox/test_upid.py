"""Reading UPIDs."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support import recordings

from pve402.proxmox.upid import Upid

word = st.text(
    st.characters(min_codepoint=33, max_codepoint=126, exclude_characters=":"), min_size=1
)
node = st.from_regex(r"[a-zA-Z0-9]([a-zA-Z0-9-]{0,10}[a-zA-Z0-9])?", fullmatch=True)
number = st.integers(min_value=0, max_value=2**32 - 1)


@given(node, st.tuples(number, st.integers(0, 2**36 - 1), number), word, word | st.just(""), word)
def test_a_upid_is_read_into_its_parts(
    node: str, numbers: tuple[int, int, int], kind: str, name: str, user: str
) -> None:
    pid, process_start, started = numbers
    text = f"UPID:{node}:{pid:08X}:{process_start:08X}:{started:08X}:{kind}:{name}:{user}:"

    upid = Upid.parse(text)

    assert (upid.text, upid.node, upid.pid) == (text, node, pid)
    assert (upid.process_start, upid.type, upid.id, upid.user) == (process_start, kind, name, user)
    assert upid.started_at == datetime.fromtimestamp(started, tz=UTC)


@given(st.one_of(st.text(), st.none(), st.integers(), st.from_regex(r"UPID:.*")))
def test_anything_else_is_a_value_error_or_reads_back(text: object) -> None:
    try:
        upid = Upid.parse(text)
    except ValueError:
        return
    assert upid.text == text


@pytest.mark.parametrize(
    "text",
    [
        "UPID:pve:1111:000957D5:6B01E906:vzcreate:132:svc@pve!test:",
        "UPID:pve:00001111:000957D5:6B01E906:vzcreate:132:svc@pve!test",
        "UPID:pve:00001111:000957D5:6B01E906:vzcreate:132:svc@pve!test:\n",
        "UPID:../x:00001111:000957D5:6B01E906:vzcreate:132:svc@pve!test:",
        "UPID:pve:00001111:000957D5:6B01E906:vz create:132:svc@pve!test:",
        "UPID:pve:00001111:000957D5:6B01E906:vzcreate:" + "1" * 600 + ":svc@pve!test:",
    ],
)
def test_a_damaged_upid_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a UPID"):
        Upid.parse(text)


def test_every_recorded_upid_is_read() -> None:
    texts = [
        recording.data
        for recording in recordings.load()
        if recording.status == 200 and str(recording.body).startswith("{'data': 'UPID:")
    ]

    found = [Upid.parse(text) for text in texts]

    assert len(found) > 80
    assert {upid.node for upid in found} == {"pve"}
    assert all(upid.vmid for upid in found)
